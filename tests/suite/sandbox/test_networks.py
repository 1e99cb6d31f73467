"""Networks that leave the sandbox as data: the same network comes back, of nothing but what the allowlist allows."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.entries.entry import bind, build_network
from suite.entries.loading import builtin_files, load
from suite.errors import InputError, ShapeError
from suite.sandbox.allowlist import FUNCTIONS, LAYERS
from suite.sandbox.answers import decode, encode
from suite.sandbox.export import describe
from suite.sandbox.host import describe as describe_submission
from suite.sandbox.limits import Limits
from suite.sandbox.network import FunctionNode, Graph, Holder, Layer, Network, Special, Value
from suite.sandbox.rebuild import Graph as GraphModule
from suite.sandbox.rebuild import rebuild
from suite.tasks import find_task
from suite.training import TrainingRun, train

OF_TOKENS = ("gru", "transformer_small")
ARCHITECTURES = [
    name for name in builtin_files() if load(name).submission.kind == "architecture" and name not in OF_TOKENS
]


def _as_answer(model: nn.Module, *input_shape: int) -> nn.Module:
    network, tensors = decode(encode(*describe(model, input_shape)), Network)
    assert isinstance(network, Network)
    return rebuild(network, tensors, input_shape)


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
    again = _as_answer(model, *interface.input_shape)
    _same(model.double(), again.double(), torch.randn(5, *interface.input_shape, dtype=torch.float64))


def test_a_transformer_of_tokens_comes_back_as_it_is() -> None:
    architecture = load("transformer_small").submission.architecture
    assert architecture is not None
    torch.manual_seed(0)
    model = architecture(20, 12)
    network, tensors = decode(encode(*describe(model, (12,), 20)), Network)
    assert isinstance(network, Network)
    again = rebuild(network, tensors, (12,), 20)
    _same(model.double(), again.double(), torch.randint(20, (5, 12)))


def test_a_recurrent_network_cannot_leave() -> None:
    architecture = load("gru").submission.architecture
    assert architecture is not None
    with pytest.raises(InputError, match="calls gru, which is not known"):
        describe(architecture(20, 12), (12,), 20)


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
    again = _as_answer(model, 2, 3)
    assert isinstance(again[1], GraphModule)  # type: ignore[index]
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


class Tokens(nn.Module):
    """Layers of torch with attention; `layers` is one, or several in a row."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.head = layers, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x.reshape(x.shape[0], -1, 8)).mean(1))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"batch_first": True, "norm_first": True, "activation": "gelu", "bias": False, "layer_norm_eps": 1e-3},
        {"batch_first": True, "dropout": 0.0, "activation": functional.gelu},
    ],
)
def test_transformers_of_torch_come_back_as_they_are(options: dict[str, Any]) -> None:
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(8, 2, 16, **options)
    for layers in (layer, nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)):
        model = Tokens(layers)
        again, x = _as_answer(model, 24), torch.randn(5, 24)
        assert list(model.state_dict()) == list(again.state_dict())
        for training in (True, False):
            outputs = []
            for network in (model, again):
                torch.manual_seed(3)  # of dropout
                outputs.append(network.train(training)(x))
            assert torch.equal(*outputs)
    with pytest.raises(InputError, match="must be 'relu' or 'gelu'"):
        describe(nn.TransformerEncoderLayer(8, 2, activation=torch.tanh), (4, 8))


class InPlace(nn.Module):
    """Changes values in place: so that it matters (`aliased`), or not."""

    def __init__(self, aliased: bool) -> None:
        super().__init__()
        self.aliased, self.act, self.last = aliased, nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y
        z += 1
        z = functional.elu(self.act(z.mul_(-1)), 1.0, True)
        return self.last(y if self.aliased else z)


def test_what_is_changed_in_place_leaves_only_where_that_is_the_same() -> None:
    """The input of the rebuilt network, which is the host's data, stays as it is."""
    model, x = InPlace(aliased=False), torch.randn(5, 4)
    again, before = _as_answer(nn.Sequential(nn.ReLU(inplace=True), model), 4), x.clone()
    assert torch.equal(again(x), model(functional.relu(x)))
    assert torch.equal(x, before)
    with pytest.raises(InputError, match="gives other outputs"):
        describe(InPlace(aliased=True), (4,))


ROOT = Holder((), ())


def _network(*nodes: Any, **fields: Any) -> Network:
    """A graph that computes `nodes` and returns the last value."""
    return Network(msgspec.structs.replace(Graph(ROOT, (), (), nodes, len(nodes)), **fields), ())


def _call(function: str, *args: Any, **kwargs: Any) -> FunctionNode:
    return FunctionNode(function, args or (Value(0),), kwargs)


def _rebuild(network: Network, **tensors: Tensor) -> nn.Module:
    """`network` as the host receives it, for inputs of size 2."""
    answer, received = decode(encode(network, tensors), Network)
    assert isinstance(answer, Network)
    return rebuild(answer, received, (2,))


def test_a_network_of_one_operation() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    assert torch.equal(_rebuild(_network(_call("torch.relu")))(x), functional.relu(x))
    scaled = _network({"type": "tensor", "name": "c"}, _call("operator.mul", Value(0), Value(1)), constants=("c",))
    assert torch.equal(_rebuild(scaled, c=torch.tensor(3.0))(x), 3 * x)


LINEAR = Layer("Linear", {"in_features": 2, "out_features": 2})


def _apply(path: str, *args: Any) -> dict[str, Any]:
    return {"type": "apply", "path": path, "args": list(args) or [{"type": "value", "number": 0}], "kwargs": {}}


HOSTILE = {
    "a function that is not in the table": _network(_call("torch.load", "x.pt")),
    "a function of another module": _network(_call("os.system", "same")),
    "a function by a path of attributes": _network(_call("torch.relu.__self__")),
    "a method that is not in the table": _network(_call("tensor.numpy")),
    "an attribute that is not in the table": _network(_call("attribute.__class__")),
    "getattr": _network(_call("getattr", Value(0), "same")),
    "a method on what is no tensor": _network(_call("attribute.shape"), _call("tensor.view", Value(1), 2)),
    "an entry of what has none": _network(_call("attribute.dtype"), _call("operator.getitem", Value(1), 0)),
    "a path into a layer": _network(_apply("a.forward.__globals__"), parts=(("a", LINEAR),)),
    "a method of a layer": _network(_apply("a.load_state_dict"), parts=(("a", LINEAR),)),
    "the graph itself": _network(_apply("forward")),
    "a tensor of another name": _network({"type": "tensor", "name": "forward"}),
    "a tensor by a path of attributes": _network({"type": "tensor", "name": "operations.x"}),
    "a part that replaces a method": _network(_call("torch.relu"), parts=(("forward", ROOT),)),
    "a part that replaces a field": _network(_call("torch.relu"), parts=(("operations", ROOT),)),
    "a part with two lines": _network(_call("torch.relu"), parts=(("a\n", ROOT),)),
    "a dunder as a part": _network(_call("torch.relu"), parts=(("__deepcopy__", ROOT),)),
    "a dunder as a constant": _network(_call("torch.relu"), constants=("__class__",)),
    "a part in a layer": _network(_call("torch.relu"), parts=(("a", LINEAR), ("a.weight", ROOT))),
    "a text": _network(_call("tensor.to", Value(0), "cuda:0")),
    "a dtype that is none": _network(_call("tensor.to", Value(0), Special("load"))),
    "a named argument that writes": _network(_call("torch.add", Value(0), Value(0), out=Value(0))),
    "an argument by place that writes": _network(_call("functional.relu", Value(0), True)),
    "another that writes": _network(_call("functional.normalize", Value(0), 2.0, 1, 1e-12, Value(0))),
    "an argument that draws": _network(_call("functional.scaled_dot_product_attention", *3 * [Value(0)], None, 0.5)),
    "a value that comes later": _network(_call("torch.relu", Value(1)), _call("torch.relu")),
    "an output that is not computed": _network(_call("torch.relu"), output=7),
    "an output that is no tensor": _network(_call("attribute.shape")),
    "an equation that is none": _network(_call("torch.einsum", "__import__('os')", Value(0))),
    "a huge tensor": _network(_call("torch.ones", 10**6, 10**6)),
    "a huge copy": _network(_call("tensor.repeat", Value(0), 10**9, 1)),
    "a huge number": _network(_call("operator.pow", 10, 10**9)),
    "a number that grows": _network(*(_call("operator.mul", 10**15, Value(n) if n else 10**9) for n in range(9))),
    "a text that grows": _network(_call("operator.mul", "same", 10**9)),
    "many parts": _network(_call("tensor.expand", Value(0), 10**6, 2, 2), _call("torch.unbind", Value(1))),
    "a long computation": _network(*(_apply("a", {"type": "value", "number": n}) for n in range(2)), parts=(("a", Layer(
        "Conv1d", {"in_channels": 2, "out_channels": 2, "kernel_size": 1, "padding": 10**7})),)),
    "a layer that is not in the table": Network(Layer("LazyLinear", {"out_features": 3}), ()),
    "a network of very many layers": Network(Layer("Diagonal", {"features": 2, "outputs": 2, "depth": 10**9}), ()),
    "a layer of another module": Network(Layer("Module", {}), ()),
    "an argument that the layer lacks": Network(Layer("Linear", {"in_features": 2, "out_features": 2, "x": 1}), ()),
    "a private argument": Network(Layer("Embedding", {"num_embeddings": 2, "embedding_dim": 2, "_weight": 1}), ()),
    "a layer in place": Network(Layer("ReLU", {"inplace": True}), ()),
    "a layer with a huge weight": Network(Layer("Linear", {"in_features": 10**9, "out_features": 10**9}), ()),
    "a layer with a text for a number": Network(Layer("Linear", {"in_features": "same", "out_features": 2}), ()),
    "a tensor too few": Network(LINEAR, ()),
    "a frozen parameter that is none": Network(Layer("ReLU", {}), ("forward",)),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_in_the_vocabulary_is_refused(what: str) -> None:
    with pytest.raises((InputError, ValueError)) as raised:
        _rebuild(HOSTILE[what])
    assert "\n" not in str(raised.value)


def test_tensors_are_those_of_the_network() -> None:
    weights = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}
    _rebuild(Network(LINEAR, ("bias",)), **weights)
    for wrong in ({"bias": torch.zeros(3)}, {"more": torch.zeros(1)}):
        with pytest.raises(InputError):
            _rebuild(Network(LINEAR, ()), **(weights | wrong))


def test_the_vocabulary_computes_and_nothing_else() -> None:
    reaching = ("load", "save", "file", "rand", "bernoulli", "dropout", "exec", "eval", "compile", "hub", "apply")
    for name, function in FUNCTIONS.items():
        assert not any(word in name for word in reaching), name
        assert not name.endswith("_") or name == "operator.and_" or name == "operator.or_"
        if isinstance(function, functools.partial):
            continue  # what it would write through is fixed
        with contextlib.suppress(ValueError):  # a function of C takes `out` by name alone
            assert not {"out", "inplace", "generator"} & set(inspect.signature(function).parameters), name
    modules = ("torch.nn.modules.", "suite.models.linear_networks")
    assert all(layer.__module__.startswith(modules) for layer in LAYERS.values())


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


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("self.first = nn.Conv2d(1, 16, 3)", ShapeError),
        ("self.first = nn.Linear(input_shape, 16)", InputError),
    ],
)
def test_whether_shapes_may_be_the_reason_leaves_the_sandbox(
    line: str, error: type[InputError], tmp_path: Path
) -> None:
    """Of what the constructor raises, and of what its layers raise on inputs."""
    path = tmp_path / "net.py"
    path.write_text(SOURCE.replace("    def forward", f"        {line}\n\n    def forward"))
    architecture = describe_submission(str(path), Limits(seconds=240), 1).submission.architecture
    assert architecture is not None
    with pytest.raises(InputError) as raised:
        build_network(architecture, find_task("univariate_relu"), 0)
    assert type(raised.value) is error
