"""The page of results is what the shipped records give."""

from __future__ import annotations

from pathlib import Path

from cogapp import Cog

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "results.md"


def test_the_committed_page_is_up_to_date() -> None:
    """If this fails: ``cog -r docs/results.md``."""
    assert Cog().main(["cog", "--check", str(PAGE)]) == 0
