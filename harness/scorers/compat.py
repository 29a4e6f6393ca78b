"""Published estimators with their quirks, so that published numbers can be checked; never the default.

- `llada` (arXiv 2502.09992 and its released harness; the same sampler is in dLLM, Fast-dLLM and dInfer): mask counts by
  linspace, rounded half to even, so that they are not uniform; positions by an independent permutation per row.
- `dream` (its released harness): Bernoulli masks at stratified noise levels, weight 1/p; a row may hide nothing.
- `max_beam` (the Instruct-XMLR authors' evaluation, beam 1): reveals the *true* token of highest probability first;
  the order looks at the answer, so the product is no likelihood.
Pair encoding and layout are ours: the published slicing of a joint encoding loses a token with some tokenizers.
None of them asks for the greedy flag (published default of the released scripts, or always False).
"""

from __future__ import annotations

import numpy as np

from harness.records import Kind
from harness.scorers import Item, Scored, Steps, rows_of
from harness.scorers.masks import key_of

DRAWS_TOGETHER = 32  # the published batch size: counts are stratified within it
EPSILON = 1e-3  # Dream's smallest noise level


class Llada:
    """−mean over draws of (L/k)·Σ_{hidden} −log p; `rows` draws in batches of 32."""

    kind: Kind = "bound"

    def __init__(self, rows: int = 128, seed: int = 1234):
        self.rows, self.seed = rows, seed

    def steps(self, item: Item) -> Steps:
        """`rows` rows; see `Scorer.steps`."""
        hidden_NL = llada_masks(len(item.target), self.rows, _rng(self.seed, item))
        values = yield rows_of(item, hidden_NL)
        weight_N = len(item.target) / hidden_NL.sum(1)
        draws_N = np.nan_to_num(values.logprob_NL).sum(1) * weight_N
        return Scored(float(draws_N.mean()), _stderr(draws_N), False, self.rows, self.kind)


class Dream:
    """−mean over draws of Σ_{hidden} −log p / p(hide); `rows` draws in batches of 32."""

    kind: Kind = "bound"

    def __init__(self, rows: int = 128, seed: int = 1234):
        self.rows, self.seed = rows, seed

    def steps(self, item: Item) -> Steps:
        """At most `rows` rows (those that hide nothing need none); see `Scorer.steps`."""
        hidden_NL, rate_N = dream_masks(len(item.target), self.rows, _rng(self.seed, item))
        some_N = hidden_NL.any(1)
        draws_N = np.zeros(self.rows)
        if some_N.any():
            values = yield rows_of(item, hidden_NL[some_N])
            draws_N[some_N] = np.nan_to_num(values.logprob_NL).sum(1) / rate_N[some_N]
        return Scored(float(draws_N.mean()), _stderr(draws_N), False, int(some_N.sum()), self.kind)


class MaxBeam:
    """Reveals the true token of highest probability first, L rows one after the other; log of the product."""

    kind: Kind = "pseudo"

    def __init__(self, rows: int = 1, seed: int = 0):
        del rows, seed

    def steps(self, item: Item) -> Steps:
        """One row at a time; see `Scorer.steps`."""
        hidden_L, total = np.ones(len(item.target), bool), 0.0
        while hidden_L.any():
            values = yield rows_of(item, hidden_L[None].copy())
            position = int(np.nanargmax(values.logprob_NL[0]))
            total += float(values.logprob_NL[0, position])
            hidden_L[position] = False
        return Scored(total, 0.0, False, len(hidden_L), self.kind)


def llada_masks(length: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """hidden_NL of LLaDA's sampler, its rounding included."""
    sizes = []
    for at in range(0, rows, DRAWS_TOGETHER):
        batch = min(DRAWS_TOGETHER, rows - at)
        first = int(rng.integers(1, length + 1))
        spread_B = np.linspace(first, first + (batch - 1) * (length / batch), batch)
        sizes.append((np.round(spread_B).astype(int) - 1) % length + 1)  # numpy rounds half to even, as torch does
    rank_NL = rng.random((rows, length)).argsort(1).argsort(1)
    return rank_NL < np.concatenate(sizes)[:, None]


def dream_masks(length: int, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """hidden_NL and the probability rate_N with which each row hides a token."""
    rates = []
    for at in range(0, rows, DRAWS_TOGETHER):
        batch = min(DRAWS_TOGETHER, rows - at)
        level_B = (rng.random() + np.arange(batch) / batch) % 1
        rates.append((1 - EPSILON) * level_B + EPSILON)
    rate_N = np.concatenate(rates)
    return rng.random((rows, length)) < rate_N[:, None], rate_N


def _rng(seed: int, item: Item) -> np.random.Generator:
    """A generator of this choice's own: the published harnesses draw anew for every request."""
    return np.random.Generator(np.random.Philox(key=int(key_of(seed, f"{item.key}/{item.target}"))))


def _stderr(draws_N: np.ndarray) -> float:
    """As if draws were independent (they are stratified within a batch, so this is on the safe side)."""
    return float(draws_N.std(ddof=1) / len(draws_N) ** 0.5) if len(draws_N) > 1 else 0.0
