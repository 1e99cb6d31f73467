"""What a claim is: a published statement that tasks test."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What a claim rests on."""

    THEOREM = "theorem"
    CONJECTURE = "conjecture"
    """Nobody has proved it for this method: it carries a theorem over to what resembles its object."""
    OBSERVATION = "observation"
    """Others have measured it; there is no proof."""


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, in words, that can be held against what was measured.

    Attributes:
        name: what ``lowlands claims NAME`` takes: lower case, words with hyphens between them.
        statement: what is claimed, in a sentence.
        source: authors, year and number of the paper, or several with semicolons between them.
        basis: what it rests on.
        place: where it stands in the source (``section 3.3``, ``abstract``), if somebody has read it there; else empty.
    """

    name: str
    statement: str
    source: str
    basis: Basis = Basis.THEOREM
    place: str = ""
