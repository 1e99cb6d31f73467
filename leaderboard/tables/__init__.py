"""Numbers to tables, and tables to text.

The names that the command's help needs stand here; the modules import pandas.
"""

VIEWS = (
    "ranking",
    "profile",
    "advice",
    "uncertainty",
    "sensitivity",
    "performance",
    "axes",
    "tasks",
    "measures",
    "improvement",
    "why",
    "robustness",
    "separation",
    "tuning",
    "steps",
    "predictions",
    "verdicts",
    "outcomes",
    "rotation",
    "rotations",
)
"""The functions of `leaderboard.tables.views`, each of which shows a board as a table."""

FORMATS = ("markdown", "latex", "csv", "html", "json")
"""What `leaderboard.tables.formats.render` writes."""
