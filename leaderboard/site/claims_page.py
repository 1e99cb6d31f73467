"""The page of the ledger of claims."""

from __future__ import annotations

from collections import Counter

from leaderboard.analysis.verdicts import Verdict
from leaderboard.site.shared import Page, SiteContext
from suite.predictions import Basis


def claims_page(context: SiteContext) -> Page:
    """Every claim with its verdict, to be filtered, and what it rests on, to be unfolded."""
    # Here, because the study that the ledger looks into takes as long to load as everything else.
    from leaderboard.ledger import pages

    found = Counter(entry.ruling.verdict for entry in context.ledger)
    content = {
        "facts": [(found[verdict], str(verdict)) for verdict in Verdict if found[verdict]],
        "choices": {"verdict": [str(verdict) for verdict in found], "basis": [str(basis) for basis in Basis]},
        "claims": [
            {
                "name": entry.claim.name,
                "statement": entry.claim.statement,
                "verdict": str(entry.ruling.verdict),
                "ruling": str(entry.ruling),
                "basis": str(entry.claim.basis),
                "text": f"{pages.source(entry)}. Conditions {entry.conditions}.",
                "evidence": pages.evidence(entry),
                "commands": entry.commands,
            }
            for entry in context.ledger
        ],
    }
    return Page("claims.html", "claims", "claims.html", content)
