"""The any-order bound on log p(target | prompt): exact by enumeration where that fits the budget, else stratified.

With nll_j(S) = −log p(y_j | x, y without S) and A_k the mean over |S| = k of mean_{j∈S} nll_j(S),
log p(y | x) ≥ −Σ_{k=1..L} A_k: the average over all orders of the order's own log-likelihood (LLaDA,
arXiv 2502.09992, Eq. 6; Ou et al.). For L = 1 it is the exact conditional likelihood.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from math import comb

import numpy as np

from harness.records import Kind
from harness.scorers import Item, Scored, Steps, hidden_row


class AnyOrder:
    """Any-order bound with at most `rows` rows per target.

    2^L − 1 ≤ rows: every mask is enumerated, no variance. Otherwise the all-hidden row is kept exactly, the other
    rows go systematically to the mask counts 1 … L−1, and each row is corrected by a control variate known from
    the all-hidden row. Masks depend only on (seed, prompt, L, index): equal-length choices of a question share
    them, and no batch, order or process count changes a score.
    """

    kind: Kind = "bound"

    def __init__(self, rows: int = 32, seed: int = 1234):
        self.rows, self.seed = rows, seed

    def steps(self, item: Item, mask: int) -> Steps:
        """At most max(rows, 1) rows; see `Scorer.steps`."""
        length = len(item.target)
        if 2**length - 1 <= self.rows or length == 1:
            return (yield from self._enumerate(item, mask))
        return (yield from self._sample(item, mask))

    def _enumerate(self, item: Item, mask: int) -> Steps:
        length = len(item.target)
        masks = [subset for size in range(length, 0, -1) for subset in combinations(range(length), size)]
        values = yield [hidden_row(item, subset, mask) for subset in masks]
        total = 0.0
        for subset, value in zip(masks, values, strict=True):
            total += float(value.logprob.mean()) / comb(length, len(subset))
        kind: Kind = "exact" if length == 1 else self.kind
        return Scored(total, 0.0, bool(values[0].argmax.all()), len(masks), kind)

    def _sample(self, item: Item, mask: int) -> Steps:
        length = len(item.target)
        masks = self._draw(item.prompt, length)
        values = yield [hidden_row(item, subset, mask) for subset in [tuple(range(length)), *masks]]
        full = values[0].logprob
        strata: dict[int, list[float]] = {}
        for subset, value in zip(masks, values[1:], strict=True):
            correction = full[list(subset)].mean() - full.mean()
            strata.setdefault(len(subset), []).append(float(value.logprob.mean() - correction))
        total, variance = _combine(strata, length - 1)
        return Scored(float(full.mean()) + total, variance**0.5, bool(values[0].argmax.all()), len(values), self.kind)

    def _draw(self, prompt: tuple[int, ...], length: int) -> list[tuple[int, ...]]:
        """rows − 1 masks: sizes allocated systematically over 1 … L−1, positions uniform (at least one mask)."""
        text = f"{self.seed}/{length}/{','.join(map(str, prompt))}"
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
        rng = np.random.Generator(np.random.Philox(key=key))
        count, strata = max(1, self.rows - 1), length - 1
        offset = rng.random()
        sizes = [1 + min(strata - 1, int((offset + index) * strata / count)) for index in range(count)]
        return [tuple(sorted(rng.permutation(length)[:size].tolist())) for size in sizes]


def _combine(strata: dict[int, list[float]], count: int) -> tuple[float, float]:
    """Σ_k of stratum means (all strata seen), or the scaled sum over those drawn; with its variance estimate."""
    values = [value for stratum in strata.values() for value in stratum]
    if len(strata) == count:
        spread = _pooled_variance(strata)
        means = sum(float(np.mean(stratum)) for stratum in strata.values())
        variance = sum((_own_variance(stratum, spread)) / len(stratum) for stratum in strata.values())
        return means, variance
    scale = count / len(values)
    spread = float(np.var(values, ddof=1)) if len(values) > 1 else 0.0
    return scale * float(np.sum(values)), count**2 * spread / len(values)


def _own_variance(stratum: list[float], pooled: float) -> float:
    return float(np.var(stratum, ddof=1)) if len(stratum) > 1 else pooled


def _pooled_variance(strata: dict[int, list[float]]) -> float:
    inner = [(np.var(s, ddof=1) * (len(s) - 1), len(s) - 1) for s in strata.values() if len(s) > 1]
    freedom = sum(n for _, n in inner)
    if freedom:
        return float(sum(v for v, _ in inner) / freedom)
    values = [value for stratum in strata.values() for value in stratum]
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0
