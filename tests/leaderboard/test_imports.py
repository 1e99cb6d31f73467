"""Which parts of the leaderboard must not load torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_records_become_tables_and_figures_without_torch() -> None:
    """Every module of the three packages is imported where torch cannot be."""
    code = """
import importlib, pkgutil, sys

class WithoutTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch must not be imported here")

sys.meta_path.insert(0, WithoutTorch())
modules = []
for name in ("leaderboard.analysis", "leaderboard.tables", "leaderboard.figures"):
    package = importlib.import_module(name)
    modules += [info.name for info in pkgutil.walk_packages(package.__path__, f"{name}.")]
assert len(modules) > 10, modules
for name in modules:
    importlib.import_module(name)
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
