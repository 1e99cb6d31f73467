"""Finds submissions and binds them to tasks.

`loading` and `templates` import no torch, so that the commands that only list submissions are instant; `entry` and
`checks` do.
"""

from suite.entries.loading import LoadedSubmission, builtin_files, load

__all__ = ["LoadedSubmission", "builtin_files", "load"]
