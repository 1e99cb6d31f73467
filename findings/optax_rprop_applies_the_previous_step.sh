#!/usr/bin/env bash
# optax's Rprop returns the update of the step before: its first step does not move, and every other comes a step late.
#
# optax 0.2.8, jax 0.10.2, CPU. ``rprop.update`` computes the new step from the gradient, keeps it in its state, and
# returns the one that was kept before, which is 0 at first.
# Seen: with the gradient (1, -2, 0.5) at every step, the updates are 0, -0.01, -0.012, -0.0144 times its sign; torch's
# Rprop moves by -0.01 at once. Where a gradient turns, the variant of Riedmiller and Braun's algorithm (1993) that both
# implement stands still for one step; optax stands still for two.
#
# Who meets it: everyone who compares Rprop between libraries at equal settings (on quadratics the paths lie 10 to 40 %
# apart after 30 steps), or takes one step to see whether an optimizer moves.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'optax==0.2.8' 'jax==0.10.2' 'torch==2.14.1' 'numpy==2.4.6'
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax.numpy as jnp
import numpy as np
import optax
import torch


def updates(gradients):
    rprop, weights = optax.rprop(0.01), jnp.ones(3)
    state, taken = rprop.init(weights), []
    for gradient in gradients:
        update, state = rprop.update(jnp.asarray(gradient), state, weights)
        taken.append(np.asarray(update))
    return taken


def of_torch(gradients):
    weight, taken = torch.nn.Parameter(torch.ones(3)), []
    rprop = torch.optim.Rprop([weight], lr=0.01)
    for gradient in gradients:
        before, weight.grad = weight.detach().clone(), torch.tensor(gradient)
        rprop.step()
        taken.append((weight.detach() - before).numpy())
    return taken


steady, turning = [[1.0, -2.0, 0.5]] * 4, [[1.0] * 3] * 2 + [[-1.0] * 3] * 3
for name, taken in (("optax", updates), ("torch", of_torch)):
    print(f"{name}, the same gradient four times:", *taken(steady))
    print(f"{name}, a gradient that turns after two steps:", *(step[0] for step in taken(turning)))
sign = np.array([-1, 1, -1])
assert np.allclose(updates(steady), [0 * sign, 0.01 * sign, 0.012 * sign, 0.0144 * sign]), "the first step moves now"
assert np.allclose(of_torch(steady)[0], 0.01 * sign, rtol=1e-4)
assert [bool(step.any()) for step in updates(turning)] == [False, True, False, False, True], "a turn costs one step now"
assert [bool(step.any()) for step in of_torch(turning)] == [True, True, False, True, True]
PYTHON
