"""`tiny_lm`: its network against torch's own, its measures on predictors that are known, its text variant."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite.entries import load
from suite.entries.entry import accepts, bind
from suite.errors import InputError
from suite.measures import measure
from suite.models.language import CausalTransformer
from suite.submission import Submission
from suite.task import Oracle, Solution, Split, Task
from suite.tasks import find_task
from suite.tasks import sequences_language as language_task
from suite.tasks.sequences_language import ClassesFirst, Known, context_sensitivity, language, log_probabilities
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import trained

ARCHITECTURES = ("gru", "transformer_small")


def network(seed: int = 0, scale: float = 1.0) -> CausalTransformer:
    task = find_task("tiny_lm")
    model = task.model(task.problem(seed), seed)
    assert isinstance(model, CausalTransformer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.eval()


def windows(count: int) -> Split:
    task = find_task("tiny_lm")
    train = task.problem(0).train
    return Split(train.x[:count], train.y[:count])


# -- the network ------------------------------------------------------------------------------------------------------


def test_the_network_is_torchs_own_encoder_with_a_causal_mask() -> None:
    model = network().double()
    layers = nn.ModuleList(
        nn.TransformerEncoderLayer(64, 4, 192, 0.0, "gelu", batch_first=True, norm_first=True).double().eval()
        for _ in range(2)
    )
    for layer, block in zip(layers, model.blocks, strict=False):
        assert isinstance(layer, nn.TransformerEncoderLayer)
        norm, attention = block.attend  # type: ignore[union-attr, misc]
        norm2, first, _, second = block.think  # type: ignore[union-attr, misc]
        layer.norm1.load_state_dict(norm.state_dict())
        layer.norm2.load_state_dict(norm2.state_dict())
        layer.linear1.load_state_dict(first.state_dict())
        layer.linear2.load_state_dict(second.state_dict())
        layer.self_attn.out_proj.load_state_dict(attention.out.state_dict())
        layer.self_attn.in_proj_weight.data = attention.queries_keys_values.weight.data
        layer.self_attn.in_proj_bias.data = attention.queries_keys_values.bias.data
    x = windows(3).x[:, :20]
    mask = nn.Transformer.generate_square_subsequent_mask(20, dtype=torch.float64)
    with torch.no_grad():
        stream = model.tokens(x) + model.positions[:20]
        for layer in layers:
            stream = layer(stream, src_mask=mask, is_causal=True)
        theirs = model.head(model.blocks[-1](stream))
        assert torch.allclose(model(x), theirs, atol=1e-12)


def test_no_place_sees_later_tokens_and_the_size_is_as_stated() -> None:
    model, x = network(), windows(2).x
    changed = x.clone()
    changed[:, 40:] = x[:, :24]
    with torch.no_grad():
        one, other = model(x), model(changed)
    assert torch.allclose(one[:, :40], other[:, :40], atol=1e-6)
    assert not torch.allclose(one[:, 40:], other[:, 40:], atol=1e-6)
    assert sum(parameter.numel() for parameter in model.parameters()) == 101_870


def test_flatness_is_canonical_for_the_transformer() -> None:
    """Queries against keys, values against outputs, gains of norms against what reads them, all logits at once."""
    model, data = network(scale=1.5).double(), windows(4)
    wrapped = ClassesFirst(model)

    def sharpness() -> Tensor:
        value = measure(wrapped, data, ["canonical_sharpness"], matched_loss=None)["canonical_sharpness"]
        assert "Not canonical" not in value.note
        return torch.tensor(float(value), dtype=torch.float64)

    before, logits = sharpness(), model(data.x).detach()
    norm, attention = model.blocks[0].attend  # type: ignore[union-attr, misc]
    mixed, outer = attention.queries_keys_values, attention.out
    with torch.no_grad():
        for part, factor in ((slice(0, 64), 5.0), (slice(64, 128), 0.2), (slice(128, 192), 3.0)):
            mixed.weight[part] *= factor
            mixed.bias[part] *= factor
        outer.weight /= 3
        norm.weight *= 2
        norm.bias *= 2
        mixed.weight /= 2
        model.head.weight += 0.1  # type: ignore[union-attr, operator]
    assert torch.allclose(model(data.x).log_softmax(-1), logits.log_softmax(-1), atol=1e-10)
    assert torch.allclose(sharpness(), before, rtol=1e-6)


# -- measures of predictors that are known ----------------------------------------------------------------------------


def test_the_target_loss_is_the_entropy_of_the_text() -> None:
    task = find_task("tiny_lm")
    assert task.target.loss == pytest.approx(language().mean_entropy(64), abs=0.005)
    oracle = task.oracle(task.problem(0), 0)  # type: ignore[misc]
    assert oracle.values["text_bits"] == pytest.approx(2.402 / math.log(2), abs=1e-3)
    assert oracle.values["entropy_rate"] == pytest.approx(2.338 / math.log(2), abs=1e-3)


def test_the_truth_has_no_excess_and_equal_odds_have_all() -> None:
    test = windows(40)
    known = Known(test)
    truth = known.measures(known.laws.clamp_min(1e-300).log())
    assert truth["excess_bits"] == pytest.approx(0, abs=1e-12)
    assert truth["frequent_excess"] == pytest.approx(0, abs=1e-12)
    assert truth["rare_excess"] == pytest.approx(0, abs=1e-12)
    assert truth["copy_accuracy"] == truth["bracket_accuracy"] == 1
    alike = torch.full_like(known.laws, 1 / language().tokens).log()
    entropy = float(torch.special.entr(known.laws).sum(2).mean()) / math.log(2)
    assert known.measures(alike)["excess_bits"] == pytest.approx(math.log2(language().tokens) - entropy)
    assert known.measures(alike)["copy_accuracy"] < 0.3


def test_excess_by_frequency_against_one_word_at_a_time() -> None:
    test = windows(40)
    known = Known(test)
    logs = log_probabilities(network(scale=3.0), test.x)
    total, count = [0.0] * 10, [0] * 10
    for n in range(40):
        for t in range(64):
            token = int(test.y[n, t])
            if token < 100 and int(known.modes[n, t]) != 2:
                total[token // 10] += math.log2(known.laws[n, t, token]) - float(logs[n, t, token]) / math.log(2)
                count[token // 10] += 1
    assert known.word_excess(logs, 10) == pytest.approx([a / b for a, b in zip(total, count, strict=True)])
    # 1 + 1/2 + ... + 1/8 is 2.718, and half of the sum to 1/100 is 2.594.
    assert language_task.half_of_the_text(language().law) == 8


def test_sensitivity_of_predictors_that_are_known() -> None:
    x = windows(400).x
    law = torch.full((*x.shape, 110), -math.log(110), dtype=torch.float64)
    assert context_sensitivity(lambda tokens: law, x, torch.Generator().manual_seed(0)) == 0
    # A predictor that repeats the last token changes at one place, if the token is another one.
    frequencies = torch.bincount(x.flatten(), minlength=110).double() / x.numel()
    expected = 1 - float(frequencies.square().sum())

    def last(tokens: Tensor) -> Tensor:
        return nn.functional.one_hot(tokens, 110).double().log()

    found = context_sensitivity(last, x, torch.Generator().manual_seed(0))
    error = math.sqrt(expected * (1 - expected) / (400 * language_task.REPLACED))
    assert abs(found - expected) < 4 * error
    # One that repeats the first token of the window changes everywhere if that one is replaced: once in 64 draws.
    first = context_sensitivity(
        lambda tokens: last(tokens[:, :1].expand_as(tokens)), x[:, 1:], torch.Generator().manual_seed(1)
    )
    chance = 1 - float((torch.bincount(x[:, 1], minlength=110) * frequencies).sum() / 400)
    assert first == pytest.approx(chance, rel=4 * math.sqrt(63 / (400 * language_task.REPLACED)))


# -- architectures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_of_tokens_are_trained(name: str) -> None:
    submission = load(name).submission
    task = find_task("tiny_lm")
    assert accepts(task, submission)
    assert not accepts(find_task("teacher_student"), submission)
    entry = bind(submission, replace(task, target=replace(task.target, budget=4, loss=0.0, check_every=4)))
    problem = replace(task.problem(0), train=windows(32))
    (result,) = train(entry.task, [TrainingRun(problem, 0, 0, {"lr": 3e-3})], entry.make)
    losses = [loss for _, loss in result.history]
    assert losses[-1] < losses[0] < 5.2
    assert 80_000 < sum(weight.numel() for weight in result.weights.values()) < 120_000


def test_architectures_of_another_kind_are_refused_in_a_sentence() -> None:
    task = find_task("tiny_lm")
    assert not accepts(task, load("mlp").submission)
    with pytest.raises(InputError, match="has token numbers, which 'mlp' does not read"):
        bind(load("mlp").submission, task)
    with pytest.raises(InputError, match="has real inputs, which 'gru' does not read"):
        bind(load("gru").submission, find_task("teacher_student"))

    def flat(vocabulary: int, context: int) -> nn.Module:
        return nn.Embedding(vocabulary, 3)

    entry = bind(Submission(name="flat", architecture=flat), task)
    with pytest.raises(InputError, match=r"shape \(2, 64, 3\), not \(2, 64, 110\)"):
        entry.task.model(task.problem(0), 0)


# -- any text ---------------------------------------------------------------------------------------------------------


def _text_task(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Task:
    path.write_text(text)
    monkeypatch.setenv("LOWLANDS_DATA", str(path))
    return find_task("tiny_lm[data=text]")


def test_any_text_is_trained_on_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = _text_task(tmp_path / "text", "the quick brown fox jumps over the lazy dog. " * 60, monkeypatch)
    assert not task.axes
    assert task.interface is not None
    assert task.interface.outputs == 28
    assert task.target.loss == 0.05  # two letters determine the next one
    task = replace(task, target=replace(task.target, check_every=4))
    (values,) = trained(task, "adam", 3e-3, seeds=1)
    assert values["test_bits"] < 1
    assert set(task.reported) <= set(values)
    assert all(math.isfinite(value) for value in values.values())


def test_a_text_that_is_too_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = _text_task(tmp_path / "text", "short" * 20, monkeypatch)
    with pytest.raises(InputError, match="gives 1 windows of 65 tokens; it needs 1040 bytes"):
        task.problem(0)


@pytest.mark.slow
def test_adam_learns_the_grammar_and_to_copy() -> None:
    task = find_task("tiny_lm")
    problem = task.problem(0)
    (result,) = train(task, [TrainingRun(problem, 0, 0, {"lr": 3e-3})], torch.optim.Adam)
    assert result.converged
    model = task.model(problem, 0)
    model.load_state_dict(result.weights)
    values = task.measure(Solution(model.eval(), result.initial, problem, Oracle(), 0))
    assert 0 < values["excess_bits"] < 0.8
    assert values["copy_accuracy"] > 0.6
    assert values["frequent_excess"] < values["rare_excess"]


@pytest.mark.slow
def test_a_recurrent_network_reaches_the_target_loss_too() -> None:
    entry = bind(load("gru").submission, find_task("tiny_lm"))
    problem = entry.task.problem(0)
    (result,) = train(entry.task, [TrainingRun(problem, 0, 0, {"lr": 3e-3})], entry.make)
    assert result.converged
    model = entry.task.model(problem, 0)
    model.load_state_dict(result.weights)
    values = entry.task.measure(Solution(model.eval(), result.initial, problem, Oracle(), 0))
    assert 0 < values["excess_bits"] < 0.8
    assert values["copy_accuracy"] > 0.5
