#!/usr/bin/env bash
# A Python number divided by a torch tensor is rounded twice.
#
# torch 2.14.1, CPU, float64. IEEE 754 division is correctly rounded, and NumPy's `3.0 / array` is that division entry by
# entry. torch's `3.0 / tensor` is `tensor.reciprocal() * 3.0`: two roundings. Of 100,001 numbers in [1, 2] about a third
# get another last bit than from `torch.full_like(tensor, 3.0) / tensor`, which is correctly rounded.
# Seen: differ from NumPy 31162, differ from reciprocal times 3: 0, tensor over tensor differs from NumPy 0.
#
# Who meets it: a refactoring that turns a Python float into a 0-d tensor, or back, changes records in the last bit; so does
# moving a computation between NumPy and torch. To keep bits, divide tensor by tensor.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import torch

tensor = torch.linspace(1, 2, 100_001, dtype=torch.float64)
scalar_over_tensor = 3.0 / tensor
tensor_over_tensor = torch.full_like(tensor, 3.0) / tensor
numpy = torch.from_numpy(3.0 / tensor.numpy())
counts = [
    int((scalar_over_tensor != numpy).sum()),
    int((scalar_over_tensor != tensor.reciprocal() * 3.0).sum()),
    int((tensor_over_tensor != numpy).sum()),
]
print("differ from NumPy {}, differ from reciprocal times 3: {}, tensor over tensor differs from NumPy {}".format(*counts))
assert counts[0] > 10_000, "a number over a tensor is correctly rounded now"
assert counts[1:] == [0, 0], "the two ways have changed"
PYTHON
