#!/usr/bin/env bash
# The Hessian of a network with torch's weight norm is not symmetric, and its curvature is wrong.
#
# torch 2.14.1, CPU, float64. nn.utils.parametrizations.weight_norm computes g * v / |v| row by row with a built-in
# function. Its gradient is right. Its second derivative is not: the Hessian of a mean squared error by autograd differs from its own
# transpose by as much as its entries are large, while with the same formula written out it is symmetric to rounding, and
# equals finite differences of the (right) gradients.
# Seen: gradients differ 5.6e-17; asymmetry 1.4e+00 against 3.3e-16; largest eigenvalue 2.674 against 3.160; trace -3.923
# against 0.421; the formula differs from finite differences of the built-in's gradients by 9.7e-10.
#
# Who meets it: everyone who measures sharpness, trains with a second-order method or SAM-like penalties of the gradient's
# norm on networks with weight norm. No error is raised; power iteration and Lanczos converge to numbers that are not
# eigenvalues of the Hessian. Compare u'Hv with v'Hu, or write the formula out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(0)
layer = weight_norm(nn.Linear(3, 2, bias=False).double())
x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
start = torch.cat([layer.get_parameter(name).detach().flatten() for name in names])


def built_in(flat):
    given = dict(zip(names, (flat[:2].reshape(2, 1), flat[2:].reshape(2, 3))))
    return (functional_call(layer, given, (x,)) - y).square().mean()


def formula(flat):
    g, v = flat[:2].reshape(2, 1), flat[2:].reshape(2, 3)
    return (x @ (g * v / v.norm(dim=1, keepdim=True)).T - y).square().mean()


def gradient(loss, at):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


steps = 1e-5 * torch.eye(8, dtype=torch.float64)
differences = torch.stack([gradient(built_in, start + e) - gradient(built_in, start - e) for e in steps]) / 2e-5
theirs, written = (torch.autograd.functional.hessian(loss, start) for loss in (built_in, formula))
asymmetry = [float((h - h.T).abs().max()) for h in (theirs, written)]
top = [float(torch.linalg.eigvalsh((h + h.T) / 2)[-1]) for h in (theirs, written)]
same = float((gradient(built_in, start) - gradient(formula, start)).abs().max())
right = float((written - differences).abs().max())
print(f"gradients differ {same:.1e}; asymmetry {asymmetry[0]:.1e} against {asymmetry[1]:.1e}; largest eigenvalue "
      f"{top[0]:.3f} against {top[1]:.3f}; trace {theirs.trace():.3f} against {written.trace():.3f}; the formula differs from "
      f"finite differences of the built-in's gradients by {right:.1e}")
assert same < 1e-12 and right < 1e-6 and asymmetry[1] < 1e-12, "the comparison has changed"
assert asymmetry[0] > 0.1, "the second derivative of weight norm is right now"
PYTHON
