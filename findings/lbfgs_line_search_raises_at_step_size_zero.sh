#!/usr/bin/env bash
# torch.optim.LBFGS with its line search raises ZeroDivisionError when a schedule has brought the step size to 0.
#
# torch 2.14.1, CPU. `step` tries the step size first, min(1, 1 / |g|_1) * lr in its first iteration and lr later, and
# `_strong_wolfe` interpolates between it and 0: with lr = 0 these are one point, by whose distance `_cubic_interpolate`
# (torch/optim/lbfgs.py) divides. Without a line search, and in SGD, Adam and the others, a step of size 0 leaves the
# weights where they are.
#
# Who meets it: everyone who trains with L-BFGS under a schedule that ends at 0, as cosine annealing does: at its end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import torch

EPOCHS = 3


def train(search):
    """How many steps were taken, and what was raised."""
    torch.manual_seed(0)
    weights, inputs = torch.nn.Parameter(torch.randn(3, dtype=torch.float64)), torch.randn(8, 3, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([weights], max_iter=2, line_search_fn=search)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)

    def closure():
        optimizer.zero_grad()
        loss = ((inputs @ weights).tanh() - 0.3).square().sum()
        loss.backward()
        return loss

    for step in range(EPOCHS + 1):
        try:
            optimizer.step(closure)
        except ZeroDivisionError as error:
            return step, str(error)
        schedule.step()
    return EPOCHS + 1, None


plain, searching = train(None), train("strong_wolfe")
print("without a line search:", plain, "with one:", searching)
assert plain == (EPOCHS + 1, None)
assert searching == (EPOCHS, "float division by zero"), "it is another way now"
PYTHON
