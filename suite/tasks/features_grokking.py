"""Grokking: rules that are learned long after their examples are memorised, if at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models import TwoLayerQuadratic, relu_network
from suite.oracles.arithmetic import modular_addition_network
from suite.seeding import torch_stream
from suite.task import Axis, Problem, Solution, Split, Target, Task
from suite.tasks.common import adam_interface, hessian_norm
from suite.tasks.losses import logistic, mean_squared_error
from suite.tasks.registry import task


def squared_distance(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the squared distance of outputs [n, k] to targets [n, k]."""
    return mean_squared_error(outputs, targets) * targets.shape[-1]


def sum_share(outputs: Tensor) -> float:
    """The share of the energy of outputs [p, p, p] at (a, b, c) in the part that depends on a + b - c modulo p alone.

    That part is their projection on functions of the sum: the mean over all outputs of equal a + b - c.
    """
    p = len(outputs)
    a, b, c = torch.meshgrid(*[torch.arange(p, device=outputs.device)] * 3, indexing="ij")
    means = outputs.new_zeros(p).index_add(0, ((a + b - c) % p).flatten(), outputs.flatten()) / p**2
    return float(p**2 * means.square().sum() / outputs.square().sum().clamp_min(1e-30))


@task
def modular_addition() -> Task:
    """Is the rule of addition found after its examples are memorised?

    Claim. Networks trained on some sums modulo p memorise them at once and answer the others at random; longer training
    with decay finds the rule, late and suddenly (Power et al. 2022, arXiv:2201.02177). With squared activations the
    rule is an explicit sum of waves (Gromov 2023, arXiv:2301.02679). Decay is what makes the memorising solution
    unstable (Lyu et al. 2024, arXiv:2311.18817), and Muon is said to find the rule sooner (Tveit et al. 2025,
    arXiv:2504.16041). Measured, without any decay: tuned gradient descent, momentum, Adam, sign descent and SAM do not
    find it (three seeds). Muon does with a step size of 0.067 and, for the output layer, AdamW with 0.03, and with no
    shorter ones (one seed); Muon in both layers did with 0.067 and not with 0.023.

    Data. All pairs (a, b) of numbers below p = 23, coded as two one-hot vectors; the target is the one-hot code of (a +
    b) mod p. Of the 529 pairs 317 (60 %) are for training, 106 for validation, 106 for the test, at random. Model:
    two-layer network W2 (W1 x)² of width 128 without biases, weights N(0, 1 / fan in). Loss: mean squared distance, 1
    for the answer 0, over its Hessian's largest eigenvalue at the start or at the exact solution, whichever is larger;
    float32.

    Target. All train for the whole budget, since the rule is learned after the fit. Hyper-parameters are chosen by
    validation loss, not by the speed of the fit, which prefers those that memorise.

    Oracle. Addition itself, and a network that computes it: 67 hidden neurons do so exactly, six per frequency and one
    for the constant (`suite.oracles.arithmetic`).

    Norm axis. `sum_share`: the share of the outputs' energy, over all pairs (a, b) and classes c, in the part that
    depends on the sum a + b - c alone. It is a property of the function, not of weights. Score 0: 317 / 529, a function
    that knows the training pairs and answers 0 to all others; networks that memorise have less, because they answer
    wrongly. Generalization axis. `test_error`. Score 0: a guess.
    """
    p, width, n, held_out = 23, 128, 317, 106
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    code = torch.eye(p, dtype=torch.float32)
    table = Split(code[pairs].flatten(1), code[pairs.sum(1) % p])

    def initial_network(seed: int) -> nn.Module:
        stream = torch_stream("modular_addition", seed, "init")
        hidden = torch.randn(width, 2 * p, generator=stream) / (2 * p) ** 0.5
        return TwoLayerQuadratic(hidden, torch.randn(p, width, generator=stream) / width**0.5)

    def problem(seed: int) -> Problem:
        order = torch.randperm(p * p, generator=torch_stream("modular_addition", seed, "data"))
        parts = torch.split(order, [n, held_out, p * p - n - held_out])
        train, validation, test = (Split(table.x[part], table.y[part]) for part in parts)
        exact = TwoLayerQuadratic(*(weights.float() for weights in modular_addition_network(p)))
        lipschitz = max(hessian_norm(network, train, squared_distance) for network in (initial_network(seed), exact))
        return Problem(train, validation, test, lipschitz=lipschitz)

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        outputs = solution.model(table.x.to(test.x.device))
        wrong = solution.model(test.x).argmax(1) != test.y.argmax(1)
        return {"sum_share": sum_share(outputs.double().view(p, p, p)), "test_error": float(wrong.double().mean())}

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed),
        loss=squared_distance,
        target=Target(0.1, budget=3_000, at_end=True),
        measure=measure,
        axes=(
            Axis("norm", "sum_share", "linear", score_0=n / p**2, score_1=1.0, higher=True),
            Axis("generalization", "test_error", "linear", score_0=1 - 1 / p, score_1=0.0),
        ),
        selection="validation_loss",
        dtype=torch.float32,
        seconds=2.0,
        interface=adam_interface(2 * p, p),
    )


@torch.no_grad()
def influences(model: nn.Module, x: Tensor) -> Tensor:
    """Mean over x [n, d] in {-1, +1} of the squared change of the output when a coordinate is flipped, [d].

    Four times the influence of O'Donnell (2014, Analysis of Boolean Functions, section 8.4).
    """
    base = model(x)
    flips = 1 - 2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.stack([(model(x * flip) - base).square().mean() for flip in flips])


@task
def sparse_parity() -> Task:
    """Are the few relevant inputs found after the data are fitted?

    Claim. Networks fit a sparse parity by memorising first; longer training with decay finds the relevant inputs and
    generalizes, late (Barak et al. 2022, arXiv:2207.08799; Power et al. 2022, arXiv:2201.02177; Lyu et al. 2024,
    arXiv:2311.18817).

    Data. x uniform in {-1, +1}^20, y the product of the first three coordinates; 400 points for training, 400 for
    validation, 1,000 for the test. Model: two-layer ReLU network of width 64, He's initialization. Logistic loss over
    its Lipschitz constant at the start, float32. With 30 coordinates and 600 points in batches of 32 no optimizer
    generalized in a prototype.

    Target. As in `modular_addition`: the relevant inputs are found after the fit.

    Oracle. The parity itself: its error is 0 and only the three relevant inputs influence it.

    Reported, not scored. `relevant_influence`: the share of the relevant inputs in the sum of all influences (mean
    squared change of the output when an input is flipped, on the test points); all inputs alike have 0.15. It is a
    property of the function, not of weights. `test_error`: a guess has 0.5. AdamW with a decay of 0.3 finds the inputs;
    six tuned optimizers without decay stay at chance or near it (errors of 0.37 to 0.51), so that a score would only
    say who decays, and otherwise be noise.
    """
    d, k, n, tests, width = 20, 3, 400, 1_000, 64

    def initial_network(seed: int) -> nn.Sequential:
        return relu_network(d, [width], torch_stream("sparse_parity", seed, "init"), dtype=torch.float32)

    def problem(seed: int) -> Problem:
        stream = torch_stream("sparse_parity", seed, "data")
        x = torch.randint(0, 2, (2 * n + tests, d), generator=stream) * 2.0 - 1
        y = x[:, :k].prod(1, keepdim=True)
        train, validation, test = map(Split, *(torch.split(part, [n, n, tests]) for part in (x, y)))
        return Problem(train, validation, test, lipschitz=hessian_norm(initial_network(seed), train, logistic))

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        influence = influences(solution.model, test.x)
        return {
            "relevant_influence": float(influence[:k].sum() / influence.sum()),
            "test_error": float((torch.sign(solution.model(test.x)) != test.y).double().mean()),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed),
        loss=logistic,
        target=Target(0.1, budget=3_000, at_end=True),
        measure=measure,
        reported=("relevant_influence", "test_error"),
        selection="validation_loss",
        dtype=torch.float32,
        interface=adam_interface(d),
    )
