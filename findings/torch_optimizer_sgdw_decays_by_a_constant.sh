#!/usr/bin/env bash
# Weight decay of torch_optimizer's SGDW takes the same from every weight, whatever it is: negative weights grow.
#
# torch_optimizer 0.3.0, torch 2.14.1, CPU. Decoupled decay (Loshchilov and Hutter 2019, arXiv:1711.05101) multiplies the
# weights by a factor below 1. ``step`` adds the constant -lr * weight_decay to them instead.
# Seen: 30 steps with a gradient of 0, lr 0.1 and weight_decay 0.1 take the weights (-3, -0.5, 0.5, 3) to (-3.3, -0.8,
# 0.2, 2.7): the norm has grown. A decay by the factor 1 - 0.01 gives (-2.22, -0.37, 0.37, 2.22), as torch.optim.SGD
# does here, where without a gradient coupled and decoupled decay are the same.
#
# Who meets it: everyone who takes this class as the decoupled SGD of a comparison: its decay drives all weights, biases
# too, towards minus infinity.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6' 'torch_optimizer==0.3.0'
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import torch_optimizer


def decayed(kind):
    weight = torch.nn.Parameter(torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64))
    optimizer = kind([weight], lr=0.1, weight_decay=0.1)
    for _ in range(30):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    return weight.detach()


start = torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64)
theirs, factor = decayed(torch_optimizer.SGDW), 0.99**30
print("torch_optimizer.SGDW:", theirs.tolist())
print("decay by a factor:   ", (factor * start).tolist())
assert torch.allclose(decayed(torch.optim.SGD), factor * start)
assert torch.allclose(theirs, start - 30 * 0.1 * 0.1), "it is not a constant any more"
PYTHON
