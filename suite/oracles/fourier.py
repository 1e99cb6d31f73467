"""Predictors that are sparse in frequency: the l1 norm of the unitary discrete Fourier transform.

Convolutional networks of depth 2 and full width prefer them (Gunasekar et al. 2018, arXiv:1806.00468). Transforms are
complex, so these are second-order cone programs. By duality the largest modulus of a transformed combination of the
samples bounds the optimum: the bound certifies each solution, whatever status the interior-point method returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suite.oracles.solvers import Array, certified_margin, certify, conic_program


def fourier_l1_norm(w: Array) -> float:
    """Sum of the moduli of the unitary discrete Fourier transform of w [d]."""
    return float(abs(np.fft.fft(w, norm="ortho")).sum())


def _fourier_linf_norm(w: Array) -> float:
    """The largest modulus of the unitary discrete Fourier transform of w [d]: the dual norm."""
    return float(abs(np.fft.fft(w, norm="ortho")).max())


def _variable(d: int) -> tuple[Any, Any]:
    """A cvxpy variable [d] and its `fourier_l1_norm`."""
    import cvxpy as cp

    # Conjugate frequencies have equal moduli: one of each pair is enough, and twice the cones would be degenerate.
    w, transform = cp.Variable(d), np.fft.rfft(np.eye(d), norm="ortho", axis=0)
    pairs = np.where((np.arange(d // 2 + 1) * 2) % d == 0, 1.0, 2.0)
    return w, pairs @ cp.norm(cp.vstack([transform.real @ w, transform.imag @ w]), axis=0)


def max_margin_fourier_l1(z: Array) -> Array:
    """argmax of min_i z_i·w over Fourier l1 norm <= 1, for signed samples y_i x_i in z [n, d]."""
    return certified_margin("Fourier l1 margin", z, *_variable(z.shape[1]), fourier_l1_norm, _fourier_linf_norm)


def min_fourier_l1_interpolator(x: Array, y: Array) -> Array:
    """argmin of the Fourier l1 norm subject to X w = y."""
    import cvxpy as cp

    w, norm_expression = _variable(x.shape[1])
    fitted = x @ w == y
    conic_program("Fourier l1 interpolation", cp.Problem(cp.Minimize(norm_expression), [fitted]), certified=True)
    # Remove the solver's residual of about 1e-9, so that the constraint holds up to rounding.
    solution = np.asarray(w.value, dtype=np.float64)
    solution = solution + np.linalg.pinv(x) @ (y - x @ solution)
    multipliers = np.asarray(fitted.dual_value, dtype=np.float64)
    norm, bound = fourier_l1_norm(solution), abs(float(y @ multipliers)) / _fourier_linf_norm(multipliers @ x)
    certify("Fourier l1 interpolation", norm - bound, norm)
    return solution
