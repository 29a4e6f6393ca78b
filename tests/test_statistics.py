"""Statistics against hand-derived values, brute force and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from reports import statistics as st


def test_estimate_of_a_balanced_layout_is_the_classical_anova():
    y = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 1], [0, 0]], dtype=float)
    n, s = y.shape
    grand = y.mean()
    ms_items = s * ((y.mean(1) - grand) ** 2).sum() / (n - 1)
    ms_seeds = n * ((y.mean(0) - grand) ** 2).sum() / (s - 1)
    rest = y - y.mean(1, keepdims=True) - y.mean(0) + grand
    ms_rest = (rest**2).sum() / ((n - 1) * (s - 1))
    assert ms_seeds > ms_rest  # otherwise the seed component would be cut at 0
    got = st.estimate(y, st.seed_spread([y]))
    assert got.value == pytest.approx(0.5)
    assert got.seed_values == pytest.approx((5 / 6, 1 / 6))
    assert got.seed_deviation == pytest.approx(math.sqrt(2) / 3)
    assert got.stderr**2 == pytest.approx((ms_items + ms_seeds - ms_rest) / (n * s))
    assert got.stderr_items**2 == pytest.approx(ms_items / (n * s))


def test_one_seed_is_the_plain_mean_and_its_interval_covers_items_only():
    y = np.array([[1.0], [0.0], [1.0], [1.0]])
    got = st.estimate(y, st.seed_spread([y]))
    assert st.seed_spread([y]) is None
    assert got.value == 0.75 and got.stderr == pytest.approx(math.sqrt(0.25 / 4))
    assert (got.low, got.high) == (got.low_items, got.high_items)
    assert got.seed_deviation is None


def test_strata_weigh_equally_and_their_variances_add():
    y = np.array([[1.0], [1.0], [0.0], [0.0], [1.0], [0.0], [0.0], [0.0]])
    strata = ["a", "a", "b", "b", "b", "b", "b", "b"]
    got = st.estimate(y, None, strata)
    assert got.value == pytest.approx((1 + 1 / 6) / 2)
    assert got.stderr_items**2 == pytest.approx((0 + (5 / 36 * 6 / 5) / 6) / 4)


def test_pooled_spread_weighs_systems_by_their_seeds():
    constant = np.tile([0.2, 0.6], (10, 1))
    three = np.tile([0.1, 0.2, 0.3], (10, 1))
    spread = st.seed_spread([constant, three, constant[:, :1]])
    assert spread is not None and spread.freedom == 3
    assert spread.between == pytest.approx((0.08 + 2 * 0.01) / 3)
    assert spread.noise == pytest.approx(0.0, abs=1e-15)


def test_wilson_against_published_values():
    # Newcombe (1998), Stat. Med. 17:857, table I, method 3: 81/263 and 0/20.
    assert st.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert st.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_or_hopeless_score_keeps_an_interval(value):
    got = st.estimate(np.full((300, 2), value), None)
    assert got.high - got.low > 0.01 and 0 <= got.low <= got.value <= got.high <= 1


def test_scores_that_are_missing_or_out_of_range_are_refused():
    for bad in (np.array([[np.nan]]), np.array([[1.5]]), np.zeros((0, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match="score"):
            st.estimate(bad)


def test_tail_equals_enumeration_with_mixed_chances():
    chance = np.array([0.5, 1 / 3, 0.5, 0.25, 1 / 3])
    tail = st.right_answers_tail(chance)
    for k in range(6):
        brute = sum(
            np.prod([c if hit else 1 - c for c, hit in zip(chance, hits, strict=True)])
            for hits in itertools.product([0, 1], repeat=5)
            if sum(hits) >= k
        )
        assert tail[k] == pytest.approx(brute)


def test_above_chance_is_the_worst_seed():
    right = np.zeros((100, 2))
    right[:70, 0] = 1
    right[:55, 1] = 1
    assert st.above_chance(right, np.full(100, 0.5)) == pytest.approx(stats.binom.sf(54, 100, 0.5))
    with pytest.raises(ValueError, match="right/wrong"):
        st.above_chance(right * 0.5, np.full(100, 0.5))


def test_clustered_all_right_is_the_exact_test_on_one_item_per_cluster():
    clusters = np.repeat(["a", "b", "c", "d", "e"], 3)
    right, chance = np.ones((15, 2)), np.full(15, 1 / 3)
    assert st.above_chance(right, chance, clusters) == pytest.approx(stats.binom.sf(4, 5, 1 / 3))
    mixed = np.repeat([0.5, 0.25, 0.5, 0.25, 0.5], 3)  # guessing levels differ: that is no spread of the answers
    assert st.above_chance(right, mixed, clusters) == pytest.approx(st.right_answers_tail(mixed[::3])[5])
    assert st.above_chance(np.zeros((15, 2)), chance, clusters) == 1.0
    assert st.above_chance(right[:3], chance[:3], clusters[:3]) == pytest.approx(1 / 3)  # one cluster


def test_equally_good_clusters_are_bounded_by_enumeration():
    """Two of three right in every cluster: guessing gets that far no more often, whatever a cluster's items share."""
    clusters, chance = np.repeat(np.arange(4), 3), np.full(12, 0.25)
    p = st.above_chance(np.tile([[1.0], [1.0], [0.0]], (4, 1)), chance, clusters)
    alone = stats.binom.sf(1, 3, 0.25) ** 4
    together = 0.25**4
    assert p == pytest.approx((0.25 / (2 / 3)) ** 4) and max(alone, together) < p < 0.05


def test_holm_against_the_textbook_example():
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([]) == []


def test_paired_difference_of_one_seed_is_the_paired_t_test():
    rng = np.random.default_rng(3)
    a, b = rng.random((40, 1)), rng.random((40, 1))
    reference = stats.ttest_rel(a[:, 0], b[:, 0])
    got = st.paired_difference(a, b)
    assert got.p == pytest.approx(reference.pvalue) and got.p_items == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval()
    assert (got.estimate.low, got.estimate.high) == pytest.approx((interval.low, interval.high))


def test_paired_difference_of_equal_systems_and_of_a_constant_gain():
    a = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert st.paired_difference(a, a).p == 1.0
    with pytest.raises(ValueError, match="same items"):
        st.paired_difference(a, a[:2])


def _simulate(rng, n_items, n_systems, n_seeds, seed_sd, item_sd=1.0, level=0.5):
    """Right/wrong answers of systems that all have the same true mean (logistic items and seeds)."""
    item = rng.normal(0, item_sd, (1, n_items, 1))
    seed = rng.normal(0, seed_sd, (n_systems, 1, n_seeds))
    chance = 1 / (1 + np.exp(-(level + item + seed)))
    return (rng.random((n_systems, n_items, n_seeds)) < chance).astype(float)


def _true_mean(seed_sd, item_sd=1.0, level=0.5):
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    sd = math.hypot(seed_sd, item_sd)
    return float((weights / (1 + np.exp(-(level + sd * nodes)))).sum() / weights.sum())


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.3])
def test_the_interval_covers_new_items_and_new_seeds(seed_sd):
    rng = np.random.default_rng(11)
    truth, covered, trials = _true_mean(seed_sd), 0, 0
    for _ in range(250):
        systems = list(_simulate(rng, 400, 7, 2, seed_sd))
        spread = st.seed_spread(systems)
        for y in systems:
            got = st.estimate(y, spread)
            covered += got.low <= truth <= got.high
            trials += 1
    assert 0.92 <= covered / trials <= 0.98


def test_false_positives_under_chance_stay_below_five_percent():
    rng = np.random.default_rng(5)
    tables, hits, cells = 400, 0, 0
    for _ in range(tables):
        p = [st.above_chance((rng.random((200, 2)) < 1 / 3).astype(float), np.full(200, 1 / 3)) for _ in range(6)]
        cells += sum(value <= 0.05 for value in p)
        hits += min(st.holm(p)) <= 0.05
    assert cells / (6 * tables) <= 0.05
    assert hits / tables <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / tables)


def test_one_seed_at_chance_is_not_called_above_chance_by_a_lucky_second():
    rng = np.random.default_rng(6)
    chance = np.full(200, 0.5)
    good = np.ones((200, 1))
    hits = sum(
        st.above_chance(np.hstack([good, (rng.random((200, 1)) < 0.5).astype(float)]), chance) <= 0.05
        for _ in range(600)
    )
    assert hits / 600 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3])
def test_false_positives_of_the_paired_difference(seed_sd):
    rng = np.random.default_rng(8)
    hits = hits_items = trials = 0
    for _ in range(150):
        systems = list(_simulate(rng, 300, 6, 2, seed_sd))
        spread = st.seed_spread(systems)
        for a, b in zip(systems[::2], systems[1::2], strict=True):
            got = st.paired_difference(a, b, spread)
            hits, hits_items, trials = hits + (got.p <= 0.05), hits_items + (got.p_items <= 0.05), trials + 1
    assert hits / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)
    if seed_sd == 0.0:
        assert abs(hits_items / trials - 0.05) <= 0.03


def test_paired_difference_adds_twice_the_pooled_seed_variance():
    a = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    b = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    got = st.paired_difference(a, b, st.SeedSpread(0.02, 0.005, 7))
    assert got.estimate.value == pytest.approx(1 / 8)
    assert got.estimate.stderr**2 == pytest.approx(st.item_variance(a - b) + 2 * 0.015 / 2)
    assert got.p > got.p_items
