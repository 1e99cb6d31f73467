#!/usr/bin/env bash
# torch.func.functional_call leaves the given tensors in a network that uses one layer twice.
#
# torch 2.14.1, CPU. functional_call(module, parameters, inputs) computes with the given parameters and puts the module's own
# back; it does for a network without shared layers, and with tie_weights=False. Where one layer object stands in the network
# twice, as for tied layers and recurrence in depth, the call returns the right output, and afterwards the layer holds the
# given tensors in place of its own: no error, no warning.
# Seen: own weights after the call: without sharing True, shared with tie_weights=False True, shared (False, 'Tensor', 2.0):
# a plain tensor of twice the old weight.
#
# Who meets it: whoever evaluates a network at other weights (Hessian-vector products, sharpness, linearization, ensembles by
# vmap): the network that is measured is another one afterwards, and an optimizer that was made before trains what no
# longer takes part. Hold the parameters and put them back, or give functional_call a deep copy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.func import functional_call


def keeps_its_weights(shared, tie_weights=True):
    torch.manual_seed(0)
    first = nn.Linear(2, 2)
    second = first if shared else nn.Linear(2, 2)
    model = nn.Sequential(first, nn.ReLU(), second)
    own, doubled = first.weight, {name: 2 * p.detach() for name, p in model.named_parameters()}
    functional_call(model, doubled, (torch.ones(1, 2),), tie_weights=tie_weights)
    return first.weight is own, type(first.weight).__name__, float((first.weight / own).detach().mean())


alone, untied, shared = keeps_its_weights(False), keeps_its_weights(True, tie_weights=False), keeps_its_weights(True)
print(f"own weights after the call: without sharing {alone[0]}, shared with tie_weights=False {untied[0]}, shared {shared}")
assert alone[0] and untied[0], "the comparison has changed"
assert shared == (False, "Tensor", 2.0), "a shared layer gets its own weights back now"
PYTHON
