"""How far symmetries move measures of flatness: ``python -m benchmarks.symmetries``, from the root (a minute).

Draws `docs/measures/symmetries.svg`: sharpness against the condition number of the matrices that stand between linear
maps (`deep_linear`), or between queries and keys and between values and outputs (`vit`), over what it is without them;
both networks have learned the labels of small random images. No output of a network changes.

With ``--architectures`` it prints how architectures rank on digits as they are and in the canonical form (all are
trained by Adam with one step size to the training loss of the image tasks); with ``--optimizers``, Kendall's tau of
measures with the test error between optimizers, on variants of the study's task.
"""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leaderboard.figures.charts import Chart, Line, curves
from leaderboard.study.prediction import granulated
from suite.entries.loading import load
from suite.errors import InputError
from suite.measures import Estimate, measure
from suite.measures.registry import ATTENTION, LINEAR_PAIR
from suite.seeding import torch_stream
from suite.study_design import STUDY_SETTINGS
from suite.task import Split
from suite.tasks.factorial import FIT, factorial
from suite.tasks.images import TARGET_LOSS, mnist5k_mlp
from suite.training import TrainingRun, train
from tests.suite.measures.symmetries import CHANGES, changed

PICTURE = Path("docs/measures/symmetries.svg")
SHOWN = {"deep_linear": LINEAR_PAIR, "vit": ATTENTION}
MEASURES = {
    "average_sharpness": "raw",
    "elementwise_sharpness": "relative to each weight",
    "adaptive_sharpness": "canonical form",
}
CONDITIONS = (1.0, 4.0, 16.0, 63.0, 250.0, 1000.0)
ARCHITECTURES = (
    *("deep_linear", "vit", "mlp", "mlp_narrow", "mlp_wide", "mlp_deep", "lazy_mlp", "rich_mlp", "layernorm_mlp"),
    *("residual_mlp", "fourier_mlp", "sine_mlp", "linear_full", "linear_diagonal", "linear_convolutional"),
    *("cnn", "cnn_batchnorm", "resnet"),
)
MEASURED_ON = dict.fromkeys(("vit", "cnn", "cnn_batchnorm", "resnet"), 500)
"""Training images that slow networks are measured on; others on all."""
EPOCHS, BATCH, RATE = 80, 64, 1e-3


def trained(name: str) -> tuple[nn.Module, Split, Split]:
    """An architecture at the first epoch at which its training loss is that of the image tasks, and its data."""
    problem = mnist5k_mlp().problem(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build = load(name).submission.architecture
        assert build is not None
        model: nn.Module = build((1, 28, 28), 10)
        dtype = next(model.parameters()).dtype
        train, test = (Split(part.x.to(dtype), part.y) for part in (problem.train, problem.test))
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(train)).split(BATCH):
                optimizer.zero_grad()
                cross_entropy(model(train.x[batch]), train.y[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                if cross_entropy(model(train.x), train.y) <= TARGET_LOSS:
                    break
    return model, train, test


def chart(name: str, kind: str, model: nn.Module, data: Split) -> Chart:
    """Measures over their value without a change, against the condition number."""
    found = {measured: [1.0] for measured in MEASURES}
    start = measure(model, data, MEASURES)
    for condition in CONDITIONS[1:]:
        other = changed(model, CHANGES[name][kind], torch_stream("gauge", name), condition)
        values = measure(other, data, MEASURES)
        for measured, value in values.items():
            found[measured].append(value / start[measured])
    lines = [Line(f"{measured} ({text})", CONDITIONS, found[measured]) for measured, text in MEASURES.items()]
    return Chart(f"{name}: {kind}", lines, "condition number", "times the value at 1", x_log=True, y_log=True)


def architectures() -> list[tuple[str, dict[str, Estimate]]]:
    """Every architecture's measures of flatness, and its test error."""
    rows = []
    for name in ARCHITECTURES:
        model, train, test = trained(name)
        names = ("elementwise_sharpness", "adaptive_sharpness", "canonical_sharpness", "test_error")
        try:
            few = slice(MEASURED_ON.get(name))
            values: dict[str, Estimate] = measure(model, Split(train.x[few], train.y[few]), names, test=test)
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        rows.append((name, values))
    return rows


def draw() -> None:
    """Write the picture."""
    from tests.suite.measures.symmetries import fitted

    charts = [chart(name, kind, *fitted(name)) for name, kind in SHOWN.items()]
    text = "; ".join(
        f"{each.title}, times {', '.join(f'{line.y[-1]:.2g} ({line.name})' for line in each.lines)}" for each in charts
    )
    alt = f"Sharpness against the condition number of a change that leaves the function alone. At 1000: {text}."
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(curves("symmetries", charts, alt).standalone(), encoding="utf-8")
    print(alt, file=sys.stderr)


def table(rows: list[tuple[str, dict[str, Estimate]]]) -> str:
    """Values and ranks by them, in markdown."""

    def rank(name: str, value: float) -> int:
        return 1 + sum(values[name] < value for _, values in rows)

    lines = ["| architecture | test error | each weight | rank | canonical form | rank | no logit shift | rank |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, values in sorted(rows, key=lambda row: row[1]["adaptive_sharpness"]):
        raw, ours, scored = (
            values[key] for key in ("elementwise_sharpness", "adaptive_sharpness", "canonical_sharpness")
        )
        note = " (not proved)" if ours.note else ""
        lines.append(
            f"| `{name}` | {values['test_error']:.3f} | {raw:.2g} | {rank('elementwise_sharpness', raw)} "
            f"| {ours:.2g}{note} | {rank('adaptive_sharpness', ours)} "
            f"| {scored:.2g} | {rank('canonical_sharpness', scored)} |"
        )
    return "\n".join(lines)


LEVELS = {"normalisation": ("none", "layer"), "data": ("digits", "teacher"), "depth": (1, 3)}
COMPARED = (*MEASURES, "canonical_sharpness", "hessian_trace", "l2_norm")
SEEDS = 3


def runs() -> pd.DataFrame:
    """A row for every run of the study's optimizers, at both of their step sizes, on the variants of the task."""
    rows = []
    for levels in itertools.product(*LEVELS.values()):
        variant = dict(zip(LEVELS, levels, strict=True))
        task, classes = factorial(**variant), {"digits": 10, "teacher": 4}[levels[1]]  # type: ignore[arg-type, index]
        for (name, texts), seed in itertools.product(STUDY_SETTINGS.items(), range(SEEDS)):
            make, problem = load(name).submission.optimizer, task.problem(seed)
            assert make is not None
            for step, text in enumerate(texts):
                settings = {key: float(value) for key, value in (pair.split("=") for pair in text.split(","))}
                (found,) = train(task, [TrainingRun(problem, seed, 0, settings)], make)
                if found.converged:
                    model = task.model(problem, seed)
                    model.load_state_dict(found.weights)
                    values = measure(
                        model.eval(), problem.train, (*COMPARED, "test_error"), loss=cross_entropy,
                        test=problem.test, matched_loss=FIT * math.log(classes),
                    )  # fmt: skip
                    rows.append({**variant, "optimizer": name, "step": step, "seed": seed, **values})
        print(variant, len(rows), file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def correlations(frame: pd.DataFrame) -> str:
    """Kendall's tau between optimizers with all else equal, with its standard error over such groups, in markdown."""
    lines = ["| measure | no normalization | layer norm |", "| --- | ---: | ---: |"]
    for name in COMPARED:
        cells = []
        for level in LEVELS["normalisation"]:
            part = frame[frame["normalisation"] == level].astype({"test_error": float, name: float})
            taus = granulated(part, name, "test_error", ["optimizer", "step", "data", "depth"])["optimizer"]
            cells.append(f"{taus.mean():.2f} ± {np.std(taus) / len(taus) ** 0.5:.2f}")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--optimizers"]:
        print(correlations(runs()))
    elif sys.argv[1:] == ["--architectures"]:
        print(table(architectures()))
    else:
        draw()
