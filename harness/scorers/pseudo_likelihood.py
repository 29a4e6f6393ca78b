"""Scores from one fixed set of masks: everything hidden at once, one position at a time, one word's rest at a time."""

from __future__ import annotations

import numpy as np

from harness.records import Kind
from harness.rows import ScoringError
from harness.scorers import Item, Scored, Steps, rows_of


class OnePass:
    """Σ_j log p(y_j | x, everything of y hidden): the exact likelihood of writing y in one parallel pass.

    One row per item, shared by all items of the same prompt and length.
    """

    kind: Kind = "exact"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed  # every scorer is built with the same arguments; this one has nothing to choose

    def steps(self, item: Item) -> Steps:
        """One row; see `Scorer.steps`."""
        full = yield rows_of(item, np.ones((1, len(item.target)), bool), ranked=1)
        return Scored(float(full.logprob_NL.sum()), 0.0, bool(full.argmax_RL.all()), 1, self.kind)


class PseudoLogLikelihood:
    """Σ_j log p(y_j | x, y without y_j) (Salazar et al. 2020, arXiv 1910.14659): L rows; not a probability of y.

    For a one-token target it is the exact conditional likelihood.
    """

    kind: Kind = "pseudo"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed

    def hidden_LL(self, item: Item) -> np.ndarray:
        """Row j hides what is not seen when token j is scored."""
        return np.eye(len(item.target), dtype=bool)

    def steps(self, item: Item) -> Steps:
        """The all-hidden row for the greedy flag, then L rows; see `Scorer.steps`."""
        length = len(item.target)
        full_1L = np.ones((1, length), bool)
        if length == 1:
            values = yield rows_of(item, full_1L, ranked=1)
            return Scored(float(values.logprob_NL[0, 0]), 0.0, bool(values.argmax_RL.all()), 1, "exact")
        hidden_NL = np.concatenate([full_1L, self.hidden_LL(item)])
        wanted_NL = np.concatenate([full_1L, np.eye(length, dtype=bool)])
        values = yield rows_of(item, hidden_NL, wanted_NL, ranked=1)
        total = float(np.diagonal(values.logprob_NL[1:]).sum())
        return Scored(total, 0.0, bool(values.argmax_RL.all()), length + 1, self.kind)


class WordPseudoLogLikelihood(PseudoLogLikelihood):
    """As `pll`, but a token is scored with the later tokens of its own word hidden, too (PLL-word-l2r).

    Kauf & Ivanova 2023, arXiv 2305.10588: plain PLL is inflated for words of several tokens, whose rest gives them away.
    Words are the tokenizer's own (its pre-tokenizer); scripts without spaces have long ones.
    """

    def hidden_LL(self, item: Item) -> np.ndarray:
        """Row j hides token j and the later tokens of its word."""
        if len(item.words) != len(item.target):
            raise ScoringError("scorer=pll_word_l2r needs a tokenizer that tells words apart (a fast tokenizer).")
        word_L = np.asarray(item.words)
        return np.triu(word_L[:, None] == word_L[None, :])
