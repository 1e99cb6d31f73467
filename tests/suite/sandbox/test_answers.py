"""What guests answer is data: each type is read as it was written, and whatever else comes is refused in a sentence.

Mutated answers go the whole way through the host, as if a guest had written them. They are harmless: their texts name
what must not run, and nothing that runs would do harm.
"""

from __future__ import annotations

import copy
import json
import math
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import suite
from suite.behavior import Behavior, Probe
from suite.entries.description import described
from suite.entries.entry import build_network
from suite.entries.loading import load
from suite.errors import InputError
from suite.models import hold
from suite.sandbox import host, process
from suite.sandbox.allowlist import FUNCTIONS, KEYWORDS, LAYERS, WORDS
from suite.sandbox.answers import Described, Failed, Runs, Trained, decode, encode
from suite.sandbox.export import describe
from suite.sandbox.limits import Limits
from suite.sandbox.network import Layer, Network
from suite.sandbox.service import GradientService
from suite.storage.record import Status
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun
from suite.trials.evaluate import run_unit
from suite.trials.unit import Isolation, Trial, Unit

DESCRIBED = Described(
    name="own",
    kind="optimizer",
    explicit=False,
    description="A docstring.",
    space={"lr": ("LogUniform", (1e-3, 1.0)), "betas": ("Choice", ((0.9, 0.99), (0.8, 0.9))), "decay": ("value", 0.1)},
    origin=("own.Own", ""),
    hash=16 * "0",
    arguments=("params", "lr", "betas", "decay"),
    method=None,
    entrywise=False,
)
RESULT = TrainingResult(
    status=Status.CONVERGED,
    weights={},
    initial={},
    train_loss=0.0,
    gradient_evaluations=3,
    steps=2,
    seconds=0.1,
    stepping="alone",
    target_evaluations=3,
    history=((0, 1.0), (3, math.nan)),
    placement={"SGD": 3},
    implementations={"SGD": "torch 2.14.1"},
    probe=Probe((Behavior.DECAYS,), 16, 0.0, 1e-3, 1e-3, 0.0, 0.0, 0.5),
)
TRAINED = Trained(**{name: value for name, value in vars(RESULT).items() if name in Trained.__struct_fields__})
LINEAR = Layer("Linear", {"in_features": 2, "out_features": 1})
ANSWERS = {
    "failed": (Failed("why"), {}, Described),
    "described": (DESCRIBED, {}, Described),
    "runs": (Runs((TRAINED, Failed("why"))), {"0/weight": torch.arange(3.0), "0/flag": torch.tensor(True)}, Runs),
    "network": (Network(LINEAR, ()), {"weight": torch.ones(1, 2)}, Network),
}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_is_read_as_it_was_written(what: str) -> None:
    answer, tensors, kind = ANSWERS[what]
    again, read = decode(encode(answer, tensors), kind)
    assert msgspec.json.encode(again) == msgspec.json.encode(answer)
    assert type(again) is type(answer)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())


@pytest.mark.parametrize("what", ["described", "runs", "network"])
def test_an_answer_is_of_the_type_that_was_asked_for(what: str) -> None:
    answer, tensors, _ = ANSWERS[what]
    for other in {Described, Runs, Network} - {type(answer)}:
        with pytest.raises(ValueError, match="not of the format"):
            decode(encode(answer, tensors), other)


def _with(answer: Any, **fields: Any) -> bytes:
    """An answer with fields that its type may forbid."""
    text = json.dumps(json.loads(msgspec.json.encode(answer)) | fields).encode()
    return len(text).to_bytes(8, "little") + text


PROBE = msgspec.to_builtins(TRAINED.probe)
TRAINED_FIELDS = {
    "status": ("failed", "forgotten", None, 1),
    "train_loss": (math.nan, math.inf, "0", True, [0]),
    "gradient_evaluations": (-1, 2**53 + 1, 10**400, 1.5, "1", None),
    "steps": (-1, 2**53 + 1, 10**400, 0.5, None),
    "seconds": (-1, -math.inf, math.inf, math.nan, 1e10, None),
    "stepping": ("else", None),
    "target_evaluations": (-1, 1.5, math.nan),
    "history": ([], [[0]], [[0, 1, 2]], [[-1, 1]], [[0, math.nan]], [[0, "1"]], None, 3),
    "probe": (
        PROBE | {"behaviors": ["steals"]},
        PROBE | {"behaviors": (len(Behavior) + 1) * [Behavior.DECAYS]},
        PROBE | {"steps": 0},
        PROBE | {"resting": math.nan},
        PROBE | {"jittered": -1},
        PROBE | {"more": 1},
        {},
        [],
    ),
    "placement": ({"SGD": -1}, {"SGD": 1.5}, {201 * "x": 1}, {str(n): 1 for n in range(21)}, [], None),
    "implementations": ({"SGD": 1}, {"SGD": 201 * "x"}, {201 * "x": "a"}, {str(n): "a" for n in range(21)}, [], None),
    "more": (1,),
    "type": ("other", "runs", None),
}
DESCRIBED_FIELDS = {
    "name": (1, None, 201 * "x"),
    "kind": ("else", None),
    "explicit": ("no", 1, None),
    "description": (20_001 * "x", None),
    "space": (
        {"l r": ["value", 1]},
        {"lr": ["Normal", [0, 1]]},
        {"lr": ["value"]},
        {"": ["value", 1]},
        {"lr\n": ["value", 1]},
        [],
        None,
    ),
    "origin": (["a"], ["a", "b", "c"], [201 * "x", ""], None),
    "hash": ("", 15 * "0", 17 * "0", 16 * "g", 16 * "A", 16 * "0" + "\n", None),
    "arguments": ([1], [""], ["lr\n"], ["l r"], 1_001 * ["x"], [201 * "x"], "params", None),
    "method": (1, ["Adam"], 201 * "x"),
    "entrywise": ("no", 1, None),
    "more": (1,),
    "type": ("network", None),
}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        *(
            (_with(DESCRIBED, **{name: value}), Described)
            for name, values in DESCRIBED_FIELDS.items()
            for value in values
        ),
        *(
            (_with(Runs(()), runs=[json.loads(msgspec.json.encode(TRAINED)) | {name: value}]), Runs)
            for name, values in TRAINED_FIELDS.items()
            for value in values
        ),
        (_with(Failed("why"), reason=20_001 * "x"), Runs),
        (_with(Runs(()), runs=None), Runs),
        (b"", Runs),
        (bytes(8), Runs),
        ((2**63).to_bytes(8, "little") + b"{}", Runs),
        ((2).to_bytes(8, "little") + b"\xff\xfe", Runs),
        ((10**6).to_bytes(8, "little") + 10**6 * b"[", Runs),
        ((10**5 + 8).to_bytes(8, "little") + b'{"runs":' + 10**5 * b"9", Runs),
    ],
)  # fmt: skip
def test_fields_have_their_types_and_ranges(wrong: bytes, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^its text is not of the format|^it is not whole") as raised:
        decode(wrong, kind)
    assert "\n" not in str(raised.value)


def _tensors(header: Any, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return encode(Runs(()), {}) + (len(text) if length is None else length).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "wrong",
    [
        b"[]",
        b"{",
        10**5 * b"[",
        {"a": ENTRY | {"dtype": "object"}},
        {"a": ENTRY | {"dtype": "F64"}},
        {"a": ENTRY | {"shape": [2, 2]}},
        {"a": ENTRY | {"shape": [-2]}},
        {"a": ENTRY | {"shape": [2**40, 2**40]}},
        {"a": ENTRY | {"shape": 17 * [1] + [2]}},
        {"a": ENTRY | {"data_offsets": [4, 12]}},
        {"a": ENTRY | {"data_offsets": [8, 0]}},
        {"a": ENTRY | {"data_offsets": [0, 2**53]}},
        {"a": ENTRY | {"more": 1}},
        {"a": ENTRY, "b": ENTRY},
        {"__metadata__": {"a": "b"}, "a": ENTRY},
        {},
        {"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}},
    ],
)
def test_the_header_of_tensors_says_what_follows(wrong: Any) -> None:
    data = bytes([2, *7 * [0]])
    with pytest.raises(ValueError, match="tensor"):
        decode(_tensors(wrong, data), Runs)
    assert decode(_tensors({"a": ENTRY}, data), Runs)[1]["a"].shape == (2,)
    for length in (0, 2**20, 2**63):
        with pytest.raises(ValueError, match="tensors are not whole"):
            decode(_tensors({"a": ENTRY}, data, length), Runs)


# -- mutated answers, the whole way through the host ------------------------------------------------------------------

CODE = "__import__('os').mkdir('ran')"
PLACES = ("__class__", "os.system", "torch.load", "builtins.exec", "forward.__globals__", "../ran", "ran", CODE)
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31,
    2**53,
    2**53 + 1,
    -(2**53),
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e308,
    math.nan,
    math.inf,
)
"""Whole numbers and others, at the ends of what types hold."""
SHAPES: tuple[Any, ...] = (
    None, True, False, "", "x", 300 * "x", "\0", "\u202e", "\ud800", [], {}, [[]], {"type": "value", "number": 0},
    {"type": "several", "items": [1, 2], "mutable": True}, {"type": "special", "name": "inf"},
    {"type": "slice", "start": 0, "stop": None, "step": -1},
)  # fmt: skip
VOCABULARY = sorted({*FUNCTIONS, *LAYERS, *WORDS, *KEYWORDS})


def _odd(stream: random.Random) -> Any:
    """A value that may be anywhere in a mutated answer."""
    return copy.deepcopy(stream.choice(stream.choice((PLACES, NUMBERS, SHAPES, VOCABULARY))))


def _positions(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a tree of JSON with a key of it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _positions(value)


def _mutate_tree(tree: Any, stream: random.Random) -> None:
    """Change a tree of JSON at one place."""
    positions = list(_positions(tree))
    if not positions:
        return
    container, key = stream.choice(positions)
    what = stream.randrange(6)
    if what == 0:
        del container[key]
    elif what == 1 and isinstance(container, dict):
        container[str(_odd(stream))[:300]] = container.pop(key)
    elif what == 2 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[stream.randrange(len(container))]))
    elif what == 3:
        other, place = stream.choice(positions)
        container[key] = copy.deepcopy(other[place])
    elif what == 4:
        for _ in range(stream.choice((1, 10, 100))):
            container[key] = [container[key]]
    else:
        container[key] = _odd(stream)


def _mutate_bytes(data: bytes, stream: random.Random) -> bytes:
    """Change, lose, double or move some bytes."""
    at, size = stream.randrange(len(data)), stream.choice((1, 1, 1, 8, 64))
    piece = data[at : at + size]
    return stream.choice(
        (
            data[:at] + bytes(stream.randrange(256) for _ in piece) + data[at + size :],
            data[:at] + data[at + size :],
            data[:at] + piece + data[at:],
            data[: stream.randrange(at + 1)] + piece + data[at + size :],
            data[:at],
        )
    )


def mutated(data: bytes, stream: random.Random) -> bytes:
    """An answer that is wrong in one place or in a few: in its bytes, in its text, or in the header of its tensors."""
    what = stream.randrange(4)
    if what == 0:
        return _mutate_bytes(data, stream)
    length = int.from_bytes(data[:8], "little")
    parts = [data[8 : 8 + length], data[8 + length :]]
    if what == 1 and parts[1]:
        header = 8 + int.from_bytes(parts[1][:8], "little")
        tree, rest = json.loads(parts[1][8:header]), parts[1][header:]
    else:
        tree, rest = json.loads(parts[0]), b""
    for _ in range(stream.choice((1, 1, 1, 2, 5))):
        _mutate_tree(tree, stream)
    text = json.dumps(tree).encode()
    if rest:
        return data[: 8 + length] + len(text).to_bytes(8, "little") + text + rest
    return len(text).to_bytes(8, "little") + text + parts[1]


@dataclass(frozen=True)
class Asked:
    """A question to a guest: its right answer, and what the host makes of an answer."""

    answer: bytes
    ask: Callable[[], Any]

    def result(self, answer: bytes | None = None) -> Any:
        """What the host makes of `answer`, or of the right one; what it raises if it is a mistake of the user's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "run", lambda *_: self.answer if answer is None else answer)
            patch.setattr(
                GradientService, "outcome", lambda self, run: (0, hold(self._runs[run].model(self._task, "cpu")))
            )
            try:
                return self.ask()
            except InputError as error:
                return error


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """Every kind of question."""
    path = tmp_path_factory.mktemp("asked") / "own.py"
    path.write_text("")
    task, images = find_task("min_norm_regression"), find_task("univariate_relu")
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.5}) for seed in range(2)]
    stalled = msgspec.structs.replace(TRAINED, status="stalled")
    questions = {
        "description": Asked(
            encode(DESCRIBED, {}), lambda: host.describe.__wrapped__(str(path), Limits(), 4).submission.settings(4)
        ),
        "runs": Asked(
            encode(Runs((stalled, Failed("why"))), {}),
            lambda: host.train(task, str(path), runs, Limits(), "cpu", race=False),
        ),
    }
    interface = images.interface
    assert interface is not None
    limits = iter(range(10**9))
    for name in ("mlp_narrow", "residual_mlp", "fourier_mlp", "layernorm_mlp"):
        architecture = load(name).submission.architecture
        assert architecture is not None
        torch.manual_seed(0)
        network, tensors = describe(architecture(interface.input_shape, interface.outputs), interface.input_shape)

        def draw() -> Any:
            stand_in = host._sandboxed_architecture
            # Other limits make another question: the answer is not taken from the cache.
            own = Limits(disk=next(limits))
            return build_network(lambda shape, outputs: stand_in(str(path), own, shape, outputs), images, 0)

        questions[name] = Asked(encode(network, tensors), draw)
    for question in questions.values():  # what is imported and read on first use is so here
        question.result()
    return questions


FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
    *("subprocess.Popen", "socket.connect", "socket.bind", "pickle.find_class", "ctypes.dlopen"),
    *("code.__new__", "compile"),
)
INSTALLED = (
    *(sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")),
    *(str(Path(suite.__file__).parent), "<frozen"),
)
"""Where the code that may run lies."""


class Watch:
    """Notes what the interpreter is asked to do that reading data does not need."""

    def __init__(self) -> None:
        self.on, self.seen = False, Counter[str]()
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.seen[f"{event} {arguments!r:.200}"] += 1
        elif event == "exec" and not arguments[0].co_filename.startswith(INSTALLED):
            self.seen[f"exec of {arguments[0].co_filename}"] += 1
        elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            self.seen[f"open {arguments!r:.200}"] += 1


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 51))])
def test_mutated_answers_are_refused_in_a_sentence(
    block: int,
    asked: dict[str, Asked],
    watch: Watch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 answers a block; 50 blocks beside the first make 10,000 in the nightly."""
    monkeypatch.chdir(tmp_path)
    watch.seen.clear()
    sentences: list[str] = []
    outcomes = Counter[str]()
    for number in range(200):
        stream = random.Random(f"{block}/{number}")
        question = asked[stream.choice(list(asked))]
        watch.on = True
        try:
            result = question.result(mutated(question.answer, stream))
        finally:
            watch.on = False
        errors = [part for part in (result if isinstance(result, list) else [result]) if isinstance(part, Exception)]
        sentences += map(str, errors)
        outcomes["refused" if errors else "taken"] += 1
        assert all(isinstance(error, InputError | RuntimeError) for error in errors), (block, number, errors)
    assert not watch.seen
    assert not list(tmp_path.iterdir())
    assert all(0 < len(sentence) < 2_000 and sentence.isprintable() for sentence in sentences), sentences
    assert outcomes["refused"] > 100
    assert outcomes["taken"] > 0


@pytest.mark.parametrize("value", [0.0, 1e300, math.inf, -math.inf, math.nan])
def test_weights_decide_and_no_claim(value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.py"
    path.write_text("")
    task = find_task("min_norm_regression")
    initial = hold(task.model(task.problem(0), 0))
    weights = {name: torch.full_like(tensor, value) for name, tensor in initial.items()}
    answers = iter((encode(DESCRIBED, {}), encode(Runs((TRAINED,)), {})))
    monkeypatch.setattr(GradientService, "outcome", lambda *_: (0, weights))
    monkeypatch.setattr(process, "run", lambda *_: next(answers))
    isolation = Isolation(Limits(), host.describe.__wrapped__(str(path), Limits(), 1))
    unit = Unit(str(path), task.name, "smoke", "score", (Trial(0, {"lr": 0.5}),), (0,), isolation=isolation)
    (record,) = run_unit(unit)
    assert (record["converged"], record["status"]) == (False, "failed")
    assert "built anew with its weights, has the training loss" in record["reason"]


def test_right_answers_are_taken(asked: dict[str, Asked]) -> None:
    results = {name: question.result() for name, question in asked.items()}
    runs = results.pop("runs")
    assert [getattr(run, "status", str(run)) for run in runs] == [Status.STALLED, "why"]
    assert not any(isinstance(result, Exception) for result in results.values())


@pytest.mark.parametrize(
    ("text", "method"), [("adamw", "AdamW"), ("sgd[lr=0.1]", "gradient descent"), ("sgd[momentum=0.9]", None)]
)
def test_the_method_of_a_built_in_submission_does_not_depend_on_where_the_sandbox_has_the_suite(
    text: str, method: str | None
) -> None:
    answer = msgspec.structs.replace(DESCRIBED, method=None)
    assert described(answer, text, 1).submission.method == load(text).submission.method == method
