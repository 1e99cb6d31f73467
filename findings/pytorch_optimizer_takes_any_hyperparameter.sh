#!/usr/bin/env bash
# A misspelt hyper-parameter is no error in pytorch_optimizer: it is kept among the settings, and the default is used.
#
# pytorch_optimizer 4.1.0, torch 2.14.1, CPU. Constructors of the collection end with ``**kwargs``, which go into
# `defaults` and into the parameter groups. torch's own optimizers raise a TypeError.
# Seen: of 116 optimizer classes that can be built on a matrix alone 109 take ``learning_rate=123.0``; Magma refuses it,
# and so do six of torch's own that the collection also names. Adan then steps with lr = 0.001, as if nothing had been
# said, and a table of its settings shows a learning rate of 123.
#
# Who meets it: everyone who tunes under another name than the collection's (learning_rate, wd, momentum for beta1): all
# trials are the same, and the search reports the best of equals.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6' 'pytorch_optimizer==4.1.0'
"$folder/venv/bin/python" - <<'PYTHON'
import pytorch_optimizer
import torch


def weights():
    return [torch.nn.Parameter(torch.ones(2, 2))]


taken, refused = [], []
for name, kind in vars(pytorch_optimizer).items():
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        continue
    try:
        kind(weights())
    except Exception:  # it needs more than a matrix
        continue
    try:
        kind(weights(), learning_rate=123.0)
        taken.append(name)
    except TypeError:
        refused.append(name)
print(f"{len(taken)} classes take learning_rate=123.0, {len(refused)} refuse it: {', '.join(sorted(refused))}")


def moved(**settings):
    (weight,) = parameters = weights()
    optimizer = pytorch_optimizer.Adan(parameters, **settings)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    return 1 - weight[0, 0].item(), optimizer.defaults.get("learning_rate")


plain, misspelt = moved(), moved(learning_rate=123.0)
print(f"Adan's first step: {plain[0]:.3g} by default, {misspelt[0]:.3g} with learning_rate=123.0; kept: {misspelt[1]}")
try:
    torch.optim.Adam(weights(), learning_rate=123.0)
except TypeError as error:
    print("torch.optim.Adam:", error)
else:
    raise SystemExit("torch takes unknown hyper-parameters now")
assert len(taken) > 100, "unknown hyper-parameters are refused now"
assert misspelt == (plain[0], 123.0), "it is not ignored any more"
PYTHON
