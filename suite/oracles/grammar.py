"""A stochastic grammar of words, brackets and copies: its texts, their exact probabilities, and its exact entropy.

What the next token may be follows from the text so far, so every text has one derivation, and its probability is the
product of those of its tokens. Three structures of growing reach are laid over each other:

    words       the next word depends on the last one: a Markov chain whose stationary law is Zipf's
    brackets    of several kinds, nested up to a depth: a closing bracket is of the kind of the last open one
    copies      ``: w1 w2 w3 ; w1 w2 w3 .`` repeats words that were just drawn, however many there were

A text begins with the token `begin`, no open bracket and no last word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

PLAIN, RECORDING, COPYING = range(3)
"""What a text is in: plain text, the first half of a copy, the second half."""

BALANCING_STEPS = 2_000
"""Of Sinkhorn's iteration at most; it ends when the law is met to rounding."""


@dataclass(frozen=True)
class Grammar:
    """The law of a text. Tokens: words, opening brackets, closing brackets, `:`, `;`, `.`, and `begin`.

    Attributes:
        affinities: [words, words]: how much more often word j follows word i than chance has it, before the rows and
            columns are balanced so that Zipf's law is stationary; positive.
        kinds: of brackets.
        depth: so many brackets are open at most.
        longest: so many words are copied at most.
        opening, closing, copying: probabilities, outside of copies, that a bracket opens (where fewer than `depth` are
            open), that the last one closes (where one is open), and that a copy begins. Otherwise a word follows.
        going_on: probability that a further word is to be copied, from the second to the longest.
    """

    affinities: Tensor
    kinds: int = 3
    depth: int = 4
    longest: int = 6
    opening: float = 0.08
    closing: float = 0.12
    copying: float = 0.05
    going_on: float = 0.75

    @property
    def words(self) -> int:
        """How many words there are; they are the first tokens, by falling frequency."""
        return len(self.affinities)

    @property
    def tokens(self) -> int:
        """The size of the vocabulary."""
        return self.begin + 1

    @property
    def opens(self) -> int:
        """The first opening bracket; one of each kind follows."""
        return self.words

    @property
    def closes(self) -> int:
        """The first closing bracket; one of each kind follows."""
        return self.words + self.kinds

    @property
    def colon(self) -> int:
        """The token that begins what is copied; that between the halves and that at the end follow it."""
        return self.words + 2 * self.kinds

    @property
    def begin(self) -> int:
        """The token that a text begins with, and that never follows."""
        return self.colon + 3

    @cached_property
    def law(self) -> Tensor:
        """Zipf's: probabilities [words] in proportion to 1, 1/2, 1/3, …"""
        weight = 1 / torch.arange(1, self.words + 1, dtype=torch.float64)
        return weight / weight.sum()

    @cached_property
    def follows(self) -> Tensor:
        """[words, words]: the probability that word j follows word i. Zipf's law is stationary.

        The joint law of neighbours is the one with both marginals Zipf's that is nearest to the independent one times
        the affinities, in relative entropy (Sinkhorn's iteration).
        """
        joint = self.law[:, None] * self.affinities * self.law
        for _ in range(BALANCING_STEPS):
            joint = joint * (self.law / joint.sum(0))
            rows = joint.sum(1)
            joint = joint * (self.law / rows)[:, None]
            if torch.allclose(rows, self.law, rtol=1e-14, atol=0):
                break
        return joint / joint.sum(1, keepdim=True)

    # -- entropies, in nats -------------------------------------------------------------------------------------------

    @cached_property
    def word_entropy(self) -> float:
        """The entropy of a word whose predecessor is known."""
        return float(self.law @ torch.special.entr(self.follows).sum(1))

    @cached_property
    def _structure(self) -> tuple[Tensor, Tensor, Tensor]:
        """The chain of what a text is in, without its words and kinds.

        Returns:
            Transitions [s, s], the entropy of the next token [s] where the last word is known, and the probability
            [s] that the next token is a new word. State 0 is the start.
        """
        # (open brackets, what the text is in, words recorded, words copied)
        states = [
            (d, *rest)
            for d in range(self.depth + 1)
            for rest in (
                (PLAIN, 0, 0),
                *((RECORDING, m, 0) for m in range(self.longest + 1)),
                *((COPYING, m, j) for m in range(1, self.longest + 1) for j in range(m + 1)),
            )
        ]
        number = {state: place for place, state in enumerate(states)}
        move = torch.zeros(len(states), len(states), dtype=torch.float64)
        entropy, word = (torch.zeros(len(states), dtype=torch.float64) for _ in range(2))
        for state, at in number.items():
            d, mode, m, j = state
            if mode == PLAIN:
                opening, closing = self.opening * (d < self.depth), self.closing * (d > 0)
                word[at] = 1 - opening - closing - self.copying
                ways = [(state, float(word[at])), ((d, RECORDING, 0, 0), self.copying)]
                ways += [((d + 1, PLAIN, 0, 0), opening)] if opening else []
                ways += [((d - 1, PLAIN, 0, 0), closing)] if closing else []
                entropy[at] = opening * math.log(self.kinds)
            elif mode == RECORDING:
                word[at] = 1.0 if m == 0 else self.going_on * (m < self.longest)
                ways = [((d, RECORDING, m + 1, 0), float(word[at]))] if word[at] else []
                ways += [((d, COPYING, m, 0), 1 - float(word[at]))] if m else []
            else:
                ways = [((d, COPYING, m, j + 1) if j < m else (d, PLAIN, 0, 0), 1.0)]
            for target, chance in ways:
                move[at, number[target]] = chance
                entropy[at] -= chance * math.log(chance)
        return move, entropy + word * self.word_entropy, word

    @cached_property
    def entropy_rate(self) -> float:
        """Nats per token of an endless text: the mean, under the stationary law of what it is in, of what follows."""
        move, entropy, _ = self._structure
        size = len(move)
        equations = torch.cat([move.T - torch.eye(size, dtype=move.dtype), torch.ones(1, size, dtype=move.dtype)])
        right = torch.zeros(size + 1, 1, dtype=move.dtype)
        right[-1] = 1
        stationary = torch.linalg.lstsq(equations, right).solution[:, 0]
        return float(stationary @ entropy)

    def mean_entropy(self, length: int) -> float:
        """Nats per token of the first `length` tokens after `begin`: their joint entropy over their number."""
        move, entropy, word = self._structure
        first = float(torch.special.entr(self.law).sum()) - self.word_entropy  # more, as nothing is known of it
        # By what a text is in: its probability, and that no word has come yet.
        chance, wordless = torch.zeros_like(entropy), torch.zeros_like(entropy)
        chance[0] = wordless[0] = 1
        total = 0.0
        for _ in range(length):
            total += float(chance @ entropy + first * (wordless @ word))
            chance, wordless = chance @ move, self._without_word(wordless)
        return total / length

    def _without_word(self, chance: Tensor) -> Tensor:
        """One step of the texts in which no word follows."""
        move, _, word = self._structure
        silent = move.clone()
        for state in torch.nonzero(word)[:, 0].tolist():
            # A word leads to the same state in plain text, to the next one in a copy, and nothing else leads there.
            target = state if move[state, state] > 0 else state + 1
            silent[state, target] = 0
        return chance @ silent

    # -- texts --------------------------------------------------------------------------------------------------------

    def sample(self, texts: int, length: int, stream: Generator) -> Tensor:
        """Tokens [texts, length + 1], of which the first is `begin`; `stream` is on the CPU."""
        state, columns = _State(self, texts), [torch.full((texts,), self.begin)]
        for _ in range(length):
            steps = state.next_law().cumsum(1)
            draws = torch.rand(texts, 1, generator=stream, dtype=torch.float64) * steps[:, -1:]
            columns.append(torch.searchsorted(steps, draws, right=True)[:, 0])
            state.advance(columns[-1])
        return torch.stack(columns, 1)

    def laws(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The exact law of every next token of texts that the grammar has drawn.

        Args:
            tokens: [n, length], the first of each `begin`.

        Returns:
            Probabilities [n, length, tokens] of what follows each token, and [n, length] which of `PLAIN`, `RECORDING`
            and `COPYING` the text is in after it.
        """
        state, laws, modes = _State(self, len(tokens)), [], []
        for place in range(tokens.shape[1]):
            if place:
                state.advance(tokens[:, place])
            laws.append(state.next_law())
            modes.append(state.mode.clone())
        return torch.stack(laws, 1), torch.stack(modes, 1)


class _State:
    """What n texts are in, and what the grammar remembers of them."""

    def __init__(self, grammar: Grammar, texts: int) -> None:
        self.grammar, self.rows = grammar, torch.arange(texts)
        self.last = torch.full((texts,), grammar.words)  # no word yet
        self.open = torch.zeros(texts, grammar.depth, dtype=torch.long)
        self.buffer = torch.zeros(texts, grammar.longest + 1, dtype=torch.long)
        self.depth, self.mode, self.recorded, self.copied = (torch.zeros(texts, dtype=torch.long) for _ in range(4))
        self.words = torch.cat([grammar.follows, grammar.law[None]])

    def next_law(self) -> Tensor:
        """Probabilities [n, tokens] of the next token."""
        g, rows = self.grammar, self.rows
        law = torch.zeros(len(rows), g.tokens, dtype=torch.float64)
        plain, recording, copying = (self.mode == mode for mode in (PLAIN, RECORDING, COPYING))
        opening = g.opening * (plain & (self.depth < g.depth)).double()
        closing = g.closing * (plain & (self.depth > 0)).double()
        colon = g.copying * plain.double()
        further = torch.where(self.recorded == 0, 1.0, g.going_on * (self.recorded < g.longest).double())
        word = torch.where(plain, 1 - opening - closing - colon, further * recording.double())
        law[:, : g.words] = word[:, None] * self.words[self.last]
        law[:, g.opens : g.closes] = opening[:, None] / g.kinds
        law[rows, g.closes + self.open[rows, (self.depth - 1).clamp_min(0)]] += closing
        law[:, g.colon] = colon
        law[:, g.colon + 1] = (1 - further) * recording.double()
        done = copying & (self.copied == self.recorded)
        law[rows, self.buffer[rows, self.copied]] += (copying & ~done).double()
        law[:, g.colon + 2] = done.double()
        return law

    def advance(self, token: Tensor) -> None:
        """Append a token [n] to each text; it must be one that may follow."""
        g, rows = self.grammar, self.rows
        is_word, is_copy = token < g.words, self.mode == COPYING
        recording = is_word & (self.mode == RECORDING)
        self.buffer[rows[recording], self.recorded[recording]] = token[recording]
        self.recorded += recording.long()
        self.copied += (is_word & is_copy).long()
        self.last = torch.where(is_word, token, self.last)
        opening = (token >= g.opens) & (token < g.closes)
        closing = (token >= g.closes) & (token < g.colon)
        self.open[rows[opening], self.depth[opening]] = token[opening] - g.opens
        self.depth += opening.long() - closing.long()
        for place, mode in enumerate((RECORDING, COPYING, PLAIN)):
            self.mode = torch.where(token == g.colon + place, mode, self.mode)
        begins = token == g.colon
        self.recorded, self.copied = (count.masked_fill(begins, 0) for count in (self.recorded, self.copied))
