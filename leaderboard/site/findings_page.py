"""The page of the study's findings."""

from __future__ import annotations

from leaderboard.analysis.verdicts import Verdict
from leaderboard.site.shared import Page, SiteContext
from leaderboard.study import Study


def findings_page(context: SiteContext, study: Study) -> Page:
    """What the study's records say, section by section."""
    # Here, because statsmodels takes as long to load as everything else.
    from leaderboard.study.findings import analyse
    from leaderboard.study.frame import study_frame
    from leaderboard.study.sections import sections, summary

    findings = analyse(study_frame(study.records))
    held = sum(outcome.verdict is Verdict.HOLDS for outcome in findings.outcomes)
    facts = [
        (f"{findings.runs:,}", "runs"),
        (f"{findings.converged:,}", "at the target loss"),
        (len(findings.factors), "factors, crossed"),
        (f"{held} of {len(findings.outcomes)}", "claims hold"),
    ]
    content = {
        "facts": facts,
        "summary": summary(findings),
        "source": study.source,
        "command": study.command,
        "sections": sections(findings),
    }
    return Page("findings.html", "findings", "findings.html", content)
