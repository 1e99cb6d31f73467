"""Networks that leave the sandbox as data: the same network comes back, of nothing but what the allowlist allows."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.entries.entry import bind, build_network
from suite.entries.loading import builtin_files, load
from suite.errors import InputError
from suite.sandbox.allowlist import FUNCTIONS, LAYERS, METHODS
from suite.sandbox.export import describe
from suite.sandbox.host import describe as describe_submission
from suite.sandbox.limits import Limits
from suite.sandbox.rebuild import Graph, rebuild
from suite.tasks import find_task
from suite.training import TrainingRun, train

ARCHITECTURES = [name for name in builtin_files() if load(name).submission.kind == "architecture"]


def _through_json(model: nn.Module, *input_shape: int) -> nn.Module:
    description, tensors = describe(model, input_shape)
    return rebuild(json.loads(json.dumps(description)), tensors)


def _same(model: nn.Module, again: nn.Module, x: Tensor) -> None:
    assert list(model.state_dict()) == list(again.state_dict())
    parameters, rebuilt = (list(net.named_parameters()) for net in (model, again))
    assert [(name, p.requires_grad, p.dtype) for name, p in parameters] == [
        (n, p.requires_grad, p.dtype) for n, p in rebuilt
    ]
    for training in (True, False):
        outputs, again_outputs = (net.train(training)(x) for net in (model, again))
        assert torch.equal(outputs, again_outputs)
        wanted = torch.autograd.grad(outputs.square().sum(), [p for _, p in parameters if p.requires_grad])
        grads = torch.autograd.grad(again_outputs.square().sum(), [p for _, p in rebuilt if p.requires_grad])
        assert all(map(torch.equal, wanted, grads))


@pytest.mark.parametrize("task", ["mnist5k_mlp", "linear_geometry"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_built_in_architectures_come_back_as_they_are(name: str, task: str) -> None:
    interface, architecture = find_task(task).interface, load(name).submission.architecture
    assert interface is not None
    assert architecture is not None
    torch.manual_seed(0)
    try:
        model = architecture(interface.input_shape, interface.outputs)
    except ValueError:
        pytest.skip("it takes images alone")
    again = _through_json(model, *interface.input_shape)
    _same(model.double(), again.double(), torch.randn(5, *interface.input_shape, dtype=torch.float64))


class Mixed(nn.Module):
    """What people write: sizes, loops, unpacking, slices, buffers, constants, frozen and shared-nothing parts."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2)])
        self.scale = nn.Parameter(torch.ones(6))
        self.still = nn.Parameter(torch.full((6,), 0.5), requires_grad=False)
        self.register_buffer("shift", torch.linspace(0, 1, 6))
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 6:
            raise ValueError("six inputs")
        for number, block in enumerate(self.blocks):
            x = x + block(x) / math.sqrt(number + 1)
        x -= self.shift
        left, right = x.chunk(2, dim=-1)
        tokens = torch.stack([left, right], dim=1)
        tokens, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        batch, count, width = tokens.size()
        x = tokens.reshape(batch, count * width) * self.scale + self.still
        x = functional.gelu(x[..., :]) * torch.arange(1, 7, dtype=x.dtype, device=x.device)
        return self.head(torch.cat([x[:, 3:], x[:, :3]], 1))


def test_a_network_of_ones_own_comes_back_as_it_is() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), Mixed())
    again = _through_json(model, 2, 3)
    assert isinstance(again[1], Graph)  # type: ignore[index]
    _same(model, again, torch.randn(5, 2, 3))
    _same(model, copy.deepcopy(again), torch.randn(1, 2, 3))
    with torch.no_grad():
        again[1].scale.mul_(2)  # type: ignore[index]
    assert not torch.equal(model(torch.ones(1, 2, 3)), again(torch.ones(1, 2, 3)))


class Own(nn.Linear):
    def __init__(self, how: str) -> None:
        super().__init__(3, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "data" and x.sum() > 0:
            return -x
        if self.how == "mode" and self.training:
            return 2 * x
        if self.how == "samples" and len(x) > 2:
            return 2 * x
        if self.how == "chance":
            return x + torch.rand(3)
        if self.how == "file":
            torch.save(x, "x.pt")
        if self.how == "method":
            return x.data_ptr()  # type: ignore[return-value]
        return super().forward(x) @ torch.rand_like(x).T if self.how == "random" else super().forward(x)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("data", "depends on its data"),
        ("mode", "the number of samples, the mode, or chance"),
        ("samples", "the number of samples, the mode, or chance"),
        ("chance", "the number of samples, the mode, or chance"),
        ("file", "cannot be recorded|calls save"),
        ("method", "data_ptr"),
        ("random", "calls rand_like, which is not known to be safe"),
    ],
)
def test_what_cannot_leave(how: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        describe(Own(how), (3,))


def test_hooks_and_shared_parameters_cannot_leave() -> None:
    hooked, tied = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    hooked.register_forward_hook(lambda *_: None)
    tied[1].weight = tied[0].weight
    for model, sentence in ((hooked, "hooks"), (tied, "share")):
        with pytest.raises(InputError, match=sentence):
            describe(model, (3,))


def _graph(**node: Any) -> dict[str, Any]:
    """The description of a network that applies one operation to its input."""
    plain = {
        "name": "y",
        "op": "call_function",
        "target": "torch.relu",
        "args": {"list": [{"node": "x"}]},
        "kwargs": {},
    }
    start = {"name": "x", "op": "placeholder", "target": "x", "args": {"list": []}, "kwargs": {}}
    end = {"name": "output", "op": "output", "target": "output", "args": {"list": [{"node": "y"}]}, "kwargs": {}}
    tree = [{"path": "", "parameters": [], "buffers": []}]
    return {"network": {"graph": [start, plain | node, end], "tree": tree, "constants": []}, "frozen": []}


def test_a_description_of_one_operation() -> None:
    assert torch.equal(rebuild(_graph(), {})(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize("target", ["forward", "load_state_dict", "operations.append"])
def test_an_operation_calls_no_method_of_the_network(target: str) -> None:
    network = rebuild(_graph(op="call_module", target=target), {})
    with pytest.raises(AttributeError):
        network(torch.zeros(2))


@pytest.mark.parametrize(
    "description",
    [
        _graph(target="torch.load"),
        _graph(target="os.system"),
        _graph(op="call_method", target="__reduce__"),
        _graph(op="call_method", target="numpy"),
        _graph(op="get_attr", target="__class__.__mro__"),
        _graph(target="getattr", args={"list": [{"node": "x"}, "__class__"]}),
        _graph(op="exec", target="print"),
        {"network": {"layer": "LazyLinear", "arguments": {}}, "frozen": []},
        {"network": {"layer": "Linear", "arguments": {"in_features": 10**9, "out_features": 10**9}}, "frozen": []},
        {"network": {"layer": "Linear", "arguments": {"in_features": "x", "out_features": 1}}, "frozen": []},
        {"network": {}, "frozen": []},
        {},
        [],
        None,
    ],
)
def test_what_is_no_description_is_refused(description: Any) -> None:
    with pytest.raises(InputError, match="the network's description"):
        rebuild(description, {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})


def test_the_allowlist_computes_and_nothing_else() -> None:
    reaching = ("load", "save", "file", "rand", "bernoulli", "dropout", "exec", "eval", "compile", "hub", "apply")
    for name in (*FUNCTIONS, *METHODS):
        assert not any(word in name for word in reaching), name
    assert all(layer.__module__.startswith("torch.nn.modules.") for layer in LAYERS.values())


SOURCE = """
import os
import torch
from torch import nn
from suite import Submission

class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        assert os.environ.get("SECRET") is None
        open(f"ran-{os.getpid()}", "w").close()
        self.first, self.last = nn.Linear(input_shape[0], 16), nn.Linear(16, outputs)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))

submission = Submission(name="net", architecture=Net)
"""


def test_a_sandboxed_architecture_trains_and_measures_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code runs in the guest alone, and its training gives the same weights as here."""
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    monkeypatch.setenv("SECRET", "token")
    monkeypatch.chdir(tmp_path)
    task = find_task("univariate_relu")
    sandboxed = bind(describe_submission(str(path), Limits(seconds=240), 1).submission, task)
    monkeypatch.delenv("SECRET")
    here = bind(load(str(path)).submission, task)
    results = []
    for entry in (sandboxed, here):
        ran = len(list(tmp_path.glob("ran-*")))
        run = TrainingRun(task.problem(0), 0, 0, {"lr": 0.01})
        (result,) = train(entry.task, [run], entry.make)
        results.append(result)
        assert (len(list(tmp_path.glob("ran-*"))) > ran) == (entry is here)
    assert results[0].gradient_evaluations == results[1].gradient_evaluations
    assert all(torch.equal(weight, results[1].weights[name]) for name, weight in results[0].weights.items())


def test_an_architecture_that_harms_gives_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(SOURCE.replace("assert os", "os._exit(3) #"))
    submission = describe_submission(str(path), Limits(seconds=240), 1).submission
    assert submission.architecture is not None
    with pytest.raises(InputError, match="exit status 3"):
        build_network(submission.architecture, find_task("univariate_relu"), 0)
