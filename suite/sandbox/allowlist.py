"""The vocabulary of a network that leaves the sandbox: layers, functions, types and words that only compute.

None of them reads or writes files, runs code, reaches outside of its arguments, or changes an argument; chance is in
dropout layers only. What is not here cannot be said (see `suite.sandbox.network`).
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.models.linear_networks import NETWORKS

LARGEST_NUMBER = 2**53
"""The largest whole number that a graph may compute."""

MOST_LAYERS = 64
"""The most layers of a linear network."""

MOST_PARTS = 4096
"""The most tensors that a function may split its argument into."""

Function = Callable[..., Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _members(module: Any, names: str) -> dict[str, Any]:
    """The members of `module` with these names; releases of torch lack some."""
    return {name: getattr(module, name) for name in names.split() if hasattr(module, name)}


LAYERS: dict[str, type[nn.Module]] = _members(
    nn,
    """
    Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
    BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d LayerNorm GroupNorm RMSNorm LocalResponseNorm
    MultiheadAttention TransformerEncoderLayer Embedding
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d
    ZeroPad1d ZeroPad2d ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d
    ConstantPad1d ConstantPad2d CircularPad1d CircularPad2d Upsample PixelShuffle PixelUnshuffle
    Identity Flatten Unflatten
    ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU GELU SiLU Mish Tanh Sigmoid Softplus Softsign Softmax LogSoftmax
    Hardtanh Hardswish Hardsigmoid GLU
    Dropout Dropout1d Dropout2d
    """,
) | {network.__name__: network for network in NETWORKS.values()}
"""Layers of torch by name, and the linear networks of the suite: a task measures weights whose kind it knows."""

_TENSOR = """
    abs add addmm amax amin argmax atan2 baddbmm bmm ceil clamp clone cos cosh cumsum diagonal div erf exp expm1
    flatten flip floor gather index_select lerp log log1p log_softmax logsumexp masked_fill matmul max maximum mean min
    minimum mm movedim mul mv narrow neg norm permute pow prod reciprocal relu reshape roll round rsqrt select sigmoid
    sign sin sinh softmax split chunk sqrt square squeeze std sub sum swapaxes tan tanh tile transpose tril triu unbind
    unflatten unsqueeze var where
    """

_METHODS = """
    contiguous dim double expand expand_as float new_ones new_zeros numel repeat size t to type_as view view_as
    """

_TORCH = """
    arange block_diag cat concat einsum eye full full_like hstack linspace meshgrid ones ones_like outer rms_norm stack
    tensordot vstack zeros zeros_like
    """

_FUNCTIONAL = """
    adaptive_avg_pool1d adaptive_avg_pool2d avg_pool1d avg_pool2d conv1d conv2d conv3d elu gelu glu group_norm hardtanh
    interpolate layer_norm leaky_relu linear log_softmax max_pool1d max_pool2d mish normalize one_hot pad pixel_shuffle
    relu relu6 scaled_dot_product_attention selu sigmoid silu softmax softplus tanh unfold
    """

_OPERATORS = "abs add and_ eq floordiv ge gt invert le lt matmul mod mul ne neg or_ pow sub truediv"


def _of_tensor(function: Function) -> Function:
    """`function` for tensors alone: a method of `Tensor`, or an attribute."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Tensor):
            raise TypeError(f"a tensor is needed, not a {type(x).__name__}")
        return function(x, *args, **kwargs)

    return call


def _in_parts(function: Function) -> Function:
    """`function`, which splits a tensor, for tensors that cannot fall into too many parts."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Tensor) or max(x.shape, default=0) > MOST_PARTS:
            raise ValueError(f"only a tensor with sizes of at most {MOST_PARTS} is split")
        return function(x, *args, **kwargs)

    return call


def _of_numbers(function: Function) -> Function:
    """An operator for tensors and numbers; numbers alone stay small, so that none can fill the memory."""

    def call(*args: Any) -> Any:
        if not all(isinstance(value, Tensor | int | float) for value in args):
            raise TypeError("an operator is for tensors and numbers")
        if any(isinstance(value, Tensor) for value in args):
            return function(*args)
        if function is operator.pow and not abs(args[1]) <= 64:
            raise ValueError("the exponent is too large")
        result = function(*args)
        if isinstance(result, complex) or (isinstance(result, int) and abs(result) > LARGEST_NUMBER):
            raise ValueError("a number is too large")
        return result

    return call


def _item(x: Any, index: Any) -> Any:
    """An entry of a tensor, of a shape, or of the tensors that a function returned."""
    if not isinstance(x, Tensor | tuple | list):
        raise TypeError(f"a {type(x).__name__} has no entries")
    return x[index]


_SPLITS = frozenset({"split", "chunk", "unbind"})

FIXED = {"out": None, "inplace": False, "dropout_p": 0.0}
"""Arguments through which a function would write or draw: they have these values, whatever the graph says."""


def writes(function: Function) -> list[str]:
    """The names of the `FIXED` arguments that can be given by place; torch's own C functions take them by name only."""
    if function is functional.scaled_dot_product_attention:
        return ["dropout_p"]
    try:
        return [name for name in inspect.signature(function).parameters if name in FIXED]
    except ValueError:
        return []


def _fixed(function: Function) -> Function:
    """`function` without its arguments that write or draw: to give one is a `TypeError`."""
    names = writes(function)
    return functools.partial(function, **{name: FIXED[name] for name in names}) if names else function


def _members_by_key() -> dict[str, tuple[Function, Callable[[Function], Function]]]:
    """By key: a function of torch or of Python, and what guards it."""
    table: dict[str, tuple[Function, Callable[[Function], Function]]] = {}
    for prefix, module, names, guard in (
        ("torch", torch, _TENSOR + _TORCH, _fixed),
        ("tensor", Tensor, _TENSOR + _METHODS, _of_tensor),
        ("functional", functional, _FUNCTIONAL, _fixed),
        ("fft", torch.fft, "fft fft2 ifft ifft2 irfft irfft2 rfft rfft2", _fixed),
        ("linalg", torch.linalg, "matrix_norm norm vector_norm", _fixed),
        ("operator", operator, _OPERATORS, _of_numbers),
    ):
        for name, function in _members(module, names).items():
            table[f"{prefix}.{name}"] = (function, _in_parts if name in _SPLITS else guard)
    return table


ATTRIBUTES = ("shape", "ndim", "T", "mT", "dtype", "device", "real", "imag")

_BY_KEY = _members_by_key()

FUNCTIONS: dict[str, Function] = {
    **{key: guard(function) for key, (function, guard) in _BY_KEY.items()},
    **{f"attribute.{name}": _of_tensor(operator.attrgetter(name)) for name in ATTRIBUTES},
    "operator.getitem": _item,
}
"""What a graph may call, by key: `torch.relu`, `tensor.view`, `operator.add`, `attribute.shape`, ..."""

IN_PLACE = {
    operator.iadd: "operator.add",
    operator.isub: "operator.sub",
    operator.imul: "operator.mul",
    operator.itruediv: "operator.truediv",
    "add_": "tensor.add",
    "sub_": "tensor.sub",
    "mul_": "tensor.mul",
    "div_": "tensor.div",
    "relu_": "tensor.relu",
}
"""Functions and methods that change their argument, with the key of the function in whose place they leave."""

KEYS: dict[Any, str] = {function: key for key, (function, _) in _BY_KEY.items()} | {
    operator.getitem: "operator.getitem"
}
"""The key of each function that a network may call."""

DTYPES = {
    name: getattr(torch, name)
    for name in _words("float64 float32 float16 bfloat16 complex64 complex128 int64 int32 int16 int8 uint8 bool")
}

WORDS = _words(
    """
    area backward bicubic bilinear border circular constant floor forward fro gelu ij linear mean nearest nearest-exact
    none nuc ortho reflect reflection relu replicate same sum tanh trilinear trunc valid xy zeros
    """
)
"""The texts that may be arguments, besides the equations of `einsum`."""

EQUATION = re.compile(r"[A-Za-z, .]{1,100}(->[A-Za-z .]{0,100})?")
"""The first argument of `einsum`."""

KEYWORDS = _words(
    """
    align_corners alpha antialias approximate attn_mask axis beta bias ceil_mode chunks correction count_include_pad
    decimals device diagonal dilation dim dim0 dim1 dims divisor_override dtype enable_gqa end end_dim eps exponent
    fill_value groups index indexing input is_causal keepdim kernel_size key length mask max min mode n need_weights
    negative_slope norm normalized_shape num_classes num_groups offset ord other output_size p pad padding query
    recompute_scale_factor repeats rounding_mode s scale scale_factor shape shifts size sizes source split_size
    split_size_or_sections start start_dim steps stride tensors threshold unbiased upscale_factor value weight
    average_attn_weights src
    """
)
"""The names of named arguments: none of them writes anywhere (as `out` and `inplace` do)."""
