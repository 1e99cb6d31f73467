"""What is written to disk and read back: records, logs, solutions, cached arrays.

Neither torch nor pandas is imported here; `suite.storage.solutions` and `suite.storage.cache` are modules of their own.
"""

from suite.storage.log import Log, ReadResult, read, scan
from suite.storage.record import Record, RunKey, Status, identity, of_newest_source, run_key, seal

__all__ = [
    "Log",
    "ReadResult",
    "Record",
    "RunKey",
    "Status",
    "identity",
    "of_newest_source",
    "read",
    "run_key",
    "scan",
    "seal",
]
