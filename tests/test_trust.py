"""Trust in a judge: values and intervals against hand-made cases and other implementations."""

import math
import random
from typing import Any

import pytest
import scipy.stats

from harness.judges import trust as _trust

trust: Any = _trust  # estimates are None where there is nothing to estimate: here there always is
stats: Any = scipy.stats


def test_mean_and_share():
    estimate = trust.mean_of([1.0, 2.0, 3.0, 6.0])
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem([1.0, 2.0, 3.0, 6.0]))
    assert estimate == trust.Estimate(3.0, pytest.approx(low), pytest.approx(high), 4)
    assert trust.mean_of([2.0, 2.0, 2.0]) == trust.Estimate(2.0, None, None, 3)
    assert trust.mean_of([2.0]) == trust.Estimate(2.0, None, None, 1) and trust.mean_of([]) is None
    share = trust.share_of(8, 10)  # Wilson by hand: centre (p + z²/2n) / (1 + z²/n)
    z2 = 1.959964**2
    centre, half = (0.8 + z2 / 20) / (1 + z2 / 10), math.sqrt(z2) * math.sqrt(0.16 / 10 + z2 / 400) / (1 + z2 / 10)
    assert share == trust.Estimate(
        0.8, pytest.approx(centre - half, abs=1e-6), pytest.approx(centre + half, abs=1e-6), 10
    )
    assert trust.share_of(0, 0) is None


def test_rank_correlation():
    assert trust.rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]).value == pytest.approx(1)
    assert trust.rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]).value == pytest.approx(-1)
    assert trust.rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None and trust.rank_correlation([1, 2], [1, 2]) is None
    rng = random.Random(0)
    inside = 0
    for _ in range(300):  # independent series: the interval holds 0 in about 95 of 100 cases
        found = trust.rank_correlation([rng.random() for _ in range(40)], [rng.random() for _ in range(40)])
        inside += found.low <= 0 <= found.high
    assert 0.91 <= inside / 300 <= 0.99


def test_kappa():
    ours = ["A"] * 20 + ["A"] * 5 + ["B"] * 10 + ["B"] * 15
    theirs = ["A"] * 20 + ["B"] * 5 + ["A"] * 10 + ["B"] * 15  # the textbook's table: 0.7 observed, 0.5 by chance
    found = trust.kappa_of(ours, theirs)
    assert found.value == pytest.approx(0.4) and found.low < 0.4 < found.high
    assert trust.kappa_of(ours, theirs) == found
    assert trust.kappa_of(["A"], ["A"]) is None and trust.kappa_of([], []) is None


def test_position():
    games = (
        [("model_1", "model_1")] * 6
        + [("model_1", "model_2")] * 3
        + [("model_2", "model_1")]
        + [("tie", "model_1"), ("error", "tie")]
    )
    found = trust.position(games)
    assert found["disagreement"].value == pytest.approx(5 / 11) and found["disagreement"].n == 11
    assert found["first_favoured"].value == pytest.approx(
        3 / 4
    )  # game 1 shows model_1 first, game 2 shows model_2 first
    assert trust.position([("error", "tie")]) == {"disagreement": None, "first_favoured": None}


def test_consistency_length_and_agreement():
    found = trust.consistency([1, 5, 7.5], [1, 7, 7.5])
    assert found["same_verdict"].value == pytest.approx(2 / 3) and found["distance"].value == pytest.approx(2 / 3)
    assert trust.consistency(["A", "B"], ["A", "A"])["same_verdict"].value == 0.5
    outcomes = [("model_1", 10, 5), ("model_2", 10, 5), ("model_2", 1, 5), ("tie", 1, 5), ("model_1", 5, 5)]
    assert trust.length_of_winners(outcomes) == trust.share_of(2, 3)
    assert trust.length_of_ratings([1, 2, 3, 4], [10, 20, 30, 40]).value == pytest.approx(1)
    rated = trust.agreement_of_ratings([1, 5, 9, 10], [1, 6, 4, 9])
    assert (
        rated["equal"].value == 0.25
        and rated["within_one"].value == 0.75
        and rated["difference"].value == pytest.approx(1.25)
    )
    assert rated["rank_correlation"].value == pytest.approx(stats.spearmanr([1, 5, 9, 10], [1, 6, 4, 9]).statistic)
    chosen = trust.agreement_of_choices([1, 2, 2, 1], [1, 2, 1, 1])
    assert chosen["equal"].value == 0.75 and chosen["kappa"].value == pytest.approx(0.5)
