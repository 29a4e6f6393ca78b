"""Statistics of a table's cells: one home for each formula, on numpy arrays of item scores.

Layout: `values_IS` holds the score of item i under seed s (I items × S seeds). Every seed answers the same
items, so the design is crossed: y_is = mean + item_i + seed_s + rest_is. Scores lie in [0, 1], higher is
better.

What an interval covers. The full interval is for the *recipe*: other items of the same kind and another
training seed. Its seed part pools the spread over seeds of all systems of a column (`SeedSpread`), because
two seeds of one system have a single degree of freedom; it assumes that the column's systems are equally
sensitive to the seed. The item interval is for *these checkpoints*: other items, the same weights. With one
seed only that one exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.comparisons import cluster_totals, clustered_error

LEVEL = 0.95
NO_SPREAD = 1e-9  # a standard error below this is rounding


@dataclass(frozen=True)
class SeedSpread:
    """Variance of a system's score from training seed to training seed (score²), with degrees of freedom.

    `between` is the pooled variance of seed means, `noise` the part of it that finite items explain.
    """

    between: float
    noise: float
    freedom: int

    @property
    def variance(self) -> float:
        """Seed variance component, negative estimates cut at 0 (Searle, Casella & McCulloch 1992, §4.4)."""
        return max(self.between - self.noise, 0.0)


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty, in score units; the fields ending in `_items` hold the seeds fixed."""

    value: float
    stderr: float
    low: float
    high: float
    stderr_items: float
    low_items: float
    high_items: float
    freedom: float
    seed_values: tuple[float, ...]
    n_items: int

    @property
    def seed_deviation(self) -> float | None:
        """Sample standard deviation over this system's own seeds (n − 1); None for one seed."""
        return float(np.std(self.seed_values, ddof=1)) if len(self.seed_values) > 1 else None


def _strata(n_items: int, strata: Sequence | np.ndarray | None) -> list[np.ndarray]:
    if strata is None:
        return [np.arange(n_items)]
    labels = np.asarray(strata)
    return [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]


def seed_means(values_IS: np.ndarray, strata: Sequence | np.ndarray | None = None) -> np.ndarray:
    """Mean over items for each seed, shape (S,); strata (say, tasks) weigh equally whatever their size."""
    return np.mean([values_IS[rows].mean(axis=0) for rows in _strata(len(values_IS), strata)], axis=0)


def item_variance(
    values_IS: np.ndarray, strata: Sequence | np.ndarray | None = None, clusters: Sequence | np.ndarray | None = None
) -> float:
    """Squared standard error of the mean over items with the seeds held fixed: var(item means) / I.

    With `clusters` (the source item of each item, where test sets are parallel across languages) whole clusters are
    what is drawn; then there are no strata.

    Averaging over seeds first makes the item the unit (clustering by item). Strata: stratified-sampling
    variance, Σ (1/K²) var_k / I_k (Cochran 1977, eq. 5.6). NaN with fewer than two items in a stratum.
    """
    means_I = values_IS.mean(axis=1)
    if clusters is not None:
        if strata is not None:
            raise ValueError("items are either weighed by task or clustered by source item, not both.")
        return clustered_error(means_I, np.asarray(clusters).tolist()) ** 2
    groups = _strata(len(values_IS), strata)
    parts = [means_I[rows].var(ddof=1) / len(rows) if len(rows) > 1 else math.nan for rows in groups]
    return float(np.sum(parts)) / len(groups) ** 2


def _interaction_noise(values_IS: np.ndarray, strata: Sequence | np.ndarray | None) -> float:
    """Variance of one seed's mean due to the item × seed rest: Σ (1/K²) MSE_k / I_k (two-way layout)."""
    groups = _strata(len(values_IS), strata)
    total = 0.0
    for rows in groups:
        block = values_IS[rows]
        rest = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0, keepdims=True) + block.mean()
        total += float((rest**2).sum()) / ((block.shape[0] - 1) * (block.shape[1] - 1)) / block.shape[0]
    return total / len(groups) ** 2


def seed_spread(
    systems: Sequence[np.ndarray], strata: Sequence[Sequence | np.ndarray | None] | None = None
) -> SeedSpread | None:
    """Seed variance pooled over systems (each `values_IS`); None when no system has two seeds and two items.

    Two-way random-effects mean squares (Searle, Casella & McCulloch 1992, ch. 4): E[var of seed means] =
    seed variance + rest/I. Pooled as in a one-way layout, weighted by S − 1.
    """
    between, noise, freedom = 0.0, 0.0, 0
    for values_IS, groups in zip(systems, strata or [None] * len(systems), strict=True):
        n_items, n_seeds = values_IS.shape
        if n_seeds < 2 or min(len(rows) for rows in _strata(n_items, groups)) < 2:
            continue
        weight = n_seeds - 1
        between += weight * float(seed_means(values_IS, groups).var(ddof=1))
        noise += weight * _interaction_noise(values_IS, groups)
        freedom += weight
    return SeedSpread(between / freedom, noise / freedom, freedom) if freedom else None


def combined_variance(item: float, n_items: int, spread: SeedSpread | None, n_seeds: int) -> tuple[float, float]:
    """Squared standard error over items and seeds, and its degrees of freedom.

    V = item + seed variance / S. The item part already holds the rest term, so for one system this is the
    classical (MS_items + MS_seeds − MS_rest) / (I·S). Degrees of freedom after Satterthwaite (1946), at least
    1.
    """
    if spread is None or n_seeds < 2 or spread.variance == 0.0:
        return item, float(n_items - 1)
    total = item + spread.variance / n_seeds
    below = item**2 / (n_items - 1) + (spread.between / n_seeds) ** 2 / spread.freedom
    return total, max(1.0, total**2 / below)


def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """Two-sided Student quantile."""
    return float(stats.t.ppf(0.5 + level / 2, freedom))


def wilson(value: float, n_effective: float, quantile: float = 1.959964) -> tuple[float, float]:
    """Wilson (1927) score interval of a proportion; stays in [0, 1] and has width > 0 even at 0 and 1."""
    square = quantile**2
    centre = (value + square / (2 * n_effective)) / (1 + square / n_effective)
    half = (
        quantile
        / (1 + square / n_effective)
        * math.sqrt(max(value * (1 - value), 0.0) / n_effective + square / (4 * n_effective**2))
    )
    return max(0.0, centre - half), min(1.0, centre + half)


def score_interval(value: float, variance: float, n_items: int, freedom: float) -> tuple[float, float]:
    """Interval of a mean in [0, 1] with a given squared standard error.

    Wilson's interval at the effective sample size value·(1 − value)/variance with a Student quantile (Korn &
    Graubard 1998; Franco, Little, Louis & Slud 2019, J. Surv. Stat. Methodol. 7:334). Where the variance is 0
    (all items alike) the effective size is the number of items.
    """
    binomial = value * (1 - value)
    n_effective = binomial / variance if variance > 0 and binomial > 0 else float(n_items)
    return wilson(value, n_effective, t_quantile(freedom))


def estimate(
    values_IS: np.ndarray,
    spread: SeedSpread | None = None,
    strata: Sequence | np.ndarray | None = None,
    clusters: Sequence | np.ndarray | None = None,
) -> Estimate:
    """Mean over seeds of item means, with both intervals; `spread` is the column's pooled seed variance.

    Raises:
        ValueError: no item, a missing score, or a score outside [0, 1].
    """
    n_items, n_seeds = _checked(values_IS, 0.0, 1.0)
    value = float(seed_means(values_IS, strata).mean())
    if n_items < 2:
        low, high = wilson(value, 1.0)
        return Estimate(
            value,
            math.nan,
            low,
            high,
            math.nan,
            low,
            high,
            math.nan,
            tuple(seed_means(values_IS).tolist()),
            n_items,
        )
    item = item_variance(values_IS, strata, clusters)
    units = n_items if clusters is None else len(set(np.asarray(clusters).tolist()))
    total, freedom = combined_variance(item, units, spread, n_seeds)
    low, high = score_interval(value, total, units, freedom)
    low_items, high_items = score_interval(value, item, units, units - 1)
    seeds = tuple(seed_means(values_IS, strata).tolist())
    return Estimate(value, math.sqrt(total), low, high, math.sqrt(item), low_items, high_items, freedom, seeds, n_items)


@dataclass(frozen=True)
class Difference:
    """a − b on the same items; two-sided `p` for the recipes (new seeds), `p_items` for these checkpoints."""

    estimate: Estimate
    p: float
    p_items: float


def paired_difference(
    a_IS: np.ndarray,
    b_IS: np.ndarray,
    spread: SeedSpread | None = None,
    strata: Sequence | np.ndarray | None = None,
    clusters: Sequence | np.ndarray | None = None,
) -> Difference:
    """Paired comparison of two systems on the same items and the same seeds (a − b, in [−1, 1]).

    Items: the variance of the differences' item means, so that what items have in common drops out. Seeds:
    twice the column's pooled seed variance (`spread`), as for independently trained systems; where equal
    seeds move both systems alike this errs on the safe side. Student intervals, cut at ±1.

    Raises:
        ValueError: unequal shapes, missing scores, fewer than two items.
    """
    if a_IS.shape != b_IS.shape:
        raise ValueError(f"paired systems need the same items and seeds, got shapes {a_IS.shape} and {b_IS.shape}.")
    difference_IS = a_IS.astype(float) - b_IS.astype(float)
    n_items, n_seeds = _checked(difference_IS, -1.0, 1.0)
    if n_items < 2:
        raise ValueError("a paired comparison needs at least two items.")
    if spread is not None:
        spread = SeedSpread(2 * spread.between, 2 * spread.noise, spread.freedom)
    value = float(seed_means(difference_IS, strata).mean())
    item = item_variance(difference_IS, strata, clusters)
    units = n_items if clusters is None else len(set(np.asarray(clusters).tolist()))
    total, freedom = combined_variance(item, units, spread, n_seeds)
    half, half_items = t_quantile(freedom) * math.sqrt(total), t_quantile(units - 1) * math.sqrt(item)
    summary = Estimate(
        value,
        math.sqrt(total),
        max(-1.0, value - half),
        min(1.0, value + half),
        math.sqrt(item),
        max(-1.0, value - half_items),
        min(1.0, value + half_items),
        freedom,
        tuple(seed_means(difference_IS, strata).tolist()),
        n_items,
    )
    return Difference(summary, _two_sided(value, total, freedom), _two_sided(value, item, units - 1))


def unpaired_difference(a: Estimate, b: Estimate) -> tuple[float, float, float]:
    """a − b of two samples of different items, with its interval for these checkpoints.

    Newcombe (1998, Stat. Med. 17:873, method 10): the squared distances of the two means from their own limits add.
    """
    value = a.value - b.value
    below = math.hypot(a.value - a.low_items, b.high_items - b.value)
    above = math.hypot(a.high_items - a.value, b.value - b.low_items)
    return value, value - below, value + above


def _two_sided(value: float, variance: float, freedom: float) -> float:
    if variance == 0.0:
        return 1.0 if value == 0.0 else 0.0
    return float(2 * stats.t.sf(abs(value) / math.sqrt(variance), freedom))


def above_chance(correct_IS: np.ndarray, chance_I: np.ndarray, clusters: Sequence | np.ndarray | None = None) -> float:
    """One-sided p that every seed's checkpoint beats chance: the largest of the seeds' exact p.

    Intersection–union test (Berger 1982): its null is "at least one checkpoint is at chance", so no
    correction over seeds is needed and no seed distribution is assumed; a seed meets each item once, so items
    are the clusters. It speaks of the checkpoints at hand. Exact also when items differ in chance
    (Poisson-binomial). With clusters (a question in several languages or under several prompts) items are no
    independent coins: then Student's t of the clusters' means takes the exact test's place.

    Raises:
        ValueError: scores other than 0 and 1, or a chance outside (0, 1).
    """
    _checked(correct_IS, 0.0, 1.0)
    if not np.isin(correct_IS, (0.0, 1.0)).all():
        raise ValueError("the exact test against chance needs right/wrong items (0 or 1).")
    if not ((chance_I > 0) & (chance_I < 1)).all():
        raise ValueError("chance must lie between 0 and 1 for every item.")
    if clusters is not None:
        labels = np.asarray(clusters).tolist()
        return max(_clustered_above_chance(correct_I, chance_I, labels) for correct_I in correct_IS.T)
    tail = right_answers_tail(chance_I)
    return float(max(tail[int(count)] for count in correct_IS.sum(axis=0)))


def _clustered_above_chance(correct_I: np.ndarray, chance_I: np.ndarray, clusters: Sequence) -> float:
    """One-sided p that the mean over items is above chance, whole clusters drawn: Student's t of their means.

    Without a spread to judge by (every item right, all clusters equally good, one cluster) it is Π chance/score over
    clusters: guessing reaches a cluster's score with at most chance/score (Markov's inequality). With every item right
    that is the exact test on one item per cluster.
    """
    values_I = correct_I - chance_I
    mean, error = float(values_I.mean()), clustered_error(values_I, clusters)
    right_C, sizes_C = cluster_totals(correct_I, clusters)
    if len(sizes_C) > 1 and error > NO_SPREAD and not correct_I.all():
        return float(stats.t.sf(mean / error, len(sizes_C) - 1))
    if mean <= 0:
        return 1.0
    return float(np.prod(cluster_totals(chance_I, clusters)[0] / right_C))


def right_answers_tail(chance_I: np.ndarray) -> np.ndarray:
    """P(at least k right by chance), k = 0..I: binomials of each chance level, convolved."""
    mass = np.ones(1)
    for chance, count in zip(*np.unique(chance_I, return_counts=True), strict=True):
        mass = np.convolve(mass, stats.binom.pmf(np.arange(count + 1), count, chance))
    return np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979) step-down adjusted p-values, in the order given; keeps the family-wise error of a table."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = running
    return adjusted


def _checked(values_IS: np.ndarray, low: float, high: float) -> tuple[int, int]:
    if values_IS.ndim != 2 or 0 in values_IS.shape:
        raise ValueError(f"expected scores of shape (items, seeds) with at least one of each, got {values_IS.shape}.")
    if not np.isfinite(values_IS).all() or values_IS.min() < low - 1e-9 or values_IS.max() > high + 1e-9:
        raise ValueError(f"every score must be a number in [{low:g}, {high:g}]; drop items without a score first.")
    return values_IS.shape[0], values_IS.shape[1]
