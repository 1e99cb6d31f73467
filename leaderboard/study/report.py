"""The study's findings as markdown with figures, generated from the records alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from leaderboard.statistics import Interval
from leaderboard.study.claims import Verdict, judge
from leaderboard.study.effects import Effect, effects
from leaderboard.study.factors import varied
from leaderboard.study.frame import FACTORS
from leaderboard.study.prediction import Prediction, predict
from leaderboard.study.preregistered import CLAIMS, PREDICTORS, PROPERTIES, TARGET
from leaderboard.study.universality import Universality, universality

SEED = 20201116
MOST_TERMS = 12
TEST_POINTS = 2_000


@dataclass(frozen=True)
class Findings:
    """Everything that the study found; `lanes` and `met` count the runs and those that met the stop."""

    lanes: int
    met: int
    missed: dict[str, int]
    effects: dict[str, list[Effect]]
    universality: dict[str, Universality]
    predictions: list[Prediction]
    verdicts: list[Verdict]
    factors: list[str] = field(default_factory=list)


def _transformed(frame: pd.DataFrame) -> pd.DataFrame:
    """Properties as they are analysed: logarithms, but for the test error."""
    logs = {name: np.log(frame[name].clip(lower=1e-30)) for name in PROPERTIES if name != TARGET}
    return frame.assign(**logs)


def _ranking(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Task variant by submission: minus the mean of `measure`, so that larger is better; no gaps."""
    tasks = [name for name in FACTORS if name not in ("optimizer", "step")]
    keyed = frame.assign(
        task=frame[tasks].astype(str).agg(" ".join, axis=1),
        submission=frame["optimizer"] + " " + frame["step"],
    )
    return -keyed.pivot_table(index="task", columns="submission", values=measure).dropna()


def analyse(frame: pd.DataFrame) -> Findings:
    """All analyses of the study's `frame` (see `frame.study_frame`); lanes that missed the stop are counted only."""
    generator = np.random.default_rng(SEED)
    factors = varied(frame, FACTORS)
    met, missed = frame[frame["converged"]], frame[~frame["converged"]]
    ready = _transformed(met)
    # Two standard errors of the difference between two test errors of a fifth on the test points.
    noise = 2 * math.sqrt(2 * 0.2 * 0.8 / TEST_POINTS)
    return Findings(
        lanes=len(frame),
        met=len(met),
        missed=dict(Counter((missed["optimizer"] + " " + missed["step"]).tolist())),
        effects={name: effects(ready, name, factors) for name in PROPERTIES},
        universality={name: universality(_ranking(ready, name), generator) for name in PROPERTIES},
        predictions=[predict(met, name, TARGET, factors, generator, noise) for name in PREDICTORS],
        verdicts=[judge(met, claim, factors) for claim in CLAIMS],
        factors=factors,
    )


def _interval(interval: Interval, digits: int = 2) -> str:
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return str(tabulate(rows, header, tablefmt="pipe", disable_numparse=True))


def _claims(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for found in verdicts:
        verdict = found.verdict + (f" {found.depends_on}" if found.depends_on else "")
        rows.append([found.claim.statement, f"**{verdict}**", _difference(found), str(found.pairs)])
    return _table(["claim", "verdict", "difference", "pairs"], rows)


def _difference(found: Verdict) -> str:
    """The treatment's measure relative to the control's, as a ratio where logarithms were compared."""
    values = found.difference.value, found.difference.low, found.difference.high
    if found.claim.log:
        centre, low, high = (math.exp(value) for value in values)
        return f"{found.claim.measure} × {centre:.2f} [{low:.2f}, {high:.2f}]"
    return f"{found.claim.measure} {values[0]:+.4f} [{values[1]:+.4f}, {values[2]:+.4f}]"


def _environments(found: Verdict) -> str:
    rows = []
    for name, interval in found.environments.items():
        values = interval.value, interval.low, interval.high
        texts = [f"{math.exp(v):.2f}" if found.claim.log else f"{v:+.4f}" for v in values]
        rows.append([name, f"{texts[0]} [{texts[1]}, {texts[2]}]"])
    return _table(["where", "ratio" if found.claim.log else "difference"], rows)


def _effects(found: Sequence[Effect]) -> str:
    rows = [[e.term, _interval(e.omega_squared), f"{e.p_value:.1g}"] for e in found[:MOST_TERMS]]
    return _table(["term", "partial omega squared", "p"], rows)


def _predictions(found: Sequence[Prediction]) -> str:
    ordered = sorted(found, key=lambda p: -p.granulated.value)
    rows = [
        [
            p.measure,
            _interval(p.tau),
            _interval(p.granulated),
            _interval(p.information, 3),
            _interval(p.sign_error),
            f"{p.worst_sign_error:.2f} ({p.worst})",
        ]
        for p in ordered
    ]
    header = [
        "measure",
        "Kendall's tau",
        "granulated tau",
        "conditional information",
        "sign-error",
        "worst environment",
    ]
    return _table(header, rows)


def _universality(found: dict[str, Universality]) -> str:
    rows = [[name, f"{u.w:.2f}", f"{u.p_value:.2g}", _interval(u.predicted)] for name, u in found.items()]
    return _table(["property", "Kendall's W", "p", "rank correlation of a held-out task"], rows)


def markdown(found: Findings, source: str, command: str, figures: Sequence[str] = ()) -> str:
    """The findings as a page. `source` names the records, `command` makes the page from them."""
    missed = ", ".join(f"{name}: {count}" for name, count in found.missed.items()) or "none"
    parts = [
        "# Findings",
        f"Generated from {source} by `{command}`. {found.lanes} lanes, of which {found.met} met the stop "
        f"(missed: {missed}). Factors: {', '.join(found.factors)}. What each claim and verdict means was fixed before "
        "the runs, in `leaderboard/study/claims.py` and `leaderboard/study/preregistered.py`.",
        "## The claims",
        "Pairs of lanes differ in the claim's factor alone. *holds*: the 95 % interval of the mean difference is on "
        "the claimed side and no environment contradicts it. *fails*: neither the mean nor any environment is on the "
        "claimed side. *depends on*: anything else, with the factor whose levels differ most.",
        _claims(found.verdicts),
        *(f"![{Path(name).stem.replace('-', ' ')}]({name})" for name in figures),
    ]
    for verdict in found.verdicts:
        parts += [f"### {verdict.claim.name}", f"{verdict.claim.source}.", _environments(verdict)]
    parts += [
        "## Which factor decides which property",
        "Type II analysis of variance, seeds as blocks; the share of variance that a term explains beside the noise "
        f"(partial omega squared) with 95 % intervals. The {MOST_TERMS} largest terms of each property.",
    ]
    for name, meaning in PROPERTIES.items():
        parts += [f"### {name}: {meaning}", _effects(found.effects[name])]
    parts += [
        "## Is there a universal ranking?",
        "Submissions (optimizer and step size) are ranked on every variant of the task. W is 1 where all variants "
        "rank alike; p is from 2,000 random rankings; the last column says how well all other variants foretell one's "
        "ranking.",
        _universality(found.universality),
        "## Which measure foretells generalization?",
        f"Of the runs' {TARGET}. Granulated: between runs that differ in one factor, averaged over factors. "
        "Conditional information: given any two factors, the least (Jiang et al. 2020). Sign-error: how often the "
        "measure orders two runs that differ in one factor wrongly, 0.5 by chance (Dziugaite et al. 2020).",
        _predictions(found.predictions),
    ]
    return "\n\n".join(parts) + "\n"
