"""Resampling tests against enumeration, hand-derived values, scipy, and simulated data with a known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from reports import comparisons as co


def test_permutation_equals_enumeration_by_hand():
    # |sum| of ±1 ±2 ±3 reaches 6 in 2 of 8 patterns, 4 (sum of 3 + 2 − 1) in 4 of 8
    assert co.permutation_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert co.permutation_p(np.array([-1.0, 2.0, 3.0])) == 4 / 8
    assert co.permutation_p(np.zeros(5)) == 1.0


def test_permutation_flips_whole_clusters():
    difference = np.array([1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    clusters = ["x", "x", "y", "y", "z", "z"]
    totals = [2.0, 2.0, 0.0]
    patterns = [
        abs(sum(s * t for s, t in zip(signs, totals, strict=True))) >= 4
        for signs in itertools.product((-1, 1), repeat=3)
    ]
    assert co.permutation_p(difference, clusters) == sum(patterns) / 8 == 0.5
    assert co.permutation_p(difference) == pytest.approx(14 / 64)


def test_sampled_permutation_agrees_with_the_exact_sign_test():
    wins, losses = 40, 22
    difference = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 100)
    exact = stats.binomtest(wins, wins + losses).pvalue
    at = stats.binom.pmf(wins, wins + losses, 0.5)  # ties of both sides count half
    assert co.permutation_p(difference, draws=50_000) == pytest.approx(exact - at, rel=0.08)


def test_mcnemar_against_the_binomial_and_scipy():
    a = np.array([1] * 10 + [0] * 2 + [1] * 30 + [0] * 5)
    b = np.array([0] * 10 + [1] * 2 + [1] * 30 + [0] * 5)
    tail = sum(math.comb(12, k) for k in (0, 1, 2)) / 2**12
    assert co.mcnemar_p(a, b) == pytest.approx(2 * tail) == pytest.approx(stats.binomtest(10, 12).pvalue)
    assert co.mcnemar_p(a, a) == 1.0
    with pytest.raises(ValueError, match="right"):
        co.mcnemar_p(a, b + 0.5)


def test_benjamini_hochberg_against_scipy():
    p = [0.01, 0.04, 0.03, 0.5, 0.005, 0.04]
    assert co.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p).tolist())


def test_detectable_difference_has_the_power_it_promises():
    rng, n = np.random.default_rng(0), 60
    stderr = 1 / math.sqrt(n)
    shift = co.minimum_detectable_difference(stderr, n - 1)
    draws = rng.normal(shift, 1, size=(4000, n))
    p = np.asarray(stats.ttest_1samp(draws, 0.0, axis=1)[1])
    assert (p <= 0.05).mean() == pytest.approx(0.8, abs=0.025)


def test_rank_flips_as_often_as_they_do_in_a_simulation():
    rng = np.random.default_rng(1)
    truth = rng.normal(1.0, 0.8, 200_000)  # what is believed after one measurement of 1.0 ± 0.8
    again = rng.normal(truth, 0.8)
    assert co.rank_flip_probability(1.0, 0.8) == pytest.approx((again < 0).mean(), abs=0.004)
    assert co.rank_flip_probability(-1.0, 0.8) == co.rank_flip_probability(1.0, 0.8)
    assert (co.rank_flip_probability(0.0, 0.0), co.rank_flip_probability(0.1, 0.0)) == (0.5, 0.0)


def test_estimator_error_is_the_scatter_of_repeated_estimates_and_sampling_items_holds_it_once():
    rng, n = np.random.default_rng(2), 400
    flip = rng.uniform(0, 0.4, n)
    truth = rng.random(n) < 0.6
    observed = np.where(rng.random((3000, n)) < flip, ~truth, truth)
    assert co.estimator_error(flip) == pytest.approx(observed.mean(1).std(), rel=0.06)
    # other items and other masks together: the plain item error already covers both
    both = [
        (np.where(rng.random(n) < q, ~t, t)).mean()
        for q, t in ((rng.uniform(0, 0.4, n), rng.random(n) < 0.6) for _ in range(3000))
    ]
    assert observed[0].std(ddof=1) / math.sqrt(n) == pytest.approx(np.std(both), rel=0.06)


def test_clustered_error_is_larger_where_clusters_agree_and_the_plain_one_where_they_are_single():
    rng = np.random.default_rng(3)
    values = rng.normal(size=50)
    assert co.clustered_error(values) == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    copies, clusters = np.repeat(values, 4), np.repeat(np.arange(50), 4).tolist()
    assert co.clustered_error(copies, clusters) == pytest.approx(co.clustered_error(values))


@pytest.mark.parametrize("languages", [1, 6])
def test_bootstrap_covers_the_truth_as_often_as_it_says(languages):
    """95 ± 2 %, right/wrong items in clusters of one source question in several languages (correlated, unequal sizes)."""
    rng, truth, inside, runs = np.random.default_rng(4), 0.0, 0, 1500
    for seed in range(runs):
        source = rng.normal(0, 1, 80)
        clusters = np.repeat(np.arange(80), rng.integers(1, languages + 1, 80))
        difference = (source[clusters] + rng.normal(0, 1, len(clusters)) > 0) * 1.0 - 0.5
        low, high = co.bootstrap_interval(difference, clusters.tolist(), draws=400, seed=seed)
        inside += low <= truth <= high
    assert inside / runs == pytest.approx(0.95, abs=0.02)


def simulated(rng: np.random.Generator, items: int, gain: float, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Two systems' right/wrong answers; `shared` is the correlation of what makes an item hard for both."""
    hard = rng.normal(size=items) * math.sqrt(shared)
    a, b = (hard + rng.normal(size=items) * math.sqrt(1 - shared) for _ in range(2))
    return (a + gain > 0).astype(float), (b > 0).astype(float)


def unpaired_z_p(a: np.ndarray, b: np.ndarray) -> float:
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return float(2 * stats.norm.sf(abs(a.mean() - b.mean()) / error))


def rejections(items: int, gain: float, shared: float, runs: int = 400) -> tuple[float, float]:
    rng, paired, unpaired = np.random.default_rng(5), 0, 0
    for seed in range(runs):
        a, b = simulated(rng, items, gain, shared)
        paired += co.permutation_p(a - b, draws=499, seed=seed) <= 0.05
        unpaired += unpaired_z_p(a, b) <= 0.05
    return paired / runs, unpaired / runs


def test_permutation_keeps_its_level_and_beats_the_unpaired_test_on_alike_systems():
    level, _ = rejections(200, 0.0, 0.8, runs=1000)
    assert level <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    for shared in (0.0, 0.5, 0.9):
        paired, unpaired = rejections(200, 0.3, shared)
        assert paired >= unpaired - 0.03  # where nothing is shared the two are the same test
    assert paired >= unpaired + 0.2
    # half the items and more power still: at least twice fewer items for equal power
    half, _ = rejections(100, 0.3, 0.9)
    assert half >= unpaired


@pytest.mark.parametrize("shared", [0.8, 0.9])
def test_half_the_items_give_the_power_of_an_unpaired_comparison(shared):
    """Difficulty that correlates by 0.8 makes right/wrong scores correlate by 0.57, so that 1/(1 − 0.57) = 2.3 times
    fewer items do as two systems that answer other items each. (An unpaired test on the *same* items also gains: its
    estimate scatters less than it believes; against that one the ratio is 1.7 to 2.)
    """
    rng, runs, items = np.random.default_rng(6), 1000, 100
    paired = unpaired = 0
    for seed in range(runs):
        a, b = simulated(rng, items, 0.3, shared)
        paired += co.permutation_p(a - b, draws=499, seed=seed) <= 0.05
        first, _ = simulated(rng, 2 * items, 0.3, shared)
        _, second = simulated(rng, 2 * items, 0.3, shared)
        unpaired += unpaired_z_p(first, second) <= 0.05
    assert paired >= unpaired
    a, b = simulated(rng, 200_000, 0.3, shared)
    error = float((a - b).std()) / math.sqrt(items)
    theory = float(stats.norm.sf(1.959964 - float((a - b).mean()) / error))
    assert paired / runs == pytest.approx(theory, abs=0.04)  # and permuting loses nothing of it


def test_sacrebleu_paired_finds_the_copy_equal_and_the_broken_one_worse():
    references = [
        f"the {a} {b} the {c} in the evening ."
        for a in "girl boy man".split()
        for b in "buys hides sees takes".split()
        for c in "book lamp key bread".split()
    ]
    broken = [" ".join(reversed(text.split())) for text in references]
    for metric in ("bleu", "chrf"):
        got = co.sacrebleu_paired(
            {"base": references, "copy": references, "broken": broken}, references, metric, draws=300
        )
        assert got["base"].value == pytest.approx(100) and got["base"].p is None
        assert (
            got["copy"].p == pytest.approx(1.0, abs=0.02) and (got["broken"].p or 0) < 0.01 and got["broken"].value < 70
        )
    with pytest.raises(ValueError, match="bleu or chrf"):
        co.sacrebleu_paired({"a": references}, references, "rouge")
