"""A small language model: text whose entropy is known exactly, or any text."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.data.text import load_text, next_tokens, windows_split
from suite.measures import measure
from suite.models.language import CausalTransformer
from suite.oracles.grammar import COPYING, Grammar
from suite.seeding import seed_of, torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import require_choice
from suite.tasks.images import frozen_axes
from suite.tasks.registry import task

WORDS, CONTEXT = 100, 64
SIZES = (1_024, 256, 512)
"""Windows for training, validation and test."""

BATCH, EPOCHS = 16, 60
TARGET_LOSS = 2.40
"""Nats: the entropy of the grammar's texts per token, to two digits."""

MEASURED, CURVED = 256, 32
"""Windows that a solution is measured on, and those that its raw curvature is taken on, which is never scored."""

MOST_AT_ONCE = 64
"""Windows that are evaluated at once."""

REPLACED = 4
"""Tokens that are replaced in each window, one at a time."""

WHY = "they are the worst and the best of three runs on one seed"

LANGUAGE_AXES = (
    Axis("flatness", "canonical_sharpness", "log", math.nan, math.nan),
    Axis("norm", "context_sensitivity", "log", math.nan, math.nan),
    Axis("generalization", "excess_bits", "log", math.nan, math.nan),
)
"""The axes, without the references, which `suite.commands.frozen_references` makes."""

PROVISIONAL = (
    Axis("flatness", "canonical_sharpness", "log", 0.27, 0.23, provisional=f"{WHY}, values of adaptive_sharpness"),
    Axis("norm", "context_sensitivity", "log", 2.8, 2.1, provisional=WHY),
    Axis("generalization", "excess_bits", "log", 0.69, 0.42, provisional=WHY),
)
"""The axes, with the worst and the best of three runs on one seed, which the docstring names."""

DECILES = 10

ORDER, LEAST_TARGET = 2, 0.05
"""The target loss on a text: the entropy given so many tokens before, in nats, and never less than so many."""

DATA = ("grammar", "text")
MEASURES: dict[int, tuple[str, ...]] = {
    MEASURED: ("canonical_sharpness", "l2_norm", "distance_from_initialization"),
    CURVED: ("lambda_max", "hessian_trace"),
}
"""By the number of windows that they are taken on."""

REPORTED = ("copy_accuracy", "bracket_accuracy", "frequent_excess", "rare_excess", "lambda_max", "hessian_trace")


Predict = Callable[[Tensor], Tensor]
"""Token numbers [n, T] -> logarithms [n, T, vocabulary] of the probabilities of the next token."""


@functools.cache
def language() -> Grammar:
    """The language of `tiny_lm`: one for all seeds."""
    noise = torch.randn(WORDS, WORDS, generator=torch_stream("tiny_lm", "language"), dtype=torch.float64)
    return Grammar((2 * noise).exp())


def token_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of logits [n, T, vocabulary] for the next tokens [n, T]."""
    return cross_entropy(outputs.flatten(0, 1), targets.flatten())


class ClassesFirst(nn.Module):
    """A language model whose logits are [n, vocabulary, T], as torch's cross-entropy and the measures take them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).transpose(1, 2)


@torch.no_grad()
def log_probabilities(model: nn.Module, x: Tensor) -> Tensor:
    """Logarithms [n, T, vocabulary] of the predicted probabilities for token numbers [n, T], in double precision."""
    return torch.cat([model(part).double().log_softmax(2) for part in torch.split(x, MOST_AT_ONCE)])


def context_sensitivity(predict: Predict, x: Tensor, stream: torch.Generator) -> float:
    """By how much one replaced token changes the predictions from its place on.

    The total variation between predictions before and after, summed over the places from the replaced one to the end of
    the window; the mean over windows and `REPLACED` draws of the place (uniform) and the new token (from `x` itself).

    Args:
        predict: the predictions.
        x: token numbers [n, T].
        stream: of the draws, on the CPU.
    """
    before, (n, length) = predict(x).exp(), x.shape
    rows, total = torch.arange(n), 0.0
    for _ in range(REPLACED):
        places = torch.randint(length, (n,), generator=stream)
        tokens = x.flatten()[torch.randint(x.numel(), (n,), generator=stream).to(x.device)]
        changed = x.clone()
        changed[rows, places] = tokens
        variation = (predict(changed).exp() - before).abs().sum(2) / 2
        total += float((variation * (torch.arange(length) >= places[:, None]).to(x.device)).sum()) / n
    return total / REPLACED


def half_of_the_text(law: Tensor) -> int:
    """How many of the most frequent tokens, in the order of `law`, make up half of all."""
    return int((law.cumsum(0) < law.sum() / 2).sum()) + 1


def language_measures(solution: Solution) -> tuple[dict[str, float], Predict]:
    """What is measured on any text; and the predictions of the solution, as logarithms."""
    train, test = solution.problem.train, solution.problem.required_test
    model, initial = ClassesFirst(solution.model), {f"model.{name}": v for name, v in solution.initial.items()}
    values: dict[str, float] = {}
    for windows, names in MEASURES.items():
        part = Split(train.x[:windows], train.y[:windows])
        values |= measure(model, part, names, initial=initial, matched_loss=None)
    predict = functools.partial(log_probabilities, solution.model)
    stream = torch_stream("tiny_lm", "replaced tokens")
    logs = predict(test.x).gather(2, test.y[:, :, None])
    return values | {
        "context_sensitivity": context_sensitivity(predict, test.x[:MEASURED], stream),
        "test_bits": -float(logs.mean()) / math.log(2),
    }, predict


@task
def tiny_lm(data: str = "grammar") -> Task:
    """What does a small language model know beyond the loss that it was trained to?

    Claim. At equal training loss language models differ in what they know of other text, and the flatter minimum knows
    more (Liu et al. 2023, arXiv:2210.14199). Frequent words are learned before rare ones, by gradient descent far more
    so than by Adam (Kunstner et al. 2024, arXiv:2402.19449). Transformers prefer functions of low sensitivity, in which
    one token of the context changes little (Vasudeva et al. 2024, arXiv:2403.06925). None of it is a theorem here: the
    text alone is known exactly.

    Data. Text of a grammar (`suite.oracles.grammar`): 100 words whose frequencies follow Zipf's law, each drawn given
    the one before it; brackets of three kinds, nested up to four deep, of which the right one must close; and copies,
    ``: w1 w2 w3 ; w1 w2 w3 .``, of one to six words. 1,024 windows of 64 tokens for training, 256 for validation, 512
    for the test; the seed draws the texts, the language is the same for all. Model: a causal transformer with two
    pre-norm blocks of width 64, four heads, hidden width 192 and learned positions, 102,000 parameters. Cross-entropy
    of every next token, batches of 16 windows, float32.

    Target. 2.40 nats per token, the entropy of the text: who knows the grammar reaches it, and so does who knows half
    the grammar and remembers the text. It is looked at after every epoch, and the step size does not decay before: over
    two epochs of decay the loss falls by another 0.2 nats, and solutions would not be compared at equal loss.
    Hyper-parameters are chosen by validation loss.

    Oracle. The state of the grammar (open brackets, the words to copy, the last word) follows from the text so far, so
    the law of every next token is known, and with it the entropy per token: 2.402 nats (3.466 bits) in the windows, and
    2.338 nats (3.374 bits) in an endless text, from the stationary law of a Markov chain.

    Flatness axis. `canonical_sharpness`, for which queries and keys, values and outputs, norms, the residual stream and
    what all logits have in common have no free scale. Norm axis. `context_sensitivity`: the total variation that one
    replaced token causes in all predictions that follow, a seminorm of the function and not of weights. Generalization
    axis. `excess_bits`: held-out bits per token over the entropy, as the mean over the test text of the relative
    entropy of the true law to the prediction. No temperature is matched, unlike in image tasks: near the entropy of the
    text the loss hardly depends on it (a factor of 0.79 raised a loss of 2.38 by 0.1 nats).

    The references are provisional until ``lowlands references --all`` has made those of the first published results:
    the worst and the best of three runs on one seed. These runs (step size; adaptive_sharpness, context_sensitivity,
    excess_bits; copy_accuracy): Adam (0.003) 0.27, 2.5, 0.69; 0.65. Heavy ball (0.1) 0.26, 2.8, 0.66; 0.71. Muon (0.02)
    0.23, 2.1, 0.42; 0.89. Architectures enter by Adam: with 0.003 `gru`, a recurrent network of 96,000 parameters, is
    at the target loss after 768 steps (12 epochs, half a minute of one core; one seed), with 0.12, 3.1, 0.61; 0.67:
    flatter, more sensitive, and no worse in what it knows.

    Reported, not scored. `copy_accuracy`: the share of tokens in second halves of copies that are predicted rightly;
    `bracket_accuracy`: how often, where a bracket closes, the right one is the likeliest of all closing ones;
    `frequent_excess` and `rare_excess`: bits over the truth of new words, among those that make up half of the text and
    among the others; `test_bits`. The curve shows the excess of new words by decile of frequency.

    Variant. ``[data=text]`` trains on the bytes of any text that ``--data FILE`` names, in windows of 64. Its law is
    not known, so nothing is scored: `test_bits` is reported, and by frequency `frequent_bits` and `rare_bits`, of the
    bytes that make up half of the text and of the others. The target loss is the entropy of a byte given the two before
    it, by their frequencies in the text, and 0.05 nats at least.
    """
    require_choice("data", data, DATA)
    return _on_text() if data == "text" else _on_grammar()


def _language_task(vocabulary: int, windows: int, target: float) -> Task:
    """What `tiny_lm` is on any text, without data and measures: so many tokens, windows for training, nats to reach."""

    def model(problem: Problem, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("tiny_lm", seed, "init"))
            return CausalTransformer(vocabulary, CONTEXT)

    def nothing(*_: object) -> Any:
        raise NotImplementedError

    epoch = math.ceil(windows / BATCH)
    space = {"lr": LogUniform(3e-4, 1e-2)}
    return Task(
        problem=nothing,
        model=model,
        loss=token_cross_entropy,
        target=Target(target, budget=EPOCHS * epoch, check_every=epoch),
        measure=nothing,
        selection="validation_loss",
        batch_size=BATCH,
        dtype=torch.float32,
        batched=False,
        seconds=60.0,
        interface=ArchitectureInterface((CONTEXT,), vocabulary, torch.optim.Adam, space, tokens=True),
    )


def _on_grammar() -> Task:
    """`tiny_lm` on texts of the grammar."""

    def problem(seed: int) -> Problem:
        windows = language().sample(sum(SIZES), CONTEXT, torch_stream("tiny_lm", seed, "data"))
        train, validation, test = map(next_tokens, torch.split(windows, list(SIZES)))
        return Problem(train, validation, test)

    def oracle(problem: Problem, seed: int) -> Oracle:
        grammar = language()
        bits = {"text_bits": grammar.mean_entropy(CONTEXT), "entropy_rate": grammar.entropy_rate}
        return Oracle(values={name: nats / math.log(2) for name, nats in bits.items()})

    def measure(solution: Solution) -> dict[str, float]:
        values, predict = language_measures(solution)
        test = solution.problem.required_test
        known, logs = Known(test), predict(test.x).cpu()
        return values | known.measures(logs)

    def curves(solution: Solution) -> dict[str, Curve]:
        known = Known(solution.problem.required_test)
        by_decile = known.word_excess(log_probabilities(solution.model, known.test.x).cpu(), DECILES)
        x = [float(k) for k in range(1, DECILES + 1)]
        label = "decile of frequency (1: most frequent)"
        return {"excess": Curve(x, by_decile, label, "excess bits of new words", oracle=[0.0] * DECILES)}

    return replace(
        _language_task(language().tokens, SIZES[0], TARGET_LOSS),
        problem=problem,
        measure=measure,
        axes=frozen_axes("tiny_lm", LANGUAGE_AXES) or PROVISIONAL,
        oracle=oracle,
        reported=REPORTED,
        curves=curves,
    )


class Known:
    """What the grammar knows of the text [n, T] of a part of the data."""

    def __init__(self, test: Split) -> None:
        self.grammar = language()
        self.test = Split(test.x.cpu(), test.y.cpu())
        self.laws, self.modes = self.grammar.laws(self.test.x)

    def _at_targets(self, values: Tensor) -> Tensor:
        """Of values [n, T, tokens], those of the tokens that follow, [n, T]."""
        return values.gather(2, self.test.y[:, :, None])[:, :, 0]

    def measures(self, logs: Tensor) -> dict[str, float]:
        """What predictions, as logarithms [n, T, tokens], have to do with the truth."""
        grammar, y = self.grammar, self.test.y
        relative_entropy = (torch.special.xlogy(self.laws, self.laws) - self.laws * logs).sum(2)
        copied = self.modes == COPYING
        closing = (y >= grammar.closes) & (y < grammar.colon)
        likeliest = logs[:, :, grammar.closes : grammar.colon].argmax(2) + grammar.closes
        frequent, rare = self.word_excess(logs, 0)
        return {
            "excess_bits": float(relative_entropy.mean()) / math.log(2),
            "copy_accuracy": float((logs.argmax(2) == y)[copied].double().mean()),
            "bracket_accuracy": float((likeliest == y)[closing].double().mean()),
            "frequent_excess": frequent,
            "rare_excess": rare,
        }

    def word_excess(self, logs: Tensor, parts: int) -> list[float]:
        """Mean bits over the truth of new words, in so many parts of equally many words, by falling frequency.

        In 0 parts: of the words that make up half of the text, and of the others.
        """
        grammar, y = self.grammar, self.test.y
        new = (y < grammar.words) & (self.modes != COPYING)
        excess = (self._at_targets(self.laws).log() - self._at_targets(logs))[new] / math.log(2)
        word = y[new]
        group = word * parts // grammar.words if parts else (word >= half_of_the_text(grammar.law)).long()
        return [float(excess[group == k].mean()) for k in range(parts or 2)]


def _on_text() -> Task:
    """`tiny_lm` on the text that the user names."""
    text = load_text()
    windows = text.tokens.unfold(0, CONTEXT + 1, CONTEXT + 1)
    target = max(LEAST_TARGET, text.conditional_entropy(ORDER))
    frequent = half_of_the_text(torch.bincount(text.tokens).double())

    def measure(solution: Solution) -> dict[str, float]:
        values, predict = language_measures(solution)
        test = solution.problem.required_test
        bits = -predict(test.x).gather(2, test.y[:, :, None])[:, :, 0] / math.log(2)
        parts = {"frequent_bits": test.y < frequent, "rare_bits": test.y >= frequent}
        return values | {name: float(bits[part].mean()) for name, part in parts.items()}

    return replace(
        _language_task(text.vocabulary, min(SIZES[0], len(windows) * SIZES[0] // sum(SIZES)), target),
        problem=lambda seed: windows_split(windows, "tiny_lm", seed, SIZES),
        measure=measure,
        reported=("test_bits", "frequent_bits", "rare_bits", "canonical_sharpness", "context_sensitivity"),
    )
