"""Grokking: rules that are learned long after their examples are memorised, if at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from suite.measures import margins
from suite.models import TwoLayerQuadratic, relu_network
from suite.oracles.arithmetic import (
    frequency_shares,
    largest_addition_margin,
    largest_margin_addition_network,
    modular_addition_network,
    neuron_norms,
)
from suite.seeding import torch_stream
from suite.task import Axis, Decay, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import adam_interface, hessian_norm, normal, require_choice, weights
from suite.tasks.losses import log_pairwise_exponential, logistic, mean_squared_error
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


def scaled_to_margin(weights: tuple[Tensor, Tensor], margin: float, target: float) -> TwoLayerQuadratic:
    """The network of these weights, which has that margin, with all weights scaled so that it has the margin `target`.

    The network is cubic in its weights.
    """
    factor = (target / margin) ** (1 / 3)
    return TwoLayerQuadratic(*(factor * part for part in weights))


@task
def modular_margin() -> Task:
    """Which network adds with the largest margin?

    Claim. On all pairs of numbers, where there is nothing to generalize to, the network of largest margin over the
    L_{2,3} norm is known exactly, if there are at least 4 (p - 1) neurons: every neuron is a wave of one frequency,
    with phases that add up, and all frequencies occur (Morwani et al. 2023, arXiv:2311.07568: Theorem 4 in its reviews,
    which with the abstract were read; the number of neurons is quoted from memory). It is the limit of minimizers with
    a small L_{2,3} penalty. Gradient methods have other norms in their limits (gradient flow |theta|,
    Lyu and Li 2020, arXiv:1906.05890), so for them this is a conjecture, which the task tests.

    Data. All 121 pairs (a, b) of numbers below p = 11, coded as two one-hot vectors; the class is (a + b) mod p. Model:
    W2 (W1 x)² of width 64 without biases, weights N(0, 1 / fan in).

    Objective. The logarithm of the mean of exp(-(f_c - f_k)) over pairs and wrong classes k: the cross-entropy's limit
    directions without its underflow. It is divided by the Hessian's largest eigenvalue at the start or at the network
    of largest margin scaled to the target loss, whichever is larger.

    Target. The least margin is then within log(1210) = 7.1 of 30.

    Oracle. The largest margin, sqrt(2 / 27) / (sqrt(p) (p - 1)), and a network of 30 neurons that has it
    (`suite.oracles.arithmetic`).

    Reported, not scored. `margin_ratio` = least margin over sum_j |w_j|³, over the largest; w_j are all weights of
    neuron j. `frequency_share`: the share of its strongest frequency in the energy of a neuron, as a mean weighted by
    |w_j|³; 1 for waves of one frequency. `frequencies`: how many frequencies are the strongest of some neuron with more
    than a thousandth of all |w_j|³, of 5.
    """
    p, width, log_loss = 11, 64, -30.0
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    code = torch.eye(p, dtype=torch.float64)
    train = Split(code[pairs].flatten(1), pairs.sum(1) % p)
    largest = largest_addition_margin(p)

    def problem(seed: int) -> Problem:
        stream = torch_stream("modular_margin", seed, "init")
        initial = {
            "hidden": normal(stream, width, 2 * p) / (2 * p) ** 0.5,
            "output": normal(stream, p, width) / width**0.5,
        }
        exact = largest_margin_addition_network(p)
        margin = largest * float(neuron_norms(*exact).sum())
        networks = (TwoLayerQuadratic(**initial), scaled_to_margin(exact, margin, -log_loss))
        lipschitz = max(hessian_norm(network, train, log_pairwise_exponential) for network in networks)
        return Problem(train, lipschitz=lipschitz, ground_truth=initial)

    def measure(solution: Solution) -> dict[str, float]:
        hidden, output = weights(solution, "hidden", "output")
        with torch.no_grad():
            margin = margins(solution.model(solution.problem.train.x), solution.problem.train.y).min()
        norms, shares = neuron_norms(hidden, output), frequency_shares(hidden, output)
        strongest = shares.max(1)
        used = strongest.indices[norms > 1e-3 * norms.sum()]
        return {
            "margin_ratio": float(margin / norms.sum()) / largest,
            "frequency_share": float((norms * strongest.values).sum() / norms.sum()),
            "frequencies": float(len(set(used.tolist()))),
            "margin": float(margin),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: TwoLayerQuadratic(**problem.ground_truth),
        loss=log_pairwise_exponential,
        target=Target(log_loss, budget=5_000),
        measure=measure,
        selection="convergence",
        oracle=lambda problem, seed: Oracle(values={"largest_margin": largest}),
        reported=("margin_ratio", "frequency_share", "frequencies"),
    )


@task
def modular_addition(decay: float = 0.0) -> Task:
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

    Variants. ``[decay=0.0001]``: every gradient is that of the loss plus the decay times the weights, both over the
    Lipschitz constant, whatever the method: Adam is compared with gradient descent, and not decay with none.
    Measured on seed 0: Adam (step size 0.01) errs 0.85 with a decay of 3e-5 and not at all from 1e-4 to 1e-3; heavy
    ball (0.1) errs 0.96 with 1e-4 and 0.09 with 1e-3, gradient descent (0.5) 0.96 with 3e-4 and 0.74 with 1e-3.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1, not {decay}.")
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
        decay=Decay(decay) if decay else None,
        dtype=torch.float32,
        seconds=2.0,
        interface=adam_interface(2 * p, p),
    )


@torch.no_grad()
def influences(predict: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Mean over x [n, d] of the squared change of the output when a coordinate is flipped, [d].

    Four times the influence of O'Donnell (2014, Analysis of Boolean Functions, section 8.4). Coordinates are -1 and +1,
    or the tokens 0 and 1.
    """
    base, flipped = predict(x), -x if x.is_floating_point() else 1 - x
    changes = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return torch.stack([(predict(torch.where(change, flipped, x)) - base).square().mean() for change in changes])


class OfBits(nn.Module):
    """A network of inputs in {-1, +1} as one of tokens 0 and 1: [n, d] to logits [n, d, 2], the same at every place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logit = self.network(2.0 * x - 1)
        return torch.cat([torch.zeros_like(logit), logit], 1)[:, None].expand(-1, x.shape[1], -1)


def last_log_odds(outputs: Tensor) -> Tensor:
    """The difference [n, 1] of the two logits at the last place of outputs [n, d, 2]."""
    return outputs[:, -1, 1:] - outputs[:, -1, :1]


def last_logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean logistic loss of the last place of outputs [n, d, 2] for labels [n, 1] in {-1, +1}."""
    return logistic(last_log_odds(outputs), targets)


@task
def sparse_parity(inputs: str = "signs") -> Task:
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

    Variant. ``[inputs=tokens]``: the same points as sequences of 20 tokens 0 and 1, whose class is read from the logits
    after the last one. The network is the same, and so is every optimizer's solution; the variant is for architectures
    of token sequences, which must find three places.
    """
    d, k, n, tests, width = 20, 3, 400, 1_000, 64
    require_choice("inputs", inputs, ("signs", "tokens"))
    of_tokens = inputs == "tokens"
    loss = last_logistic if of_tokens else logistic

    def initial_network(seed: int) -> nn.Module:
        network = relu_network(d, [width], torch_stream("sparse_parity", seed, "init"), dtype=torch.float32)
        return OfBits(network) if of_tokens else network

    def problem(seed: int) -> Problem:
        stream = torch_stream("sparse_parity", seed, "data")
        bits = torch.randint(0, 2, (2 * n + tests, d), generator=stream)
        signs = bits * 2.0 - 1
        y = signs[:, :k].prod(1, keepdim=True)
        x = bits if of_tokens else signs
        train, validation, test = map(Split, *(torch.split(part, [n, n, tests]) for part in (x, y)))
        return Problem(train, validation, test, lipschitz=hessian_norm(initial_network(seed), train, loss))

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test

        def predict(x: Tensor) -> Tensor:
            outputs: Tensor = solution.model(x)
            return last_log_odds(outputs) if of_tokens else outputs

        influence = influences(predict, test.x)
        return {
            "relevant_influence": float(influence[:k].sum() / influence.sum()),
            "test_error": float((torch.sign(predict(test.x)) != test.y).double().mean()),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed),
        loss=loss,
        target=Target(0.1, budget=3_000, at_end=True),
        measure=measure,
        reported=("relevant_influence", "test_error"),
        selection="validation_loss",
        dtype=torch.float32,
        interface=replace(adam_interface(d, 2), tokens=True) if of_tokens else adam_interface(d),
    )
