"""Scores from one stratum of masks: all positions hidden at once, or one position at a time."""

from __future__ import annotations

import numpy as np

from harness.records import Kind
from harness.scorers import Item, Scored, Steps, hidden_row


class OnePass:
    """Σ_j log p(y_j | x, everything of y hidden): the exact likelihood of writing y in one parallel pass.

    One row per item, shared by all items of the same prompt and length.
    """

    kind: Kind = "exact"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed  # every scorer is built with the same arguments; this one has nothing to choose

    def steps(self, item: Item, mask: int) -> Steps:
        """One row; see `Scorer.steps`."""
        (full,) = yield [hidden_row(item, range(len(item.target)), mask)]
        return Scored(float(full.logprob.sum()), 0.0, bool(full.argmax.all()), 1, self.kind)


class PseudoLogLikelihood:
    """Σ_j log p(y_j | x, y without y_j) (Salazar et al. 2020, arXiv 1910.14659): L rows; not a probability of y.

    For a one-token target it is the exact conditional likelihood.
    """

    kind: Kind = "pseudo"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed

    def steps(self, item: Item, mask: int) -> Steps:
        """L rows, plus the all-hidden row for the greedy flag; see `Scorer.steps`."""
        length = len(item.target)
        everything = hidden_row(item, range(length), mask)
        if length == 1:
            (full,) = yield [everything]
            return Scored(float(full.logprob[0]), 0.0, bool(full.argmax[0]), 1, "exact")
        values = yield [hidden_row(item, [position], mask) for position in range(length)] + [everything]
        total = float(np.sum([value.logprob[0] for value in values[:-1]]))
        return Scored(total, 0.0, bool(values[-1].argmax.all()), length + 1, self.kind)
