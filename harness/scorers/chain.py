"""Chains: the exact likelihood of writing a target token by token in an order of the scorer's own.

Under a rule that fixes which position comes next from what has been written so far, log p(y | x) is the sum of one
conditional per position (DUEL, arXiv 2603.01367): L rows, no variance, and `greedy` says whether the rule with argmax
would have written the target.
"""

from __future__ import annotations

import numpy as np

from harness.records import Kind
from harness.scorers import Item, Scored, Steps, rows_of


class LeftToRight:
    """Σ_j log p(y_j | x, y_<j, later positions hidden): all L rows are known beforehand."""

    kind: Kind = "exact"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed

    def steps(self, item: Item) -> Steps:
        """L rows at once; see `Scorer.steps`."""
        length = len(item.target)
        one_LL = np.eye(length, dtype=bool)
        values = yield rows_of(item, np.triu(np.ones((length, length), bool)), one_LL, ranked=length)
        return Scored(
            float(values.logprob_NL[one_LL].sum()), 0.0, bool(values.argmax_RL[one_LL].all()), length, self.kind
        )


class ConfidenceChain:
    """Most confident position first: at each step the position whose best token is the most probable one is revealed.

    Ties go to the leftmost. The order depends on the network and the tokens revealed so far, never on hidden ones.
    """

    kind: Kind = "exact"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed

    def steps(self, item: Item) -> Steps:
        """One row at a time, L in all; see `Scorer.steps`."""
        hidden_L = np.ones(len(item.target), bool)
        total, greedy = 0.0, True
        while hidden_L.any():
            values = yield rows_of(item, hidden_L[None].copy(), ranked=1)
            position = int(np.where(hidden_L, values.confidence_RL[0], -np.inf).argmax())
            total += float(values.logprob_NL[0, position])
            greedy = greedy and bool(values.argmax_RL[0, position])
            hidden_L[position] = False
        return Scored(total, 0.0, greedy, len(hidden_L), self.kind)
