"""The factorial study: which factor decides which property of a solution, and how universally.

`frame` makes a table of the records, a row per run. `effects`, `universality`, `prediction` and `claims` analyse it,
`findings` runs them all. `sections` puts the findings into words, tables and figures, for `report` and the site.
"""

from leaderboard.study.frame import Study, find_study, open_study

# What analyses is imported from its modules: scipy and statsmodels take as long to load as everything else.
__all__ = ["Study", "find_study", "open_study"]
