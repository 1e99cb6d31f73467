"""Next tokens: what a model of them learns first, and where its weights go when the data are fitted."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.models import LinearClassifier
from suite.oracles.bigrams import zipf_flow
from suite.oracles.next_token import finite_component, next_token_margins, next_token_rows, outside_of
from suite.seeding import torch_stream
from suite.task import Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    MATRIX_NORMS,
    arrays,
    margin_oracle,
    margin_ratios,
    normal,
    relative_distance,
    require_choice,
    tensors,
    uniform,
    weights,
)
from suite.tasks.losses import excess_cross_entropy, relative_excess_cross_entropy, relative_excess_square
from suite.tasks.registry import task


@task
def next_token_margin() -> Task:
    """Where do the weights of a next-token predictor go when it has learned all probabilities?

    Claim. The cross-entropy of linear next-token prediction falls to the entropy of the data if some W gives tokens
    that follow a context logits that differ by their log-odds (Definition 1), and some W gives them equal logits and
    lower ones to those that never follow (Definition 2). Then gradient descent, with steps that descend, fits the
    log-odds in the subspace that they span, W converging there to one finite matrix; in the orthogonal subspace it
    diverges, in the direction of the largest next-token margin in the Frobenius norm (Theorem 2; Thrampoulidis 2024,
    arXiv:2402.18551). For methods in other norms nothing is proved; if they behave as on one-hot labels (Fan et al.
    2025, arXiv:2502.04664), sign-like methods end near the margin of the max norm, Muon near that of the spectral norm.
    That is a conjecture, which the reported ratios test.

    Data. 15 contexts x ~ N(0, I) of dimension 20, so linearly independent, which suffices for both conditions (Lemma
    1); a vocabulary of 8 tokens, of which 3 follow each context, with probabilities (0.5 + u) / sum, u ~ U(0, 1).
    Model: W x from W = 0. Loss: cross-entropy less the entropy of the data, over |X|²/(2n), above which its Hessian has
    no eigenvalue.

    Target. At an excess of 1e-3 nats the log-odds are fitted to about a percent. Directions approach their limit as
    1/log(loss) only: gradient descent has 0.82 of the margin then. A logarithm of the excess, which hurries other tasks
    of this kind, would not do here: it makes the fitted directions ever steeper.

    Oracle. The least-norm matrix of the log-odds (a linear system), and the directions of largest next-token margin in
    the Frobenius norm (least-distance programming), the max norm (a linear program) and the spectral norm (a
    semidefinite program, certified to 1e-6 by duality).

    Reported, not scored. `finite_distance` = |P W - W_odds| / |W_odds|, with P the projection on the subspace of the
    log-odds. `frobenius_margin_ratio`, `spectral_margin_ratio`, `max_margin_ratio`: the least difference of logits
    between tokens that follow and that do not, of W - P W over its norm, over the best possible. `frobenius_cosine`:
    between W - P W and the direction of the largest margin. No norm is better by right.
    """
    n, d, tokens, following = 15, 20, 8, 3
    shape = (tokens, d)

    def problem(seed: int) -> Problem:
        stream = torch_stream("next_token_margin", seed, "data")
        x = normal(stream, n, d)
        y = torch.zeros(n, tokens, dtype=torch.float64)
        for row in range(n):
            chosen = torch.randperm(tokens, generator=stream)[:following]
            y[row, chosen] = uniform(stream, following, 0.5, 1.5)
        y /= y.sum(1, keepdim=True)
        return Problem(Split(x, y), lipschitz=float(torch.linalg.matrix_norm(x, ord=2)) ** 2 / (2 * n))

    def oracle(problem: Problem, seed: int) -> Oracle:
        rows = next_token_rows(*arrays(problem.train))
        largest = margin_oracle(rows.apart, next_token_margins(rows, shape), MATRIX_NORMS, shape)
        log_odds = tensors(log_odds=finite_component(rows).reshape(shape))
        return Oracle({**largest.solutions, **log_odds}, largest.values)

    def measure(solution: Solution) -> dict[str, float]:
        (w,), known = weights(solution, "weight"), solution.oracle.solutions
        flat, rows = w.cpu().numpy().ravel(), next_token_rows(*arrays(solution.problem.train))
        outside = outside_of(rows, flat)
        matrix = torch.from_numpy(outside.reshape(shape))
        margin = torch.tensor((rows.apart @ outside).min())
        cosine = (matrix * known["frobenius"]).sum() / torch.linalg.matrix_norm(matrix)
        return margin_ratios(margin, matrix, MATRIX_NORMS, solution.oracle) | {
            "finite_distance": relative_distance(w.cpu() - matrix, known["log_odds"]),
            "frobenius_cosine": float(cosine / torch.linalg.matrix_norm(known["frobenius"])),
            "l2_norm": float(torch.linalg.matrix_norm(w)),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearClassifier(d, tokens),
        loss=excess_cross_entropy,
        target=Target(1e-3, budget=20_000),
        measure=measure,
        oracle=oracle,
        reported=(
            "finite_distance",
            "frobenius_margin_ratio",
            "spectral_margin_ratio",
            "max_margin_ratio",
            "frobenius_cosine",
        ),
    )


ZIPF_LOSSES = {"squared": relative_excess_square, "cross_entropy": relative_excess_cross_entropy}
"""The losses of `zipf_bigram`: the excess over what the data allow, relative to that at W = 0."""


def zipf(tokens: int) -> Tensor:
    """Zipf's law: probabilities in proportion to 1, 1/2, …, 1/tokens."""
    law = 1 / torch.arange(1, tokens + 1, dtype=torch.float64)
    return law / law.sum()


@task
def zipf_bigram(loss: str = "squared") -> Task:
    """Which words does the optimizer learn first when a few are frequent and most are rare?

    Claim. For a linear bigram model with squared loss gradient descent learns each word at a speed in proportion to its
    frequency, so that under Zipf's law its number of steps grows with the power 1 - r of the vocabulary for a share r
    of the excess that remains, here 0.9 (Theorem 3.1; Kunstner and Bach 2025, arXiv:2505.19227). Sign descent learns
    all words alike (Proposition 4.2) and needs about the square root (Theorem 4.5, for a step size that is tuned to the
    number of steps, and with oscillations about the solution replaced by their mean, Assumption 4.1). Both are limits
    of large vocabularies whose conditional frequencies follow the law, too (Assumption 2.3), as they do here. At
    *equal* loss the two have fitted different words. With cross-entropy the paper has experiments only.

    Data. A vocabulary of 100 tokens with frequencies in proportion to 1/k. The next token's probabilities follow the
    same law, in an order of its own for every token. The data are these probabilities themselves, as if there were
    infinitely many bigrams. The seed draws the orders: methods that treat coordinates alike find the same solution up
    to a permutation. Model: W x from W = 0 for one-hot x, so that each token has a column of W of its own. Loss: the
    squared error, weighted by frequency, relative to that at W = 0, over its Lipschitz constant. The loss of
    practice is a variant, `zipf_bigram[loss=cross_entropy]`: cross-entropy less the entropy, relative to that at W = 0.

    Target. A tenth of the excess remains. It is a share of the *excess*, as the entropy of the data would hide what is
    still to be learned.

    Oracle. Under gradient flow a token of frequency f has the share exp(-2 f t) of its excess left at time t; t is when
    the whole excess is a tenth. Gradient descent with step size h has (1 - h f)^(2k) after k steps, nearly the same at
    small h f. If all tokens are learned alike, each has a tenth left. With cross-entropy there is no closed form: the
    flow of a single token is integrated numerically, as it is the same for all but for the time's unit.

    Reported, not scored: whether rare words matter is the reader's to say. `rare_excess` is the mean share that is left
    of the excess of the rarer half of all tokens, `frequent_excess` of the most frequent tenth. `flow_rare_excess`:
    gradient flow's. The curve shows the shares of all ten deciles of frequency.
    """
    tokens, remaining, deciles = 100, 0.1, 10
    require_choice("loss", loss, ZIPF_LOSSES)
    relative_excess = ZIPF_LOSSES[loss]

    def problem(seed: int) -> Problem:
        stream = torch_stream("zipf_bigram", seed, "data")
        law = zipf(tokens)
        orders = torch.stack([torch.randperm(tokens, generator=stream) for _ in range(tokens)])
        joint = tokens * law[:, None] * law[orders]
        # Hessian: each token's block is at most its frequency (times 1/2 for the softmax), over the loss at W = 0.
        at_start = float(law.square().sum()) if loss == "squared" else float((law * (law * tokens).log()).sum())
        lipschitz = float(law.max()) / at_start * (2 if loss == "squared" else 0.5)
        return Problem(Split(torch.eye(tokens, dtype=torch.float64), joint), lipschitz=lipschitz)

    def shares(outputs: Tensor, joint: Tensor) -> Tensor:
        """The share that is left of each token's excess, [tokens]."""
        return torch.stack([relative_excess(outputs[k : k + 1], joint[k : k + 1]) for k in range(tokens)])

    def by_decile(values: Tensor) -> list[float]:
        return [float(part) for part in values.reshape(deciles, -1).mean(1)]

    def oracle(problem: Problem, seed: int) -> Oracle:
        left = torch.from_numpy(zipf_flow(zipf(tokens).numpy(), remaining, loss))
        return Oracle({"flow": left}, {"flow_rare_excess": float(left[tokens // 2 :].mean())})

    def left_of(solution: Solution) -> Tensor:
        train = solution.problem.train
        with torch.no_grad():
            return shares(solution.model(train.x), train.y).cpu()

    def measure(solution: Solution) -> dict[str, float]:
        left = left_of(solution)
        return {
            "rare_excess": float(left[tokens // 2 :].mean()),
            "frequent_excess": float(left[: tokens // deciles].mean()),
            "flow_rare_excess": solution.oracle.values["flow_rare_excess"],
        }

    def curves(solution: Solution) -> dict[str, Curve]:
        flow = by_decile(solution.oracle.solutions["flow"])
        x_label, y_label = "decile of frequency (1: most frequent)", "share left of the excess loss"
        x = [float(k) for k in range(1, deciles + 1)]
        return {"excess": Curve(x, by_decile(left_of(solution)), x_label, y_label, oracle=flow)}

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearClassifier(tokens, tokens),
        loss=relative_excess,
        target=Target(remaining, budget=2_000),
        measure=measure,
        oracle=oracle,
        reported=("rare_excess", "frequent_excess", "flow_rare_excess"),
        curves=curves,
    )
