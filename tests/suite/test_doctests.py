"""The examples in the docstrings of the suite, run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import suite

ROOT = Path(suite.__file__).parents[1]
EXAMPLES = [path for path in sorted((ROOT / "suite").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def test_there_are_examples() -> None:
    assert "lanczos" in {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_of_a_module(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    result = doctest.testmod(module, raise_on_error=False)
    assert result.attempted > 0
    assert result.failed == 0
