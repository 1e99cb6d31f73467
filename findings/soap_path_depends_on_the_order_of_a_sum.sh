#!/usr/bin/env bash
# SOAP leads to another solution when the samples of a full batch are added up in another order.
#
# pytorch_optimizer 4.1.0, torch 2.14.1, CPU, float64, one thread. Eight samples, a linear map from 32 to 16 dimensions, mean
# squared error over all samples: the gradient has rank eight, as that of every linear layer with more inputs than samples.
# SOAP steps like Adam in the eigenbasis of the gradients' second moments. Of rank eight, they leave the other
# eigenvectors to rounding; the gradient's components along these are rounding too, and Adam divides them by their own size:
# steps as long as any other, in directions that nothing determines.
# Seen after 64 steps: with the samples in reverse order SOAP ends 0.77 of its path away, at the same loss (0.436); Adam
# 4e-16, Muon 0.
#
# Who meets it: everyone who compares SOAP between machines, numbers of threads or layouts of a batch, or repeats a run: on
# overparameterized layers the solution itself changes, not its last digit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6' 'pytorch_optimizer==4.1.0'
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from pytorch_optimizer import SOAP

torch.set_num_threads(1)
torch.manual_seed(0)
x, y = torch.randn(8, 32, dtype=torch.float64), torch.randn(8, 16, dtype=torch.float64)
start = torch.randn(32, 16, dtype=torch.float64) / 32**0.5


def trained(make, order):
    weight = torch.nn.Parameter(start.clone())
    optimizer = make([weight])
    for _ in range(64):
        optimizer.zero_grad()
        loss = (x[order] @ weight - y[order]).square().mean()
        loss.backward()
        optimizer.step()
    return weight.detach() - start, loss.item()


forward, backward = torch.arange(8), torch.arange(8).flip(0)
moved = {}
for name, make in {
    "SOAP": lambda weights: SOAP(weights, lr=1e-2, weight_decay=0.0),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=1e-2),
    "Muon": lambda weights: torch.optim.Muon(weights, lr=1e-2, weight_decay=0.0),
}.items():
    (path, loss), (other_path, other_loss) = trained(make, forward), trained(make, backward)
    moved[name] = float((path - other_path).norm() / path.norm())
    print(f"{name}: the other order moves the end by {moved[name]:.1e} of the path; losses {loss:.3f} and {other_loss:.3f}")
assert moved["Adam"] < 1e-9, "the comparison has changed"
assert moved["SOAP"] > 0.05, "SOAP is insensitive to the order of a sum now"
PYTHON
