"""Variance components against the balanced ANOVA by hand and against simulated data with known components."""

import numpy as np
import pytest

from reports.variance import components, nested


def test_nested_components_of_a_balanced_layout_are_the_classical_ones():
    y = np.array([1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 10.0, 12.0])
    outer, inner = list("aaaabbbb"), ["a1", "a1", "a2", "a2", "b1", "b1", "b2", "b2"]
    # cell means 2 6 3 11, outer means 4 7; MS rest 2, MS inner (2·(4+4+16+16))/2 = 40, MS outer 8·2.25/1 = 18
    assert nested(y, outer, inner) == pytest.approx((0.0, (40 - 2) / 2, 2.0))


def test_components_are_found_again_in_unequal_simulated_data():
    rng, truth = (
        np.random.default_rng(0),
        {"system": 0.8, "seed": 0.3, "language": 0.6, "prompt": 0.4, "item": 1.0, "rest": 2.0},
    )
    found = []
    for _ in range(60):
        language = rng.integers(0, 12, 600)
        prompt = language * 10 + rng.integers(0, 6, 600)
        of_item = rng.normal(0, truth["language"] ** 0.5, 12)[language] + rng.normal(0, truth["item"] ** 0.5, 600)
        of_item += rng.normal(0, truth["prompt"] ** 0.5, 120)[prompt]
        of_run = rng.normal(0, truth["system"] ** 0.5, (8, 1)) + rng.normal(0, truth["seed"] ** 0.5, (8, 3))
        values = of_run[:, :, None] + of_item + rng.normal(0, truth["rest"] ** 0.5, (8, 3, 600))
        found.append(components(values, language.astype(str).tolist(), prompt.astype(str).tolist()))
    for name, value in truth.items():
        assert np.mean([getattr(f, name) for f in found]) == pytest.approx(value, rel=0.12), name


def test_shares_add_up_and_nothing_varies_gives_zeros():
    values = np.random.default_rng(1).normal(size=(3, 2, 20))
    got = components(values, ["x"] * 20, ["y"] * 20)
    assert sum(got.shares().values()) == pytest.approx(1) and got.language == 0
    assert sum(components(np.ones((2, 2, 4)), ["x"] * 4, ["y"] * 4).shares().values()) == 0
    with pytest.raises(ValueError, match="two systems"):
        components(values[:1], ["x"] * 20, ["y"] * 20)
