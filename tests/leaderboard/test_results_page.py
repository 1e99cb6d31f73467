"""The pages of results and predictions are what the shipped records give."""

from __future__ import annotations

from pathlib import Path

import pytest
from cogapp import Cog

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


@pytest.mark.parametrize("page", ["results.md", "predictions.md"])
def test_the_committed_page_is_up_to_date(page: str) -> None:
    """If this fails: ``cog -r docs/results.md docs/predictions.md``."""
    assert Cog().main(["cog", "--check", str(DOCS / page)]) == 0
