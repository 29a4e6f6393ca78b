"""Comparing two systems on the same items by resampling, beside the model-based tests of `reports.statistics`.

The unit of every test here is the cluster: all items that were made from one source item (the same question in
several languages, say); without clusters each item is its own. Scores in any unit, a − b; C clusters, I items.
All draws come from a generator seeded by the caller, so that a table is the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 9_999
EXACT_CLUSTERS = 13  # 2^13 sign patterns are fewer than the draws


def cluster_totals(values_I: np.ndarray, clusters: Sequence[Hashable] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(sum of the values, number of items) of each cluster, shape (C,) each."""
    values_I = np.asarray(values_I, dtype=float)
    if clusters is None:
        return values_I, np.ones(len(values_I))
    _, place_I = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.bincount(place_I, weights=values_I), np.bincount(place_I).astype(float)


def permutation_p(
    difference_I: np.ndarray, clusters: Sequence[Hashable] | None = None, draws: int = DRAWS, seed: int = 0
) -> float:
    """Two-sided p of the paired permutation test (Fisher's sign flips): the systems exchange their answers per cluster.

    Up to 13 clusters that differ: exact, by enumeration. More: random sign patterns, the observed one among them
    (Phipson & Smyth 2010: never 0), ties counted half. That mid-p makes up for the coarse lattice of right/wrong
    items, on which the plain p is so conservative that it loses to an unpaired test where nothing is shared
    (Fagerland, Lydersen & Laake 2013, for McNemar's test). Clusters without a difference change nothing.
    """
    totals_C, _ = cluster_totals(difference_I, clusters)
    totals_C = totals_C[totals_C != 0.0]
    if not len(totals_C):
        return 1.0
    observed = abs(totals_C.sum())
    near = 1e-6 * max(observed, float(np.abs(totals_C).max()))
    if len(totals_C) <= EXACT_CLUSTERS:
        patterns = (np.arange(2 ** len(totals_C))[:, None] >> np.arange(len(totals_C))) & 1
        return float((np.abs((2.0 * patterns - 1) @ totals_C) >= observed - near).mean())
    sums = np.abs(_flipped_sums(totals_C, draws, np.random.default_rng(seed)))
    hits = 0.5 + 0.5 * int((sums > observed + near).sum()) + 0.5 * int((sums > observed - near).sum())
    return float(hits / (1 + draws))


def _flipped_sums(totals_C: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of the totals under random signs [draws]; k totals of equal size m sum to m·(2·Binomial(k, ½) − k)."""
    sizes, counts = np.unique(np.abs(totals_C).round(12), return_counts=True)
    sums = np.zeros(draws)
    for size, count in zip(sizes, counts, strict=True):
        sums += size * (2.0 * rng.binomial(count, 0.5, draws) - count)
    return sums


def bootstrap_interval(
    values_I: np.ndarray,
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    draws: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap-t interval of the mean over items, clusters drawn with replacement (Efron & Tibshirani 1993, §12.5).

    The mean is a ratio (sum over items), so clusters may differ in size; the standard error inside is the ratio's
    linearised one. Student's t takes the place of the bootstrap quantiles below ten clusters.
    """
    totals_C, sizes_C = cluster_totals(values_I, clusters)
    n_clusters = len(totals_C)
    mean, error = _ratio(totals_C[None], sizes_C[None])
    centre, width = float(mean[0]), float(error[0])
    if n_clusters < 2 or width == 0.0:
        return centre, centre
    if n_clusters < 10:
        half = float(stats.t.ppf(0.5 + level / 2, n_clusters - 1)) * width
        return centre - half, centre + half
    drawn = np.random.default_rng(seed).integers(0, n_clusters, size=(draws, n_clusters))
    means, errors = _ratio(totals_C[drawn], sizes_C[drawn])
    t = (means[errors > 0] - centre) / errors[errors > 0]
    low, high = np.quantile(t, [0.5 + level / 2, 0.5 - level / 2])
    return centre - float(low) * width, centre - float(high) * width


def _ratio(totals_DC: np.ndarray, sizes_DC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and linearised standard error (Cochran 1977, eq. 2.39) of each of D draws of C clusters."""
    count = totals_DC.shape[1]
    mean_D = totals_DC.sum(1) / sizes_DC.sum(1)
    rest_DC = totals_DC - mean_D[:, None] * sizes_DC
    variance_D = (rest_DC**2).sum(1) / max(count - 1, 1) / count
    return mean_D, np.sqrt(variance_D) / sizes_DC.mean(1)


def clustered_error(values_I: np.ndarray, clusters: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean over items when whole clusters are drawn; NaN for fewer than two clusters."""
    totals_C, sizes_C = cluster_totals(values_I, clusters)
    return float(_ratio(totals_C[None], sizes_C[None])[1][0]) if len(totals_C) > 1 else math.nan


def mcnemar_p(a_I: np.ndarray, b_I: np.ndarray) -> float:
    """Two-sided exact McNemar test of two right/wrong vectors: binomial(½) on the items on which they differ.

    Raises:
        ValueError: scores other than 0 and 1, or unequal lengths.
    """
    a, b = np.asarray(a_I, dtype=float), np.asarray(b_I, dtype=float)
    if a.shape != b.shape or not np.isin(np.concatenate([a, b]), (0.0, 1.0)).all():
        raise ValueError("McNemar's test needs two equally long vectors of right (1) and wrong (0).")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def minimum_detectable_difference(stderr: float, freedom: float, power: float = 0.8, level: float = LEVEL) -> float:
    """The true difference that a two-sided test at 1 − level finds with probability `power`, in the unit of `stderr`.

    (t₁₋α/₂ + t_power) · SE (Bloom 1995).
    """
    return float(stats.t.ppf(0.5 + level / 2, freedom) + stats.t.ppf(power, freedom)) * stderr


def rank_flip_probability(difference: float, stderr: float) -> float:
    """Probability that a repetition of the same size (new items, new seeds) orders the two systems the other way.

    The true difference given this one is about N(d, SE²), a repetition scatters around it with SE², too: Φ(−|d|/(SE·√2)).
    """
    if stderr == 0.0:
        return 0.5 if difference == 0.0 else 0.0
    return float(stats.norm.cdf(-abs(difference) / (stderr * math.sqrt(2))))


def estimator_error(flip_I: np.ndarray) -> float:
    """Standard error of an accuracy that is due to sampled scores alone: other masks, the same items and weights.

    An answer that flips with probability q is a coin of variance q(1 − q) (its expected share right is 1 − q where it
    is right, at most q where it is wrong); masks are drawn per question, so variances add. The spread over items
    already holds this part once when items are drawn anew; it is what remains when items are held fixed.
    """
    flip = np.asarray(flip_I, dtype=float)
    if not len(flip) or not ((flip >= 0) & (flip <= 1)).all():
        raise ValueError("every item needs a probability of a flipped answer between 0 and 1.")
    return math.sqrt(float((flip * (1 - flip)).sum())) / len(flip)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg (1995) adjusted p-values, in the order given; keeps the false discovery rate of a table."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(-p, kind="stable")
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.minimum(np.minimum.accumulate(p[order] * len(p) / ranks), 1.0)
    out = np.empty(len(p))
    out[order] = adjusted
    return out.tolist()


@dataclass(frozen=True)
class CorpusScore:
    """A corpus metric of one system (points, 0–100) and its p against the baseline (None for the baseline itself)."""

    value: float
    p: float | None


def corpus_scores(systems: Mapping[str, Sequence[str]], references: Sequence[str], metric: str) -> dict[str, float]:
    """sacreBLEU's corpus score (points, 0–100) of each system; `metric` is bleu or chrf.

    Raises:
        ValueError: another metric, or texts and references that do not pair up.
    """
    scorer = _scorer(systems, references, metric)
    return {name: float(scorer.corpus_score(list(texts), None).score) for name, texts in systems.items()}


def _scorer(systems: Mapping[str, Sequence[str]], references: Sequence[str], metric: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF  # type: ignore[attr-defined]

    if metric not in ("bleu", "chrf"):
        raise ValueError(f"unknown corpus metric '{metric}': expected bleu or chrf.")
    for name, texts in systems.items():
        if len(texts) != len(references):
            raise ValueError(f"{name} has {len(texts)} texts for {len(references)} references.")
    return BLEU(references=[list(references)]) if metric == "bleu" else CHRF(references=[list(references)])


def sacrebleu_paired(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    metric: str,
    test: str = "bs",
    draws: int = 1000,
) -> dict[str, CorpusScore]:
    """sacreBLEU's own paired test of corpus BLEU or chrF: the first system is the baseline of the others.

    Args:
        metric: `bleu` or `chrf`.
        test: `bs`, paired bootstrap (Koehn 2004), or `ar`, approximate randomization (Riezler & Maxwell 2005).

    Raises:
        ValueError: another metric, or texts and references that do not pair up.
    """
    from sacrebleu.significance import PairedTest

    scorer = _scorer(systems, references, metric)
    # sacreBLEU 2.x counts strictly larger differences, so that a copy of the baseline would get the smallest p there is
    named: list[tuple[str, Sequence[str]]] = [(name, list(texts)) for name, texts in systems.items()]
    paired = PairedTest(named, {metric: scorer}, references=None, test_type=test, n_samples=draws)
    found = next(values for key, values in paired()[1].items() if key != "System")
    first = float(found[0].score)  # type: ignore[union-attr]
    scores = {}
    for name, result in zip(systems, found, strict=True):
        value, p = float(result.score), result.p_value  # type: ignore[union-attr]
        scores[name] = CorpusScore(value, None if p is None else 1.0 if value == first else float(p))
    return scores
