#!/usr/bin/env bash
# Under torch.vmap the in-place updates that Adam is made of run once for every lane; the same out of place run once.
#
# torch 2.14.1, CPU. `Tensor.mul_`, `add_` and `div_` have a batching rule, and so have `lerp`, `addcmul` and `addcdiv`,
# but not `lerp_`, `addcmul_` and `addcdiv_`, with which torch.optim.Adam updates its moments and weights. vmap falls back
# to a loop over lanes, with a warning of a performance drop that Python shows once for a place.
# Seen, for 64 lanes: the profiler counts one call each of lerp, addcmul, addcdiv and mul_, and 65 each of lerp_, addcmul_
# and addcdiv_: the call itself and one for every lane. The values are equal.
#
# Who meets it: everyone who batches an optimizer over seeds or settings with vmap, to step them as one: written in place,
# as optimizers are, it is the loop that vmap was to replace. Write the three out of place.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
from torch.profiler import profile

warnings.simplefilter("ignore")
LANES = 64
state, gradient = torch.randn(LANES, 5), torch.rand(LANES, 5) + 1
arguments = {"lerp": lambda g: (g, 0.1), "addcmul": lambda g: (g, g), "addcdiv": lambda g: (g, g), "mul": lambda g: (g,)}


def calls(name, in_place):
    """The result, and how often the operator was called."""
    method = name + "_" * in_place
    step = torch.vmap(lambda s, g: getattr(s, method)(*arguments[name](g)))
    with profile() as seen:
        result = step(state.clone(), gradient)
    return result, sum(event.count for event in seen.key_averages() if event.key == f"aten::{method}")


for name in arguments:
    (plain, once), (written, often) = calls(name, False), calls(name, True)
    assert torch.equal(plain, written)
    print(f"{name}: {once} call, {name}_: {often}")
    assert once == 1
    assert often == (1 if name == "mul" else LANES + 1), "the batching rules are others now"
PYTHON
