"""One thread per process, as the suite itself runs: tests share the cores by processes."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
