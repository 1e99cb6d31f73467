"""Lowlands' suite: trains and measures; knows nothing of leaderboards.

The names that a submission file needs are importable from here. Torch is not imported by this module,
so that the leaderboard can read records without it.
"""

from suite.submission import Choice, LogUniform, Submission, Uniform

__all__ = ["Choice", "LogUniform", "Submission", "Uniform", "__version__"]

__version__ = "0.1.0"
