"""Search spaces, and finding submissions by name, file and import path."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import Choice, LogUniform, Submission, Uniform
from suite.entries.loading import builtin_files, import_file, load
from suite.errors import InputError

PLAIN = """'''A plain one.'''
import torch
from suite import LogUniform, Submission
submission = Submission(name="plain", optimizer=torch.optim.SGD, space={"lr": LogUniform(1e-3, 1.0)})
"""


@given(st.floats(0, 1, exclude_max=True), st.floats(1e-6, 1e6), st.floats(1, 1e3))
def test_quantiles_stay_inside(u: float, low: float, ratio: float) -> None:
    assert low * (1 - 1e-9) <= LogUniform(low, low * ratio).at(u) <= low * ratio * (1 + 1e-9)
    assert low <= Uniform(low, low * ratio).at(u) <= low * ratio * (1 + 1e-12)
    assert Choice("a", "b", "c").at(u) == "abc"[int(3 * u)]


def test_settings_are_a_prefix_of_longer_ones_and_cover_the_space() -> None:
    space = {"lr": LogUniform(1e-4, 1.0), "momentum": Choice(0.0, 0.9), "nesterov": False}
    submission = Submission("one", optimizer=print, space=space)
    eight, four = submission.settings(8), submission.settings(4)
    assert eight[:4] == four
    assert submission.settings(3) == four[:3]
    assert {s["momentum"] for s in four} == {0.0, 0.9}
    assert all(s["nesterov"] is False for s in four)
    # A Sobol point in each of the four decades.
    assert len({int(s["lr"] * 0.9999 * 1e4).__str__().__len__() for s in four}) == 4
    assert Submission("fixed", optimizer=print, space={"lr": 0.1}).settings(4) == [{"lr": 0.1}]


@pytest.mark.parametrize("search", range(4))
@pytest.mark.parametrize("trials", [4, 8, 16])
def test_a_search_in_two_dimensions_is_as_dense_as_in_one(trials: int, search: int) -> None:
    line = {"lr": Uniform(0.0, 1.0)}
    plane = Submission("two", optimizer=print, space=line | {"rho": Uniform(0.0, 1.0)})
    assert Submission("one", optimizer=print, space=line).size_of_search(trials) == trials
    points = plane.settings(plane.size_of_search(trials), search)
    for half in (0, 1):
        assert sorted(int(trials * p["lr"]) for p in points if int(2 * p["rho"]) == half) == list(range(trials))
        assert sorted(int(trials * p["rho"]) for p in points if int(2 * p["lr"]) == half) == list(range(trials))


def test_a_single_trial_is_no_search() -> None:
    space = {"lr": LogUniform(1e-4, 1.0), "rho": Uniform(0.0, 1.0)}
    assert Submission("two", optimizer=print, space=space).size_of_search(1) == 1
    assert Submission("fixed", optimizer=print, space={"lr": 0.1}).size_of_search(8) == 8


def test_the_step_sizes_of_all_built_in_optimizers_span_two_decades() -> None:
    for name in builtin_files():
        submission = load(name).submission
        if submission.kind == "optimizer" and name != "lbfgs":  # its line search chooses the step
            rates = [submission.space[key] for key in submission.tuned if key in ("lr", "adamw_lr", "d_coef")]
            assert rates, name
            for rate in rates:
                assert isinstance(rate, LogUniform), name
                assert rate.high / rate.low == pytest.approx(100), name


def test_searches_have_points_of_their_own_that_cover_the_space() -> None:
    submission = Submission("one", optimizer=print, space={"lr": LogUniform(1e-4, 1.0)})
    searches = [[settings["lr"] for settings in submission.settings(4, search)] for search in range(20)]
    assert searches[0] == [settings["lr"] for settings in submission.settings(4)]
    assert len({lr for search in searches for lr in search}) == 80
    for search in searches:  # a Sobol point in each quarter of the space, in every search
        assert sorted(math.floor(math.log10(lr)) for lr in search) == [-4, -3, -2, -1]
    # Over searches a point is uniform in its quarter: the mean of 80 quantiles is 1/2 up to 3 s.d. of the strata.
    quantiles = [math.log10(lr) / 4 + 1 for search in searches for lr in search]
    assert abs(sum(quantiles) / 80 - 0.5) < 3 * 0.25 / math.sqrt(12 * 80)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "x"}, "either optimizer= or architecture="),
        ({"name": "x", "optimizer": print, "architecture": print}, "either optimizer= or architecture="),
        ({"name": "x", "optimizer": print, "space": [1]}, "must be a dict"),
        ({"name": "x", "optimizer": print, "space": {"lr": [1, 2]}}, "must be LogUniform, Uniform, Choice"),
        ({"name": "", "optimizer": print}, "printable"),
        ({"name": "x", "optimizer": 3}, "cannot be called"),
        ({"name": "x", "optimizer": print, "schedule": 0.1}, "schedule= must be a function"),
        ({"name": "x", "architecture": print, "loss": print}, "loss= must be a function, and needs optimizer="),
        ({"name": "x", "architecture": print, "method": "Adam"}, "method= says what an optimizer is"),
        ({"name": "x", "optimizer": print, "method": "adam"}, "no method 'adam': did you mean 'Adam'"),
        ({"name": "x", "optimizer": print, "schedule": lambda progress: -1}, r"schedule\(0.0\) must be a number"),
        ({"name": "x", "optimizer": print, "schedule": lambda p: 1 / p}, "raised ZeroDivisionError"),
    ],
)
def test_a_submission_that_is_none_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Submission(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: LogUniform(0, 1), lambda: LogUniform(2, 1), lambda: Uniform(1, 0), Choice])
def test_a_space_that_is_none_is_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]


def test_a_loss_of_its_own_is_regularisation_on_purpose() -> None:
    assert Submission("one", optimizer=print, loss=print).explicit
    assert not Submission("one", optimizer=print, schedule=lambda progress: 1 - progress).explicit


def test_an_edit_within_the_same_second_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "edited.py"
    for value in (1, 2):
        path.write_text(f"value = {value}\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert import_file(path).value == value


def test_built_in_submissions_load() -> None:
    names = {"sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "sign", "sam"}
    assert names <= set(builtin_files())
    for name in builtin_files():
        loaded = load(name)
        assert loaded.submission.name == name
        assert loaded.submission.description


def test_file_and_import_path(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    loaded = load(str(path))
    assert loaded.submission.name == "plain"
    assert loaded.submission.factory is torch.optim.SGD
    assert loaded.submission.description == "A plain one."
    by_path = load("torch.optim:RAdam")
    assert by_path.submission.name == "RAdam"
    assert set(by_path.submission.space) == {"lr"}
    assert loaded.source_hash != by_path.source_hash


def test_settings_may_be_fixed() -> None:
    fixed = load("momentum[lr=0.02,nesterov=True]")
    assert fixed.submission.name == "momentum[lr=0.02,nesterov=True]"
    assert fixed.submission.settings(4) == [{"lr": 0.02, "momentum": 0.9, "nesterov": True}]
    assert fixed.source_hash != load("momentum").source_hash != load("momentum[lr=0.03]").source_hash


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("sgd", {"lr": 0.2}),  # the middle of 0.02 to 2, not torch's 0.001
        ("momentum", {"lr": 0.02, "momentum": 0.9}),
        ("adamw", {"lr": 0.003, "weight_decay": 0.01}),
        ("sam", {"lr": 0.03, "rho": 0.05}),
        ("muon", {"lr": 0.01, "adamw_lr": 0.003}),
        ("torch.optim:LBFGS", {}),
        ("sgd[lr=0.5]", {"lr": 0.5}),
    ],
)
def test_the_default_setting_has_the_middle_of_the_step_sizes(text: str, setting: dict[str, float]) -> None:
    fixed = load(f"{text}[default]")
    assert fixed.submission.settings(4) == [setting]
    assert fixed.submission.name == f"{load(text).submission.name}[default]"
    assert fixed.source_hash != load(text).source_hash


def test_a_default_is_the_authors_where_they_name_one() -> None:
    def optimizer(
        params: Any, lr: float, beta: float = 0.95, rho: float | None = None, damping: float = 0.5
    ) -> None: ...

    space = {"lr": Uniform(0.0, 1.0), "beta": Uniform(0.0, 0.5), "rho": LogUniform(0.01, 1.0), "damping": 0.1}
    setting = Submission("made", optimizer, space=space).fixed_setting()
    assert setting == {"lr": 0.5, "beta": 0.95, "rho": 0.1, "damping": 0.1}


@pytest.mark.parametrize(
    ("text", "space", "explicit"),
    [
        ("torch.optim:Adam", {"lr": LogUniform(1e-4, 1.0)}, False),
        ("torch.optim:AdamW", {"lr": LogUniform(1e-4, 1.0)}, True),
        ("pytorch_optimizer:Lion", {"lr": LogUniform(1e-5, 1.0)}, False),
        ("pytorch_optimizer:LARS", {"lr": LogUniform(1e-4, 1.0)}, False),
        ("pytorch_optimizer:Prodigy", {}, False),  # a step size of 1 is a factor on its own
        ("torch.optim:LBFGS", {}, False),
        ("pytorch_optimizer:A2Grad", {}, False),  # it has none
        ("pytorch_optimizer:SAM", {"lr": LogUniform(1e-4, 1.0)}, False),  # passed on to what it wraps
        ("pytorch_optimizer:PCGrad", {"lr": LogUniform(1e-4, 1.0)}, False),
    ],
)
def test_default_space(text: str, space: dict[str, object], explicit: bool) -> None:
    submission = load(text).submission
    assert submission.explicit == explicit
    assert set(submission.space) == set(space)
    for name, expected in space.items():
        for u in (0.0, 0.5, 1.0):
            assert submission.space[name].at(u) == pytest.approx(expected.at(u))  # type: ignore[attr-defined]


def test_the_hash_follows_the_source(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(PLAIN)
    two.write_text(PLAIN + "# changed\n")
    assert load(str(one)).source_hash != load(str(two)).source_hash


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("adm", "did you mean 'adam'"),
        ("nothing/here.py", "There is no file"),
        ("no_such_module:X", "cannot be imported"),
        ("torch.optim:Adamm", "There is no class 'Adamm' in the module 'torch.optim': did you mean 'Adam"),
        ("math:nothing_like_it", "There is no class 'nothing_like_it' in the module 'math': no name there is similar"),
        ("math:pi", "is not a class or a function"),
        ("sgd[0.1]", "not of the form name=value"),
        ("adm[lr=0.1]", "did you mean 'adam'"),
    ],
)
def test_unknown_submissions(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load(text)


def test_finding_submissions_needs_no_torch() -> None:
    """So tables, sites and lists of submissions load without it."""
    modules = (
        "suite, suite.entries.loading, suite.entries.templates, suite.sandbox.limits, suite.sandbox.process, "
        "suite.signature, suite.storage.log, suite.submission, suite.tracks"
    )
    code = f"import sys; sys.modules['torch'] = None; import {modules}; assert suite.entries.builtin_files()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1", "defines no `submission`"),
        ("submission = 3", "must be a lowlands.Submission, not int"),
        ("def (", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_bad_files(tmp_path: Path, source: str, sentence: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(InputError, match=sentence):
        load(str(path))
