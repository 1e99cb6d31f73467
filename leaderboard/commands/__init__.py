"""The commands of `lowlands`. None imports torch or pandas at import time: `--help` and `table` must start fast."""
