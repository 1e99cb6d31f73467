"""The static site: pages that work from a file, without a network and without a server.

`publish` writes it. Pages are Jinja templates beside this file, pictures come from `leaderboard.figures`, tables from
`leaderboard.tables.views`; one style sheet and one small script serve all pages.
"""

from leaderboard.site.publish import publish

__all__ = ["publish"]
