"""Image tasks: their data, their adversarial initialization, and networks of every kind."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

from suite.commands import frozen_references as references
from suite.data import load_images
from suite.data.splits import split_digits
from suite.entries import load
from suite.entries.entry import bind
from suite.errors import InputError
from suite.models import cnn, initialize, mlp
from suite.seeding import torch_stream
from suite.storage import Log, read, seal
from suite.storage import cache as disk
from suite.task import Oracle, Problem, Solution, Split, Target, Task
from suite.tasks import find_task
from suite.tasks import images_adversarial_init as adversarial
from suite.tasks.images import IMAGE_AXES, REFERENCES_FILE, image_measures
from suite.tasks.images_adversarial_init import ADVERSARIAL_INITS
from suite.training import TrainingRun, train
from suite.trials import resolve_axes
from tests.suite.tasks.helpers import trained

SHIPPED = Path(__file__).parents[3] / "leaderboard" / "baselines" / "quick.jsonl"
SMALL = ["mnist_mlp[subset=300]", "mnist_cnn[subset=300]", "mnist_noisy[subset=300]", "cifar10_cnn[subset=300]"]


@pytest.fixture
def data(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOWLANDS_DATA", str(real_data))
    return real_data


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and adversarial initializations that take a moment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(adversarial, "EPOCHS", 2)
    monkeypatch.setattr(disk, "MIN_SECONDS", 0)
    return tmp_path / "lowlands" / "adversarial_init"


# -- the data ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", SMALL)
def test_seeds_differ_and_repeat(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    problems = [task.problem(seed) for seed in (0, 1, 0)]
    prints = [problem.fingerprint() for problem in problems]
    assert prints[0] == prints[2] != prints[1]
    assert [len(problem.train) for problem in problems] == [300] * 3
    weights = [next(task.model(p, s).parameters()) for p, s in zip(problems, (0, 1, 0), strict=True)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert all(p.validation is not None and p.test is not None and len(p.test) == 10_000 for p in problems)


@pytest.mark.usefixtures("data")
def test_noise_flips_a_fifth_of_the_labels_and_leaves_the_test_alone() -> None:
    clean, noisy = (
        split.y
        for name in ("mnist_mlp[subset=1000]", "mnist_noisy[subset=1000]")
        for split in [find_task(name).problem(0).train]
    )
    assert clean.shape == noisy.shape
    test = find_task("mnist_noisy[subset=1000]").problem(0).test
    assert test is not None
    assert torch.equal(test.y, load_images("mnist").test.y)


@pytest.mark.usefixtures("data")
def test_budget_and_checks_are_in_epochs() -> None:
    assert find_task("mnist_mlp").target == Target(0.01, 40 * 844, check_every=844, annealing=2 * 844)
    assert find_task("cifar10_cnn[subset=2000]").target == Target(0.01, 100 * 32, check_every=32, annealing=64)
    assert find_task("mnist5k_mlp[batch=200]").target == Target(0.01, 250 * 10, check_every=10, annealing=20)


def test_records_from_before_the_references_get_their_axes(tmp_path: Path) -> None:
    shipped = [seal(record) for record in read(SHIPPED).records if record["submission"] == "sgd"]
    # The shipped records may be from before the references of today.
    task = find_task("mnist5k_mlp")
    now = {"axes": resolve_axes(task.axes, None), "reported": list(task.reported)}
    measured = {"canonical_sharpness": 0.01}
    scored = [
        seal(r | now | {"measures": r["measures"] | measured})
        for r in shipped
        if r["phase"] == "score" and r["task"] == "mnist5k_mlp"
    ]
    others = [r for r in shipped if r["phase"] == "tune" or r["family"] != "images"]
    log = tmp_path / "full.jsonl"
    Log(log).append(*others, *(seal(record | {"axes": {}, "reported": []}) for record in scored))
    assert references.give_axes(log) == len(scored) > 0
    assert read(log).records == [*others, *scored]
    assert references.give_axes(log) == 0
    log.write_bytes(log.read_bytes() + b"torn")
    before = log.read_bytes()
    with pytest.raises(InputError, match="is damaged"):
        references.give_axes(log)
    assert log.read_bytes() == before


def test_a_solution_that_lacks_the_scored_measure_gets_no_axes(tmp_path: Path) -> None:
    run = next(r for r in read(SHIPPED).records if r["phase"] == "score" and r["task"] == "mnist5k_mlp")
    values = {name: value for name, value in run["measures"].items() if name != "canonical_sharpness"}
    log = tmp_path / "quick.jsonl"
    Log(log).append(seal(run | {"measures": values}))
    before = log.read_bytes()
    with pytest.raises(InputError, match=r"on mnist5k_mlp has no canonical_sharpness\.$"):
        references.give_axes(log)
    assert log.read_bytes() == before


def test_records_say_that_references_are_provisional(tmp_path: Path) -> None:
    axes = resolve_axes(find_task("mnist_mlp").axes, None)
    assert axes["flatness"]["provisional"] == "they are values of elementwise_sharpness"
    assert "provisional" not in axes["norm"]
    record = seal(next(r for r in read(SHIPPED).records if r["task"] == "mnist5k_mlp") | {"axes": axes})
    Log(tmp_path / "log.jsonl").append(record)
    assert read(tmp_path / "log.jsonl").records == [record]


def test_gradients_of_an_initialization_are_not_those_of_a_reference_run() -> None:
    """The second seed's initialization was made while the first one trained, and used its budget up."""
    made: dict[int, dict[str, torch.Tensor]] = {}

    def model(problem: Problem, seed: int) -> torch.nn.Module:
        network = torch.nn.Linear(2, 2)
        if seed not in made:
            for _ in range(task.target.budget):
                torch.autograd.backward(cross_entropy(network(problem.train.x), problem.train.y))
            made[seed] = network.state_dict()
        network.load_state_dict(made[seed])
        return network

    def problem(seed: int) -> Problem:
        y = torch.arange(8) % 2
        return Problem(Split(torch.eye(2)[y] + 0.01 * seed, y))

    task = replace(
        find_task("mnist5k_mlp"),
        problem=problem,
        model=model,
        target=Target(0.5, budget=40, check_every=4),
        batch_size=8,
        interface=None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "image_measures", lambda solution, names: {"test_error": 0.0})
        means = references.mean_measures(task, ("sgd", {"lr": 1.0}), range(3))
    assert means is not None
    assert means["gradient_evaluations"] <= 40


def test_references_are_in_order() -> None:
    frozen = json.loads(REFERENCES_FILE.read_text())
    assert {"mnist5k_mlp"} <= set(frozen) <= {*ADVERSARIAL_INITS, "tiny_lm"}
    for name in frozen:
        axes = find_task(name).axes
        assert [axis.measure for axis in axes] == [axis.measure for axis in IMAGE_AXES], name
        for axis in axes:
            assert isinstance(axis.score_0, float)
            assert isinstance(axis.score_1, float)
            assert 0 < axis.score_1 < math.inf
            assert (axis.score_1 > axis.score_0) == axis.higher, (name, axis)
            measured = frozen[name]["axes"][axis.measure].get("measured")
            assert axis.provisional == (f"they are values of {measured}" if measured else "")
            best = frozen[name]["runs"][frozen[name]["axes"][axis.measure]["score_1_run"]]
            assert axis.score_1 == best[measured or axis.measure]
    assert not any(axis.provisional for axis in find_task("mnist5k_mlp").axes)
    assert find_task("mnist_mlp").axes[0].provisional
    assert find_task("mnist5k_bad_start").axes == find_task("mnist5k_mlp").axes
    assert find_task("mnist_mlp[subset=77]").axes == ()  # other sizes are reported, not scored


# -- custom data sets -------------------------------------------------------------------------------------------------


def _save_blobs(path: Path, classes: int = 3) -> None:
    """Images of which one corner says the class."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, samples in (("train", 90), ("test", 30)):
        y = np.arange(samples) % classes
        x = rng.integers(0, 60, (samples, 6, 7), dtype=np.uint8)
        x[np.arange(samples), 0, y] = 255
        arrays |= {f"x_{part}": x, f"y_{part}": y}
    np.savez(path, **arrays)


@pytest.mark.parametrize("network", ["cnn", "mlp", "resnet"])
def test_custom_images_are_trained_and_measured(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save_blobs(tmp_path / "blobs.npz")
    monkeypatch.setenv("LOWLANDS_DATA", str(tmp_path))
    task = find_task(f"image:blobs[network={network}]")
    assert task.axes == ()
    task = replace(task, target=replace(task.target, budget=20 * task.target.budget))  # two steps an epoch are few
    (measures,) = trained(task, "adam", 3e-3, seeds=1)
    assert measures["train_error"] == 0
    assert measures["test_error"] < 0.2
    assert all(math.isfinite(value) for value in measures.values())
    assert ("path_norm" in measures) == (network != "resnet")


def test_custom_names() -> None:
    task_free = "no data set 'no_such_data'"
    with pytest.raises(InputError, match=task_free):
        find_task("image:no_such_data")
    with pytest.raises(InputError, match="Task 'image' needs a data set: image:NAME"):
        find_task("image")
    with pytest.raises(InputError, match="There is no task 'max_margin:mine'"):
        find_task("max_margin:mine")


def test_custom_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save_blobs(tmp_path / "blobs.npz")
    monkeypatch.setenv("LOWLANDS_DATA", str(tmp_path))
    task = find_task("image:blobs[network=mlp,subset=20]")
    assert task.name == "image:blobs[network=mlp,subset=20]"
    assert len(task.problem(0).train) == 20
    assert find_task("image:blobs[network=cnn]").name == "image:blobs"
    with pytest.raises(InputError, match="network must be one of cnn, mlp, resnet, not 'vgg'"):
        find_task("image:blobs[network=vgg]")
    with pytest.raises(InputError, match="no variant 'data'"):
        find_task("image:blobs[data=mine]")
    with pytest.raises(InputError, match="82 of them cannot be trained on"):
        find_task("image:blobs[subset=82]").problem(0)


# -- adversarial initialization ---------------------------------------------------------------------------------------


def _adversarial_weights(seed: int = 0, wrong: int = 50, train: int = 40) -> tuple[torch.Tensor, Problem]:
    problem = split_digits("start", seed, train, 10, 100)
    model = initialize(mlp((1, 28, 28), 10), torch_stream("start", seed))
    adversarial.adversarial_init(model, problem, seed, wrong)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), problem


def test_adversarial_initializations_are_computed_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = _adversarial_weights()
    assert len(list(home.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(adversarial, "_pretrain", None)
        assert torch.equal(_adversarial_weights()[0], first)
    for path in home.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert torch.equal(_adversarial_weights()[0], first)  # damage is ignored, and mended:
    monkeypatch.setattr(adversarial, "_pretrain", None)
    assert torch.equal(_adversarial_weights()[0], first)


@pytest.mark.parametrize("change", [{"seed": 1}, {"wrong": 51}, {"train": 41}])
def test_that_of_another_seed_count_or_data_set_is_not_taken(
    change: dict[str, int], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _adversarial_weights()
    monkeypatch.setattr(adversarial, "_pretrain", None)
    with pytest.raises(TypeError):
        _adversarial_weights(**change)
    assert len(list(home.iterdir())) == 1


def test_wrong_copies_follow_the_training_data() -> None:
    problem = split_digits("poison", 0, 40, 10, 10)
    x, y = adversarial.with_wrong_copies(problem, torch_stream("poison"), 60, 10)
    assert torch.equal(x[:40], problem.train.x)
    assert torch.equal(y[:40], problem.train.y)
    originals = torch.arange(60) % 40
    assert (y[40:] != problem.train.y[originals]).all()
    unchanged = x[40:] == problem.train.x[originals]
    assert unchanged.double().mean().item() == pytest.approx(0.9, abs=0.01)
    assert (x[40:][~unchanged] == 0).all()


@pytest.mark.slow
def test_sgd_stays_in_the_bad_minimum_and_weight_decay_leaves_it() -> None:
    task = find_task("mnist5k_bad_start")
    problem = task.problem(0)
    network = task.model(problem, 0)
    with torch.no_grad():
        assert cross_entropy(network(problem.train.x), problem.train.y) < 0.05
    (stays,) = trained(task, "sgd", 0.05, seeds=1)
    (fresh,) = trained(find_task("mnist5k_mlp"), "sgd", 0.05, seeds=1)
    (leaves,) = trained(task, "adamw[weight_decay=0.5]", 1e-3, seeds=1)
    assert stays["test_error"] > 0.15 > 0.11 > leaves["test_error"]
    # The bad minimum has a harmless raw curvature; the scored measures reveal it.
    assert stays["lambda_max"] < fresh["lambda_max"]
    assert stays["adaptive_sharpness"] > 5 * fresh["adaptive_sharpness"]
    assert stays["input_margin"] < fresh["input_margin"] / 2


@pytest.mark.slow
def test_sam_is_flatter_and_wider_than_sgd_on_digits() -> None:
    task = find_task("mnist5k_mlp")
    rows = {text: trained(task, text, lr) for text, lr in (("sgd", 0.1), ("sam[rho=0.2]", 0.02))}
    sgd, sam = ({name: np.mean([row[name] for row in measures]) for name in measures[0]} for measures in rows.values())
    assert sam["adaptive_sharpness"] < sgd["adaptive_sharpness"] / 2
    assert sam["input_margin"] > sgd["input_margin"]
    assert sam["test_error"] < sgd["test_error"]


# -- networks of every kind -------------------------------------------------------------------------------------------


def _easy(task: Task, samples: int = 120) -> Task:
    """The task on few images of two classes: any network fits them in moments."""

    def problem(seed: int) -> Problem:
        whole = split_digits("easy", seed, 1_500, 500, 1_000)
        assert whole.validation is not None
        assert whole.test is not None

        def part(split: Split, count: int) -> Split:
            rows = torch.nonzero(split.y < 2)[:count, 0]
            return Split(split.x[rows], split.y[rows])

        return Problem(part(whole.train, samples), part(whole.validation, 50), part(whole.test, 100))

    return replace(task, problem=problem, target=Target(0.01, 600, check_every=4), batch_size=32)


@pytest.mark.parametrize(
    "name", ["deep_linear", "cnn", "cnn_batchnorm", "resnet", pytest.param("vit", marks=pytest.mark.slow)]
)
def test_architectures_are_trained_and_measured(name: str) -> None:
    entry = bind(load(name).submission, find_task("mnist5k_mlp"))
    task = _easy(entry.task)
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 3e-3}) for seed in range(2)]
    for run, result in zip(runs, train(task, runs, entry.make), strict=True):
        assert result.converged, result.status
        assert result.stepping == "alone"
        model = task.model(run.problem, run.seed)
        model.load_state_dict(result.weights)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        measures = task.measure(Solution(model.eval(), result.initial, run.problem, Oracle(), run.seed))
        assert measures["train_error"] < 0.02
        assert measures["test_error"] < 0.05
        assert all(math.isfinite(value) for value in measures.values())
        # Measuring moves neither weights nor the statistics of batch norm.
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_batch_norm_is_measured_with_its_statistics_fixed() -> None:
    """As the network into which batch norm is folded: the same function, without batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cnn((1, 28, 28), 10, batch_norm=True)
    problem = split_digits("batch norm", 0, 64, 10, 100)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(problem.train.x), problem.train.y).backward()
        optimizer.step()
    model.eval()
    folded = cnn((1, 28, 28), 10)
    for plain, (convolution, norm) in zip(
        [m for m in folded if isinstance(m, torch.nn.Conv2d)],
        [(model[i], model[i + 1]) for i in range(len(model)) if isinstance(model[i], torch.nn.Conv2d)],
        strict=True,
    ):
        plain.load_state_dict(fuse_conv_bn_eval(convolution, norm).state_dict())
    folded[-1].load_state_dict(model[-1].state_dict())
    one, other = (
        image_measures(Solution(m, dict(m.named_parameters()), problem, Oracle(), 0)) for m in (model, folded.eval())
    )
    for name in ("input_margin", "test_error", "test_loss", "temperature", "corruption_error/noise"):
        assert one[name] == pytest.approx(other[name], rel=1e-3), name
    assert "path_norm" in other
    assert "path_norm" not in one
