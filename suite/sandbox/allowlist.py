"""What a network that leaves the sandbox may be made of: layers, functions and methods that only compute.

None of them reads or writes files, runs code, draws random numbers or reaches outside of its arguments.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _members(module: Any, names: str) -> dict[str, Any]:
    """The members of `module` with these names; releases of torch lack some."""
    return {name: getattr(module, name) for name in names.split() if hasattr(module, name)}


LAYERS: dict[str, type[nn.Module]] = _members(
    nn,
    """
    Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
    BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d LayerNorm GroupNorm RMSNorm LocalResponseNorm
    MultiheadAttention Embedding
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d
    ZeroPad1d ZeroPad2d ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d
    ConstantPad1d ConstantPad2d CircularPad1d CircularPad2d Upsample PixelShuffle PixelUnshuffle
    Identity Flatten Unflatten
    ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU GELU SiLU Mish Tanh Sigmoid Softplus Softsign Softmax LogSoftmax
    Hardtanh Hardswish Hardsigmoid GLU
    Dropout Dropout1d Dropout2d
    """,
)

_TENSOR = """
    abs add addmm amax amin argmax atan2 baddbmm bmm ceil clamp clone cos cosh cumsum diagonal div erf exp expm1
    flatten flip floor gather index_select lerp log log1p log_softmax logsumexp matmul max maximum mean min minimum
    mm movedim mul mv narrow neg norm permute pow prod reciprocal relu reshape roll round rsqrt select sigmoid sign
    sin sinh softmax split chunk sqrt square squeeze std sub sum swapaxes tan tanh tile transpose tril triu unbind
    unflatten unsqueeze var where
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

_OPERATORS = """
    abs add and_ eq floordiv ge getitem gt iadd imul invert isub itruediv le lt matmul mod mul ne neg or_ pos pow sub
    truediv
    """

FUNCTIONS = {
    f"{prefix}.{name}": function
    for prefix, module, names in (
        ("torch", torch, _TENSOR + _TORCH),
        ("functional", functional, _FUNCTIONAL),
        ("operator", operator, _OPERATORS),
        ("fft", torch.fft, "fft fft2 ifft ifft2 irfft irfft2 rfft rfft2"),
        ("linalg", torch.linalg, "matrix_norm norm vector_norm"),
    )
    for name, function in _members(module, names).items()
}

_METHODS = """
    contiguous dim div_ double expand expand_as float mul_ add_ sub_ masked_fill new_ones new_zeros numel relu_ repeat
    size t to type_as view view_as
    """

METHODS = frozenset((_TENSOR + _METHODS).split())

ATTRIBUTES = frozenset({"shape", "ndim", "T", "mT", "dtype", "device", "real", "imag"})
