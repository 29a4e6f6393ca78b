"""The any-order bound on log p(target | prompt): exact by enumeration where that fits the budget, else a hybrid.

With f_j(V) = −log p(y_j | x, visible part V of y) and A_k the mean over |S| = k hidden positions of the mean over
j ∈ S of f_j, log p(y | x) ≥ −Σ_{k=1..L} A_k: the average over all orders of the order's own log-likelihood (LLaDA,
arXiv 2502.09992, Eq. 6; Ou et al.). For L = 1 it is the exact conditional likelihood.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from harness.records import Kind
from harness.scorers import Item, Scored, Steps, rows_of
from harness.scorers.masks import REPLICATES, Plan, all_masks, draw, plan_of

ALWAYS_EXACT = 5  # tokens: 31 rows


class AnyOrder:
    """Any-order bound with about `rows` rows per target (see `masks` for the plan).

    L ≤ 5 or 2^L − 1 ≤ rows: every mask is read, no variance. Otherwise some strata are read whole and the others
    sampled; what is sampled is only the difference to a prediction from the whole ones (`predicted`), whose mean is
    known, so any prediction leaves the estimate unbiased and a good one takes its variance away.
    """

    kind: Kind = "bound"

    def __init__(self, rows: int = 32, seed: int = 1234):
        self.rows, self.seed = rows, seed

    def steps(self, item: Item) -> Steps:
        """One round of rows; see `Scorer.steps`."""
        length = len(item.target)
        if length <= ALWAYS_EXACT or 2**length - 1 <= self.rows:
            return (yield from self._enumerate(item))
        return (yield from self._sample(item))

    def _enumerate(self, item: Item) -> Steps:
        hidden_NL, weight_N = all_masks(len(item.target))
        values = yield rows_of(item, hidden_NL, ranked=1)
        total = float((np.where(hidden_NL, values.logprob_NL, 0.0).sum(1) * weight_N).sum())
        kind: Kind = "exact" if len(item.target) == 1 else self.kind
        return Scored(total, 0.0, bool(values.argmax_RL.all()), len(hidden_NL), kind)

    def _sample(self, item: Item) -> Steps:
        plan, sampled_NL = _masks(self.seed, item.key, len(item.target), self.rows)
        exact = len(plan.exact_NL)
        values = yield rows_of(item, np.concatenate([plan.exact_NL, sampled_NL]), ranked=1)
        nll_NL = np.nan_to_num(-values.logprob_NL)
        control = Control(plan, nll_NL[:exact])
        size_N = sampled_NL.sum(1)
        rest_N = (nll_NL[exact:].sum(1) - control.predicted(sampled_NL)) / size_N
        weight_N = 1 / (plan.cells * plan.density_K[np.searchsorted(plan.sizes_K, size_N)])
        draws_RC = -(rest_N * weight_N).reshape(REPLICATES, plan.cells)
        unit_RO = np.stack([np.bincount(plan.circle_C, weights=row) for row in draws_RC])
        stderr = float(np.sqrt(variance_of(unit_RO)))
        total = -control.exact_sum + float(draws_RC.mean(0).sum())
        return Scored(total, stderr, bool(values.argmax_RL.all()), len(nll_NL), self.kind, unit_RO)


def variance_of(draws_RC: np.ndarray) -> float:
    """Unbiased variance of Σ_C mean_R of independent cells with R independent, equally distributed replicates each."""
    return float(draws_RC.var(0, ddof=1).sum()) / len(draws_RC)


@lru_cache(maxsize=256)
def _masks(seed: int, question: str, length: int, rows: int) -> tuple[Plan, np.ndarray]:
    """Plan and sampled masks [R·C, L]; choices of a question come one after the other."""
    plan = plan_of(length, rows)
    return plan, draw(plan, seed, question).reshape(-1, length)


class Control:
    """The control variate: what the rows that are read whole say about f_j(V) of the others.

    c_j = f_j(∅) from the full mask; w_ij = f_j({i}) − c_j from k = L−1, what seeing token i does to token j;
    d_j = f_j(everything else) from k = 1. With v = |V| and s = v / (L−1), the share of the others that is visible:
    prediction = c_j + h(s)·Σ_{i∈V} w_ij, corrected by a term of j and s alone so that its mean over V is
    c_j + s·(d_j − c_j) where d is known. h(s) = 1/(1 + 2s) because tokens repeat what others say; any function
    of s leaves the estimate unbiased.
    """

    def __init__(self, plan: Plan, nll_NL: np.ndarray):
        length = plan.length
        self.full_L, self.pair_LL, self.slope_L = nll_NL[0], np.zeros((length, length)), None
        whole = [self.full_L.mean()]
        if plan.with_last:
            pair_LL = nll_NL[1 : 1 + length]
            whole.append(pair_LL.sum() / (length * (length - 1)))
            self.pair_LL = np.where(np.eye(length, dtype=bool), 0.0, pair_LL - self.full_L)
        if plan.with_first:
            alone_L = np.diagonal(nll_NL[1 + length :])
            whole.append(alone_L.mean())
            self.slope_L = alone_L - self.full_L
        self.exact_sum = float(sum(whole) + sum(self._mean_L(plan, size).mean() for size in plan.sizes_K))

    def _mean_L(self, plan: Plan, size) -> np.ndarray:
        """Mean prediction of f_j over the masks of a stratum that hide j."""
        share = (plan.length - size) / (plan.length - 1)
        if self.slope_L is not None:
            return self.full_L + share * self.slope_L
        return self.full_L + _damping(share) * share * self.pair_LL.sum(0)

    def predicted(self, hidden_NL: np.ndarray) -> np.ndarray:
        """Σ_{j hidden} predicted f_j of each row."""
        visible_NL = ~hidden_NL
        share_N1 = visible_NL.sum(1, keepdims=True) / (hidden_NL.shape[1] - 1)
        f_NL = self.full_L + _damping(share_N1) * (visible_NL @ self.pair_LL)
        if self.slope_L is not None:
            f_NL = f_NL + share_N1 * self.slope_L - _damping(share_N1) * share_N1 * self.pair_LL.sum(0)
        return (f_NL * hidden_NL).sum(1)


def _damping(share):
    return 1 / (1 + 2 * share)
