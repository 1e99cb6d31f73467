"""The pages with results and predictions are what the shipped records give."""

from __future__ import annotations

from pathlib import Path

import pytest
from cogapp import Cog

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/predictions.md"])
def test_the_committed_page_is_up_to_date(page: str) -> None:
    """If this fails: ``cog -r README.md docs/results.md docs/predictions.md``."""
    assert Cog().main(["cog", "--check", str(ROOT / page)]) == 0
