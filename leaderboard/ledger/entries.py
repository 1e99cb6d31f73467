"""Claims and records -> the entries of the ledger.

Where several logs hold runs of a submission on a task, a prediction is judged by the log with most of its seeds, the
first of these in the order in which they are given. Runs of two logs are never mixed: their tuning differs.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.predictions import Judgement, judge
from leaderboard.analysis.results import Results, load
from leaderboard.analysis.statistics import Interval
from leaderboard.analysis.verdicts import Comparison, Ruling, Verdict, rule
from leaderboard.study.associations import AFTERWARDS, ASSOCIATIONS, Association, associate
from leaderboard.study.contrasts import Contrast
from leaderboard.study.contrasts import judge as judge_contrast
from leaderboard.study.findings import SEED
from leaderboard.study.frame import FACTORS, study_frame, varied
from leaderboard.study.preregistered import CONTRASTS
from suite.predictions import PREDICTIONS, Claim, Measured, Method, Prediction
from suite.predictions.methods import SUBMISSIONS
from suite.tracks import THEORY

STUDY = "factorial"
"""The family of the study's records."""

SEEDS = 10
"""Seeds that the command of an entry asks for."""

NAMES = {method: name for name, method in reversed(SUBMISSIONS.items())}
"""Method -> the built-in submission that is one."""


@dataclass(frozen=True)
class Evidence:
    """One comparison that a claim rests on.

    Attributes:
        task, submission: what was run; the study's are of its task.
        formula: what is expected.
        measured: what was measured, with its 95 % interval; None if nothing was.
        count: of what: seeds with a solution and runs, or pairs, or runs of the study.
        unmet: what the claim asks for and the task or the method does not give; empty if nothing.
        retrospective: whether it was written when its records were there.
        comparison: what it says; None if nothing was measured.
    """

    task: str
    submission: str
    formula: str
    unmet: str
    retrospective: bool
    measured: Interval | None = None
    count: str = ""
    comparison: Comparison | None = None

    @property
    def verdict(self) -> str:
        """The verdict on this comparison alone."""
        if self.comparison is None:
            return str(Verdict.NOT_MEASURED)
        factor = self.comparison.depends_on
        return f"{self.comparison.verdict} {factor}" if factor else str(self.comparison.verdict)


@dataclass(frozen=True)
class Entry:
    """A claim, what it rests on, the verdict, and the commands that repeat it."""

    claim: Claim
    evidence: tuple[Evidence, ...]
    ruling: Ruling
    commands: tuple[str, ...]

    @property
    def measured(self) -> list[Evidence]:
        """The evidence that there is."""
        return [each for each in self.evidence if each.comparison is not None]

    @property
    def conditions(self) -> str:
        """Whether tasks and methods meet the claim's conditions, and what they lack."""
        lacking = [each for each in self.evidence if each.unmet]
        if not lacking:
            return "met"
        unmet = "; ".join(dict.fromkeys(part for each in lacking for part in each.unmet.split("; ")))
        if len(lacking) == len(self.evidence):
            return f"not met: {unmet}"
        return f"met in {len(self.evidence) - len(lacking)} of {len(self.evidence)}, else: {unmet}"


def claims(predictions: Sequence[Prediction] = PREDICTIONS) -> list[Claim]:
    """All claims: those of predictions, task family by task family, then those that the study alone tests."""
    tests: tuple[Prediction | Contrast | Association, ...] = (*predictions, *CONTRASTS, *AFTERWARDS, *ASSOCIATIONS)
    return list(dict.fromkeys(test.claim for test in tests))


def shipped_results() -> list[Results]:
    """The shipped records, log by log: those with most seeds first, the study last."""
    names = ("ten_seeds.jsonl.gz", "quick.jsonl", "theory.jsonl", "full.jsonl", "smoke.jsonl", "study-small.jsonl.gz")
    return [load([BASELINES / name]) for name in names]


def results_at(path: Path) -> list[Results]:
    """The records of a log, or of all logs of a directory; there may be none."""
    return [load([log]) for log in ([path] if path.is_file() else sorted(path.glob("*.jsonl*")))]


def entries(results: Sequence[Results], predictions: Sequence[Prediction] = PREDICTIONS) -> list[Entry]:
    """All claims held against `results`, a set of records for each log, in the order of `claims`."""
    found: defaultdict[Claim, list[Evidence]] = defaultdict(list)
    for prediction, evidence in _of_predictions(results, predictions):
        found[prediction.claim].append(evidence)
    for claim, evidence in _of_the_study(results):
        found[claim].append(evidence)
    made = []
    for claim in claims(predictions):
        comparisons = [each.comparison for each in found[claim] if each.comparison is not None]
        commands = _commands(claim, [each for each in predictions if each.claim == claim])
        made.append(Entry(claim, tuple(found[claim]), rule(comparisons), commands))
    return made


def _of_predictions(
    results: Sequence[Results], predictions: Sequence[Prediction]
) -> Iterable[tuple[Prediction, Evidence]]:
    """Each prediction for each submission of its methods; for a method that has none, that nothing was measured."""
    judged: dict[tuple[Prediction, Method], dict[str, Judgement]] = {}
    for log in results:
        for each in judge(log, predictions):
            best = judged.setdefault((each.prediction, each.method), {})
            if each.submission not in best or each.gap.seeds > best[each.submission].gap.seeds:
                best[each.submission] = each
    for prediction in predictions:
        for method in prediction.methods:
            for each in judged.get((prediction, method), {}).values():
                levels = {"task": prediction.task, "submission": each.submission}
                yield (
                    prediction,
                    Evidence(
                        prediction.task,
                        each.submission,
                        prediction.formula,
                        prediction.unmet,
                        prediction.retrospective,
                        each.measured,
                        f"{each.gap.seeds}/{each.runs}",
                        Comparison(each.verdict, levels, each.gap),
                    ),
                )
            if (prediction, method) not in judged:
                yield (
                    prediction,
                    Evidence(
                        prediction.task, NAMES[method], prediction.formula, prediction.unmet, prediction.retrospective
                    ),
                )


def _of_the_study(results: Sequence[Results]) -> Iterable[tuple[Claim, Evidence]]:
    """The contrasts and associations, on the records of the study, if they are there."""
    records = [run for log in results for run in log.records if run["family"] == STUDY and run["phase"] == "score"]
    frame = study_frame(records) if records else None
    converged = frame[frame["converged"]] if frame is not None else None
    factors = [] if frame is None else varied(frame, FACTORS)
    for contrast in (*CONTRASTS, *AFTERWARDS):
        formula = _formula(contrast)
        evidence = Evidence(STUDY, str(contrast.where.get("optimizer", "all")), formula, "", contrast in AFTERWARDS)
        if converged is not None and (outcome := judge_contrast(converged, contrast, factors)).pairs:
            interval, count = outcome.difference, f"{outcome.pairs} pairs"
            if contrast.log:
                interval = Interval(*np.exp([interval.value, interval.low, interval.high]).tolist())
            evidence = replace(evidence, measured=interval, count=count, comparison=outcome.comparison)
        yield contrast.claim, evidence
    generator = np.random.default_rng(SEED)
    for association in ASSOCIATIONS:
        evidence = Evidence(STUDY, "all", association.formula, association.unmet, retrospective=True)
        if converged is not None:
            interval, comparison = associate(converged, association, factors, generator)
            count = f"{len(converged)} runs"
            evidence = replace(evidence, measured=interval, count=count, comparison=comparison)
        yield association.claim, evidence


def _formula(contrast: Contrast) -> str:
    """What a contrast expects of the treatment's measure against the control's."""
    sides = [f"{contrast.factor} {level}" for level in (contrast.treatment, contrast.control)]
    sign = ">" if contrast.more else "<"
    if contrast.log:
        return f"{contrast.measure}: {sides[0]} over {sides[1]} {sign} 1"
    return f"{contrast.measure}: {sides[0]} minus {sides[1]} {sign} 0"


def _commands(claim: Claim, predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """What makes the records that the claim is judged by, and then judges it."""
    commands = []
    if predictions:
        values = [each.value for each in predictions if isinstance(each.value, Measured)]
        methods = dict.fromkeys(method for each in predictions for method in each.methods)
        methods |= dict.fromkeys(value.method for value in values if value.method is not None)
        tasks = dict.fromkeys(each.task for each in predictions)
        tasks |= dict.fromkeys(value.task for value in values if value.task is not None)
        track = "theory" if set(tasks) <= set(THEORY) else "full"
        options = [option for task in tasks for option in ("--task", task)]
        names = [NAMES[method] for method in methods]
        commands.append(shlex.join(["lowlands", "run", *names, "--track", track, *options, "--seeds", str(SEEDS)]))
    if any(each.claim == claim for each in (*CONTRASTS, *AFTERWARDS)) or any(
        each.claim == claim for each in ASSOCIATIONS
    ):
        commands.append("lowlands study --preset small")
    return (*commands, f"lowlands claims {claim.name} --results results")
