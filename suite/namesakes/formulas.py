"""Optimizers as their papers write them: one weight tensor, double precision, nothing for speed.

A formula is a coroutine: ``walk = adam(start, lr=0.1)``, ``next(walk)`` is the start, and ``walk.send(gradient)``
takes a step and gives the weights after it. Where a paper leaves a choice open, the docstring names what was chosen.
A weight decay is the paper's own, so that AdamW's is not multiplied by the step size.

Sources are named by arXiv number. The number of a formula's algorithm box or equation is beside it, in `formula`,
where we have read it; otherwise it says `NOT_LOOKED_UP`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

Walk = Generator[Tensor, Tensor, None]
"""Gives weights, and takes the gradient at them."""

FORMULAS: dict[str, Callable[..., Walk]] = {}
"""Every formula by name."""


NUMBERS: dict[str, str] = {}
"""By a formula's name, its number at the source and where that was read, or `NOT_LOOKED_UP`."""

NOT_LOOKED_UP = "not looked up at the source"


def formula(number: str = NOT_LOOKED_UP) -> Callable[[Callable[..., Walk]], Callable[..., Walk]]:
    """Register a formula.

    Args:
        number: of the algorithm box or equation in the paper that the docstring names, or in another that is named
            here. In brackets is where it was read, with the version if that was stated there: ``paper`` is a
            transcript of the paper's text, which need not have every sign of it.
    """

    def register(function: Callable[..., Walk]) -> Callable[..., Walk]:
        FORMULAS[function.__name__] = function
        NUMBERS[function.__name__] = number
        return function

    return register


Betas = tuple[float, float]


@formula("algorithm 1 (paper, ICLR 2019)")
def sgdw(w: Tensor, lr: float, momentum: float = 0.9, decay: float = 0.0) -> Walk:
    """SGD with momentum and decoupled decay (Loshchilov and Hutter 2019), arXiv:1711.05101."""
    m = torch.zeros_like(w)
    while True:
        g = yield w
        m = momentum * m + lr * g
        w = w - m - decay * w


@formula("algorithm 2 (paper)")
def signum(w: Tensor, lr: float, momentum: float = 0.9) -> Walk:
    """Signum, the sign of a momentum (Bernstein et al. 2018), arXiv:1802.04434."""
    m = torch.zeros_like(w)
    while True:
        g = yield w
        m = momentum * m + (1 - momentum) * g
        w = w - lr * m.sign()


@formula("equation 4 (paper)")
def qhm(w: Tensor, lr: float, momentum: float = 0.999, nu: float = 0.7) -> Walk:
    """Quasi-hyperbolic momentum (Ma and Yarats 2019), arXiv:1810.06801."""
    m = torch.zeros_like(w)
    while True:
        g = yield w
        m = momentum * m + (1 - momentum) * g
        w = w - lr * ((1 - nu) * g + nu * m)


@formula()
def aggmo(w: Tensor, lr: float, betas: Sequence[float] = (0.0, 0.9, 0.99)) -> Walk:
    """Aggregated momentum (Lucas et al. 2019), arXiv:1804.00325: velocities of several dampings."""
    velocities = [torch.zeros_like(w) for _ in betas]
    while True:
        g = yield w
        velocities = [beta * v - g for beta, v in zip(betas, velocities, strict=True)]
        w = w + lr / len(betas) * sum(velocities)


@formula("algorithm 1 (Pylearn2's documentation)")
def adadelta(w: Tensor, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6) -> Walk:
    """Adadelta (Zeiler 2012), arXiv:1212.5701; `lr` is the libraries' factor on its step."""
    gradients, steps = torch.zeros_like(w), torch.zeros_like(w)
    while True:
        g = yield w
        gradients = rho * gradients + (1 - rho) * g**2
        step = -((steps + eps).sqrt() / (gradients + eps).sqrt()) * g
        steps = rho * steps + (1 - rho) * step**2
        w = w + lr * step


@formula("algorithm 1 (paper, v9); with decay algorithm 2 of arXiv:1711.05101 (paper, ICLR 2019)")
def adam(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-8, decay: float = 0.0) -> Walk:
    """Adam (Kingma and Ba 2015), arXiv:1412.6980.

    With `decay` it is AdamW (Loshchilov and Hutter 2019), arXiv:1711.05101.
    """
    first, second = betas
    m = v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        w = w - lr * (m / (1 - first**t)) / ((v / (1 - second**t)).sqrt() + eps) - decay * w


@formula("algorithm 2 (paper, ICLR 2015)")
def adamax(w: Tensor, lr: float, betas: Betas = (0.9, 0.999)) -> Walk:
    """AdaMax (Kingma and Ba 2015), arXiv:1412.6980."""
    first, second = betas
    m = u = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m, u = first * m + (1 - first) * g, torch.maximum(second * u, g.abs())
        w = w - lr / (1 - first**t) * m / u


@formula("algorithm 2 (paper)")
def amsgrad(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 0.0) -> Walk:
    """AMSGrad (Reddi et al. 2018), arXiv:1904.09237: without any correction of the bias."""
    first, second = betas
    m = v = largest = torch.zeros_like(w)
    while True:
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        largest = torch.maximum(largest, v)
        w = w - lr * m / (largest.sqrt() + eps)


@formula("algorithm 2 (paper, v4)")
def radam(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 0.0, tractable: float = 4.0) -> Walk:
    """RAdam (Liu et al. 2020), arXiv:1908.03265.

    `tractable` is the length of the average beyond which the second moment is used: 4 in the paper, 5 in its authors'
    code (LiyuanLucasLiu/RAdam).
    """
    first, second = betas
    m = v = torch.zeros_like(w)
    longest = 2 / (1 - second) - 1
    for t in itertools.count(1):
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        length, mean = longest - 2 * t * second**t / (1 - second**t), m / (1 - first**t)
        if length > tractable:
            rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            w = w - lr * math.sqrt(rectified) * mean / ((v / (1 - second**t)).sqrt() + eps)
        else:
            w = w - lr * mean


@formula("algorithm 2 (README of its authors' code)")
def adabelief(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Walk:
    """AdaBelief (Zhuang et al. 2020), arXiv:2010.07468: `eps` is added to the square as well."""
    first, second = betas
    m = s = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m = first * m + (1 - first) * g
        s = second * s + (1 - second) * (g - m) ** 2 + eps
        w = w - lr * (m / (1 - first**t)) / ((s / (1 - second**t)).sqrt() + eps)


@formula()
def diffgrad(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Walk:
    """diffGrad (Dubey et al. 2020), arXiv:1909.11015: Adam times the sigmoid of the gradient's last change."""
    first, second = betas
    m = v = last = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        friction, last = torch.sigmoid((last - g).abs()), g
        w = w - lr * friction * (m / (1 - first**t)) / ((v / (1 - second**t)).sqrt() + eps)


@formula()
def laprop(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-15) -> Walk:
    """LaProp (Ziyin et al. 2020), arXiv:2002.04839: normalized first, averaged then."""
    first, second = betas
    m = v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        v = second * v + (1 - second) * g**2
        m = first * m + (1 - first) * g / ((v / (1 - second**t)).sqrt() + eps)
        w = w - lr * m / (1 - first**t)


@formula()
def qhadam(
    w: Tensor, lr: float, betas: Betas = (0.995, 0.999), nus: tuple[float, float] = (0.7, 1.0), eps: float = 1e-8
) -> Walk:
    """QHAdam (Ma and Yarats 2019), arXiv:1810.06801: both moments of Adam quasi-hyperbolic."""
    first, second = betas
    m = v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        top = (1 - nus[0]) * g + nus[0] * m / (1 - first**t)
        bottom = (1 - nus[1]) * g**2 + nus[1] * v / (1 - second**t)
        w = w - lr * top / (bottom.sqrt() + eps)


@formula("algorithm 1 (paper)")
def ademamix(
    w: Tensor,
    lr: float,
    betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
    alpha: float = 5.0,
    eps: float = 1e-8,
    decay: float = 0.0,
) -> Walk:
    """AdEMAMix (Pagliardini et al. 2024), arXiv:2409.03137, without its schedulers.

    `decay` is multiplied by the step size, as there.
    """
    first, second, third = betas
    fast = slow = v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        fast, slow = first * fast + (1 - first) * g, third * slow + (1 - third) * g
        v = second * v + (1 - second) * g**2
        direction = (fast / (1 - first**t) + alpha * slow) / ((v / (1 - second**t)).sqrt() + eps)
        w = w - lr * (direction + decay * w)


@formula("algorithm 1 (README of its authors' code)")
def adan(
    w: Tensor,
    lr: float,
    betas: tuple[float, float, float] = (0.02, 0.08, 0.01),
    eps: float = 1e-8,
    decay: float = 0.0,
) -> Walk:
    """Adan (Xie et al. 2022), arXiv:2208.06677, with the correction of the bias of its authors' code.

    That code is sail-sg/Adan; the box has no correction. The betas are the paper's: one minus the libraries'.
    """
    first, second, third = betas
    m = v = n = torch.zeros_like(w)
    last: Tensor | None = None
    for t in itertools.count(1):
        g = yield w
        change = torch.zeros_like(w) if last is None else g - last
        m, v = (1 - first) * m + first * g, (1 - second) * v + second * change
        n, last = (1 - third) * n + third * (g + (1 - second) * change) ** 2, g
        first_, second_, third_ = (1 - (1 - beta) ** t for beta in betas)
        step = lr / ((n / third_).sqrt() + eps)
        w = (w - step * (m / first_ + (1 - second) * v / second_)) / (1 + decay * lr)


@formula()
def adopt(w: Tensor, lr: float, betas: Betas = (0.9, 0.9999), eps: float = 1e-6, clipped: bool = True) -> Walk:
    """ADOPT (Taniguchi et al. 2024), arXiv:2411.02853, with its clipping or without.

    The first gradient only starts the second moment. The bound on the normalized gradient is t ** 0.25, and t counts
    the steps that move, from 1.
    """
    first, second = betas
    m = torch.zeros_like(w)
    v = (yield w) ** 2
    for t in itertools.count(1):
        g = yield w
        normalized = g / v.sqrt().clamp_min(eps)
        m = first * m + (1 - first) * (normalized.clamp(-(t**0.25), t**0.25) if clipped else normalized)
        v, w = second * v + (1 - second) * g**2, w - lr * m


@formula("algorithm 2 (paper, v4)")
def mars(
    w: Tensor,
    lr: float,
    betas: Betas = (0.95, 0.99),
    gamma: float = 0.025,
    eps: float = 1e-8,
    decay: float = 0.0,
) -> Walk:
    """MARS-AdamW in its approximate form (Yuan et al. 2024), arXiv:2411.10438.

    The last gradient is that of the last batch at the last weights, and zero before the first step, as in its authors'
    code (AGI-Arena/MARS). `decay` is multiplied by the step size, as there.
    """
    first, second = betas
    m = v = last = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        c, last = g + gamma * first / (1 - first) * (g - last), g
        c = c / c.norm().clamp_min(1.0)
        m, v = first * m + (1 - first) * c, second * v + (1 - second) * c**2
        w = w - lr * (m / (1 - first**t) / ((v / (1 - second**t)).sqrt() + eps) + decay * w)


@formula("algorithm 2 (README of its authors' code)")
def lion(w: Tensor, lr: float, betas: Betas = (0.9, 0.99), decay: float = 0.0) -> Walk:
    """Lion (Chen et al. 2023), arXiv:2302.06675; `decay` is multiplied by the step size, as there."""
    first, second = betas
    m = torch.zeros_like(w)
    while True:
        g = yield w
        w = w - lr * ((first * m + (1 - first) * g).sign() + decay * w)
        m = second * m + (1 - second) * g


@formula("algorithm 1 (paper)")
def lars(w: Tensor, lr: float, momentum: float = 0.9, trust: float = 1e-3, decay: float = 0.0) -> Walk:
    """LARS (You et al. 2017), arXiv:1708.03888."""
    velocity = torch.zeros_like(w)
    while True:
        g = yield w
        local = trust * w.norm() / (g.norm() + decay * w.norm())
        velocity = momentum * velocity + lr * local * (g + decay * w)
        w = w - velocity


@formula("algorithm 2 (picture of v3, without correction of the bias, in the README of ymcui/LAMB_Optimizer_TF)")
def lamb(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-6, decay: float = 0.0) -> Walk:
    """LAMB (You et al. 2020), arXiv:1904.00962, where the weights' norm is taken as it is."""
    first, second = betas
    m = v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield w
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        r = (m / (1 - first**t)) / ((v / (1 - second**t)).sqrt() + eps) + decay * w
        w = w - lr * w.norm() / r.norm() * r


@formula()
def fromage(w: Tensor, lr: float) -> Walk:
    """Fromage (Bernstein et al. 2020), arXiv:2002.03432."""
    while True:
        g = yield w
        w = (w - lr * g * w.norm() / g.norm()) / math.sqrt(1 + lr**2)


@formula()
def novograd(w: Tensor, lr: float, betas: Betas = (0.95, 0.98), eps: float = 1e-8, decay: float = 0.0) -> Walk:
    """NovoGrad (Ginsburg et al. 2019), arXiv:1905.11286: one second moment for the whole tensor.

    Both moments start at the first gradient's values.
    """
    first, second = betas
    g = yield w
    v = (g**2).sum()
    m = g / (v.sqrt() + eps) + decay * w
    while True:
        w = w - lr * m
        g = yield w
        v = second * v + (1 - second) * (g**2).sum()
        m = first * m + g / (v.sqrt() + eps) + decay * w


@formula()
def madgrad(w: Tensor, lr: float, momentum: float = 0.9, eps: float = 1e-6) -> Walk:
    """MADGRAD (Defazio and Jelassi 2021), arXiv:2101.11075; 1 - `momentum` is its c."""
    start, s, v = w, torch.zeros_like(w), torch.zeros_like(w)
    for k in itertools.count():
        g = yield w
        weight = lr * math.sqrt(k + 1)
        s, v = s + weight * g, v + weight * g**2
        z = start - s / (v ** (1 / 3) + eps)
        w = momentum * w + (1 - momentum) * z


@formula()
def sm3(w: Tensor, lr: float) -> Walk:
    """SM3-II without momentum (Anil et al. 2019), arXiv:1901.11150; the sets are the slices of every axis."""
    axes = [torch.zeros(size, dtype=w.dtype) for size in w.shape]
    while True:
        g = yield w
        spread = [mu.reshape([-1 if i == axis else 1 for i in range(w.dim())]) for axis, mu in enumerate(axes)]
        nu = torch.stack([mu.expand_as(w) for mu in spread]).amin(0) + g**2
        axes = [nu.movedim(axis, 0).flatten(1).amax(1) if w.dim() > 1 else nu for axis in range(w.dim())]
        w = w - lr * torch.where(nu > 0, g / nu.sqrt(), torch.zeros_like(g))


@formula()
def adafactor(w: Tensor, lr: float, clip: float = 1.0, eps: tuple[float, float] = (1e-30, 1e-3)) -> Walk:
    """Adafactor (Shazeer and Stern 2018), arXiv:1804.04235, of matrices and of vectors.

    With the numbers that the paper proposes: the second moment's beta is 1 - t ** -0.8, no momentum, and `lr` times
    the root mean square of the weights, or `eps[1]` if that is larger. Tensors with more axes are factored in their
    last two.
    """
    rows = columns = v = torch.zeros(())
    for t in itertools.count(1):
        g = yield w
        beta, square = 1 - t**-0.8, g**2 + eps[0]
        if w.dim() > 1:
            rows = beta * rows + (1 - beta) * square.mean(-1, keepdim=True)
            columns = beta * columns + (1 - beta) * square.mean(-2, keepdim=True)
            v = rows * columns / rows.mean(-2, keepdim=True)
        else:
            v = beta * v + (1 - beta) * square
        u = g / v.sqrt()
        u = u / (u.square().mean().sqrt() / clip).clamp_min(1.0)
        w = w - lr * w.square().mean().sqrt().clamp_min(eps[1]) * u


@formula("algorithm 2, for matrices 1 (paper)")
def shampoo(w: Tensor, lr: float, eps: float = 1e-4) -> Walk:
    """Shampoo (Gupta et al. 2018), arXiv:1802.09568, of tensors."""
    statistics = [eps * torch.eye(size, dtype=w.dtype) for size in w.shape]
    while True:
        g = step = yield w
        for axis, size in enumerate(w.shape):
            unfolded = g.movedim(axis, 0).reshape(size, -1)
            statistics[axis] = statistics[axis] + unfolded @ unfolded.T
            values, vectors = torch.linalg.eigh(statistics[axis])
            root = vectors * values ** (-1 / (2 * w.dim())) @ vectors.T
            step = torch.tensordot(root, step.movedim(axis, 0), 1).movedim(0, axis)
        w = w - lr * step


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@formula("equation 1 of arXiv:2502.16982 (report in its authors' repository)")
def muon(w: Tensor, lr: float, momentum: float = 0.95, steps: int = 5, decay: float = 0.0) -> Walk:
    """Muon (Jordan et al. 2024), https://kellerjordan.github.io/posts/muon/; arXiv:2502.16982 has its step.

    With Nesterov's momentum, five Newton-Schulz steps, and updates times sqrt(max(1, rows / columns)), as in its
    authors' code (KellerJordan/Muon), in double precision. Tensors with more axes are matrices [first, the rest];
    `decay` is multiplied by the step size.
    """
    a, b, c = NEWTON_SCHULZ
    buffer = torch.zeros_like(w)
    while True:
        g = yield w
        buffer = momentum * buffer + (1 - momentum) * g
        x = ((1 - momentum) * g + momentum * buffer).flatten(1)
        factor, tall = max(1, x.shape[0] / x.shape[1]) ** 0.5, x.shape[0] > x.shape[1]
        x = (x.T if tall else x) / (x.norm() + 1e-7)
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        w = w - lr * decay * w - lr * factor * (x.T if tall else x).reshape(w.shape)


@formula("algorithm 1 (paper, v4)")
def schedule_free(w: Tensor, lr: float, betas: Betas = (0.9, 0.999), eps: float = 1e-8, decay: float = 0.0) -> Walk:
    """Schedule-free AdamW (Defazio et al. 2024), arXiv:2405.15682, without warm-up; gives y.

    `decay` is multiplied by the step size and by y, as there.
    """
    first, second = betas
    x = z = y = w
    v = torch.zeros_like(w)
    for t in itertools.count(1):
        g = yield y
        v = second * v + (1 - second) * g**2
        z = z - lr * g / ((v / (1 - second**t)).sqrt() + eps) - lr * decay * y
        x = (1 - 1 / t) * x + z / t
        y = (1 - first) * z + first * x


@formula()
def prodigy(w: Tensor, lr: float = 1.0, betas: Betas = (0.9, 0.999), eps: float = 1e-8, distance: float = 1e-6) -> Walk:
    """Prodigy over Adam (Mishchenko and Defazio 2023), arXiv:2306.06101; `distance` is its d_0."""
    first, second = betas
    start, d, root = w, torch.tensor(distance, dtype=w.dtype), math.sqrt(second)
    m = v = s = torch.zeros_like(w)
    r = torch.zeros((), dtype=w.dtype)
    while True:
        g = yield w
        m, v = first * m + (1 - first) * d * g, second * v + (1 - second) * (d * g) ** 2
        r = root * r + (1 - root) * lr * d**2 * (g * (start - w)).sum()
        s = root * s + (1 - root) * lr * d**2 * g
        w = w - lr * d * m / (v.sqrt() + d * eps)
        d = torch.maximum(d, r / s.abs().sum())
