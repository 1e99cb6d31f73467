"""From records to a page: every number traceable, nothing lost, the same records the same page."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leaderboard.study.figures import draw
from leaderboard.study.frame import FACTORS, study_frame
from leaderboard.study.preregistered import CLAIMS, PREDICTORS, PROPERTIES
from leaderboard.study.report import Findings, analyse, markdown
from suite.errors import InputError
from suite.study import PRESETS

RATES = {"sgd": (0.1, 0.3), "adam": (0.001, 0.004)}


def records(missing: int = 3) -> list[dict[str, Any]]:
    """A crossing in which small batches are flatter by a factor of 2, and depth makes functions less smooth."""
    generator = np.random.default_rng(0)
    rows = []
    crossing = itertools.product(RATES, (0, 1), (1, 3), (20, 200), (0.5, 2.0), range(3))
    for number, (optimizer, step, depth, batch, scale, seed) in enumerate(crossing):
        noise = np.exp(0.1 * generator.normal(size=8))
        met = number >= missing
        measures = dict.fromkeys({*PROPERTIES, *PREDICTORS}, 1.0)
        measures |= {
            "adaptive_sharpness": (0.5 if batch == 20 else 1.0) * noise[0],
            "input_gradient_norm": depth * noise[1],
            "lambda_max": noise[2],
            "l2_norm": noise[3],
            "test_error": 0.2 + 0.05 * (depth == 3) + 0.01 * float(generator.normal()),
        }
        measures |= {name: float(generator.normal()) for name in PREDICTORS if measures[name] == 1.0}
        rows.append(
            {
                "submission": f"{optimizer}[lr={RATES[optimizer][step]}]",
                "hyperparameters": {"lr": RATES[optimizer][step]},
                "family": "factorial",
                "phase": "score",
                "variant": {"depth": depth, "batch": batch, "scale": scale, "width": 64, "data": "digits",
                            "normalisation": "none", "loss": "squared"},
                "seed": seed,
                "converged": met,
                "measures": measures if met else {},
            }
        )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def found() -> Findings:
    return analyse(study_frame(records()))


def test_planted_effects_reach_the_page(found: Findings) -> None:
    verdicts = {v.claim.name: v.verdict for v in found.verdicts}
    assert verdicts["small batches, flat minima"] == "holds"
    assert verdicts["deeper is smoother"] == "fails"
    assert found.effects["adaptive_sharpness"][0].term == "batch"
    assert found.effects["input_gradient_norm"][0].term == "depth"
    best = max(found.predictions, key=lambda p: p.tau.value)
    assert best.measure == "input_gradient_norm"
    page = markdown(found, "`log.jsonl`", "lowlands study", ["a.svg"])
    assert all(claim.statement in page for claim in CLAIMS)
    assert "96 lanes, of which 93 met the stop (missed: sgd small: 3)" in page
    assert "![a](a.svg)" in page


def test_what_does_not_vary_is_no_factor(found: Findings) -> None:
    assert found.factors == [name for name in FACTORS if name in ("optimizer", "step", "depth", "batch", "scale")]


def test_the_same_records_give_the_same_page_and_figures(found: Findings, tmp_path: Path) -> None:
    again = analyse(study_frame(records()))
    assert markdown(again, "x", "y") == markdown(found, "x", "y")
    names = draw(found, tmp_path / "one")
    assert draw(again, tmp_path / "two") == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_records_of_the_study() -> None:
    with pytest.raises(InputError, match="run `lowlands study` first"):
        study_frame([])


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_presets_are_ordinary_submissions_and_tasks(preset: Any) -> None:
    from suite.loading import load
    from suite.tasks import find_task

    track = preset.track()
    assert len(set(track.tasks)) == len(track.tasks)
    for text in preset.submissions():
        assert len(load(text).submission.settings(4)) == 1
    for name in (track.tasks[0], track.tasks[-1]):
        assert find_task(name).family == "factorial"
