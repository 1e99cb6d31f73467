"""The findings in words, tables and pictures, section by section: for the page of markdown and for the site's."""

from __future__ import annotations

from dataclasses import dataclass

from leaderboard.figures import Picture
from leaderboard.study import effect_tables as tables
from leaderboard.study import study_figures as pictures
from leaderboard.study.findings import Findings
from leaderboard.study.preregistered import PROPERTIES, RESPONSE
from leaderboard.tables.table import Table


@dataclass(frozen=True)
class Detail:
    """A table to look up: what it is about (`lead`) and says (`result`), in a line each, and its source (`text`)."""

    heading: str
    lead: str
    result: str
    text: str
    table: Table
    verdict: str = ""


@dataclass(frozen=True)
class Section:
    """One question of the study, how it was answered, and the answer as a picture and as tables.

    `name` is the section's anchor and the picture's file; `table` is None where the details hold the numbers.
    """

    name: str
    heading: str
    text: str
    picture: Picture
    caption: str
    table: Table | None
    details: tuple[Detail, ...] = ()


def summary(findings: Findings) -> str:
    """What was run, in two sentences."""
    missed = ", ".join(f"{name}: {count}" for name, count in findings.missed.items()) or "none"
    return (
        f"{findings.runs:,} runs, of which {findings.converged:,} reached the target loss (missed: {missed}). "
        f"Factors: {', '.join(findings.factors)}."
    )


def sections(findings: Findings) -> list[Section]:
    """The findings in the order of the questions."""
    return [_claims(findings), _factors(findings), _universality(findings), _prediction(findings)]


def _claims(findings: Findings) -> Section:
    return Section(
        "claims",
        "The claims",
        "Pairs of runs differ in the claim's factor alone. *holds*: the 95 % interval of the mean change is on the "
        "claimed side and no environment contradicts it. *fails*: neither the mean nor any environment is on the "
        "claimed side. *depends on*: anything else, with the factor whose levels differ most. What each claim and "
        "verdict means was fixed before the runs, in `leaderboard/study/contrasts.py` and "
        "`leaderboard/study/preregistered.py`.",
        pictures.claims(findings.outcomes),
        "The mean change with its 95 % interval, as claimed to the right. Each stroke is an environment: the pairs "
        "that share one level of another factor.",
        tables.claims(findings.outcomes),
        tuple(
            Detail(
                outcome.contrast.name,
                outcome.contrast.claim.statement,
                f"{outcome.contrast.measure} {tables.change(outcome.contrast, outcome.difference).text}",
                f"{outcome.contrast.claim.source}.",
                tables.environments(outcome),
                outcome.in_words,
            )
            for outcome in findings.outcomes
        ),
    )


def _factors(findings: Findings) -> Section:
    return Section(
        "factors",
        "Which factor decides which property",
        "Type II analysis of variance, seeds as blocks. Partial omega squared is the variance of a term divided by "
        "that of the term and the noise together; intervals are at 95 %. The tables hold the largest terms of each "
        "property, pairs of factors included.",
        pictures.factors(findings.effects, findings.factors),
        "The share of each factor by itself (partial omega squared) with 95 % intervals.",
        None,
        tuple(
            Detail(
                name,
                f"{meaning.capitalize()}.",
                ", ".join(f"{effect.term} {effect.omega_squared.value:.2f}" for effect in findings.effects[name][:3]),
                f"Stands for {meaning}.",
                tables.effects(f"What decides {name}", findings.effects[name]),
            )
            for name, meaning in PROPERTIES.items()
        ),
    )


def _universality(findings: Findings) -> Section:
    return Section(
        "universality",
        "Is there a universal ranking?",
        "Submissions (optimizer and step size) are ranked on every variant of the task. W is 1 where all variants "
        "rank alike; p is from 2,000 random rankings; the last column says how well all other variants predict one's "
        "ranking.",
        pictures.universality(findings.universality),
        "How well the mean ranking of all other variants predicts the ranking on one (Spearman's correlation). Grey: "
        "the variants, the higher the more share a value; blue: their mean with its 95 % interval.",
        tables.concordance(findings.universality),
    )


def _prediction(findings: Findings) -> Section:
    ordered = sorted(findings.predictions, key=lambda prediction: -prediction.granulated.value)
    return Section(
        "prediction",
        "Which measure predicts generalization?",
        f"Of the runs' `{RESPONSE}`. Granulated: between runs that differ in one factor, averaged over factors. "
        "Conditional information: given any two factors, the least (Jiang et al. 2020, arXiv:1912.02178). Sign-error: "
        "how often the measure orders two runs that differ in one factor wrongly, 0.5 by chance (Dziugaite et al. "
        "2020, arXiv:2010.11924).",
        pictures.prediction(ordered),
        "Left: rank correlation with the test error, over all runs (grey) and between runs that differ in one factor "
        "(blue). Right: sign-error, mean (blue) and worst environment (cross); dashed: chance.",
        tables.predictions(ordered),
    )
