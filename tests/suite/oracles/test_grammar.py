"""The grammar: texts by an independent parser, probabilities by hand, entropies by enumeration and by Monte Carlo."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from suite.oracles.grammar import COPYING, Grammar


def grammar(words: int = 4, seed: int = 0, **more: float) -> Grammar:
    noise = torch.randn(words, words, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Grammar(noise.exp(), **more)  # type: ignore[arg-type]


SMALL = grammar(3, kinds=2, depth=2, longest=2)


def information(language: Grammar, tokens: Tensor) -> Tensor:
    """Nats of every token [n, T] after the first."""
    laws, _ = language.laws(tokens[:, :-1])
    return -laws.gather(2, tokens[:, 1:, None])[:, :, 0].log()


def test_the_words_are_a_chain_with_zipfs_law_nearest_to_the_affinities() -> None:
    language = grammar(7)
    zipf = torch.tensor([1 / k for k in range(1, 8)], dtype=torch.float64)
    zipf /= zipf.sum()
    joint = zipf[:, None] * language.follows
    assert torch.allclose(joint.sum(0), zipf, rtol=1e-12)
    assert torch.allclose(joint.sum(1), zipf, rtol=1e-12)
    # Nearest in relative entropy with given marginals: what it was multiplied with is a function of i times one of j.
    factor = (joint / (zipf[:, None] * language.affinities * zipf)).log()
    assert torch.allclose(factor - factor[:1] - factor[:, :1] + factor[0, 0], torch.zeros(7, 7, dtype=torch.float64))


def test_a_probability_by_hand() -> None:
    language = grammar(5, kinds=3)
    zipf, follows = language.law, language.follows
    opens, closes, colon, begin = 5, 8, 11, 14
    text = [begin, 2, opens + 1, colon, 0, 3, colon + 1, 0, 3, colon + 2, closes + 1, 4]
    a, b, c, r = language.opening, language.closing, language.copying, language.going_on
    probability = (
        (1 - a - c) * zipf[2]
        * a / 3
        * c
        * follows[2, 0]
        * r * follows[0, 3]
        * (1 - r)
        * 1 * 1 * 1
        * b
        * (1 - a - c) * follows[3, 4]
    )  # fmt: skip
    assert float(information(language, torch.tensor([text])).sum()) == pytest.approx(-math.log(probability), rel=1e-12)


def test_entropy_of_all_texts_of_a_length_by_enumeration() -> None:
    texts, chances = torch.tensor([[SMALL.begin]]), torch.ones(1, dtype=torch.float64)
    for length in range(1, 6):
        joint = chances[:, None] * SMALL.laws(texts)[0][:, -1]
        rows, tokens = torch.nonzero(joint, as_tuple=True)
        texts, chances = torch.cat([texts[rows], tokens[:, None]], 1), joint[rows, tokens]
        assert float(chances.sum()) == pytest.approx(1, rel=1e-12)
        assert SMALL.mean_entropy(length) == pytest.approx(float(torch.special.entr(chances).sum()) / length, rel=1e-10)
    assert len(texts) > 1_000


@pytest.mark.parametrize("language", [SMALL, grammar(30, seed=1)])
def test_entropy_rate_is_the_information_of_long_texts(language: Grammar) -> None:
    texts = language.sample(400, 400, torch.Generator().manual_seed(0))
    late = information(language, texts)[:, 100:].mean(1)
    error = float(late.std()) / math.sqrt(len(late))
    assert error < 0.01 * language.entropy_rate
    assert abs(float(late.mean()) - language.entropy_rate) < 4 * error
    step = 400 * language.mean_entropy(400) - 399 * language.mean_entropy(399)
    assert step == pytest.approx(language.entropy_rate, rel=1e-6)


def test_every_text_is_of_the_grammar() -> None:
    language = grammar(6, seed=2)
    texts = language.sample(200, 120, torch.Generator().manual_seed(1))
    _, modes = language.laws(texts)
    words, opens, closes = "abcdef", "([{", ")]}"
    alphabet = words + opens + closes + ":;." + "^"
    for row, mode in zip(texts.tolist(), modes.tolist(), strict=True):
        text = "".join(alphabet[token] for token in row)
        assert text.startswith("^")
        assert text.count("^") == 1
        for match in re.finditer(r":([a-f]*);([a-f]*)\.", text):
            assert 1 <= len(match[1]) <= 6
            assert match[1] == match[2]
            assert all(mode[place] == COPYING for place in range(match.start(2) - 1, match.end() - 1))
        stack: list[str] = []
        for token in re.sub(r":[^.]*(\.|$)", "", text):
            if token in opens:
                stack.append(token)
                assert len(stack) <= 4
            elif token in closes:
                assert opens.index(stack.pop()) == closes.index(token)
    assert bool((modes == COPYING).any())
    assert {int(token) for token in texts.unique()} == set(range(len(alphabet)))
