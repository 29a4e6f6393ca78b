"""The any-order estimate and the chains against enumeration of a toy distribution; masks; error bars; comparisons."""

from itertools import permutations, product
from math import factorial
from typing import Any

import numpy as np
import pytest
from toys import WORDS, TableBackbone

from harness.rows import RowEngine
from harness.scorers import Item, Scored, make_scorer
from harness.scorers.compat import dream_masks, llada_masks
from harness.scorers.estimator import Estimator, flip_probability
from harness.scorers.masks import all_masks, draw, plan_of, uniforms
from harness.scorers.queue import score_all


def engine(backbone: Any, most_rows: int | None = None) -> RowEngine:
    return RowEngine(backbone, most_rows)


def score(name, backbone, target, rows=32, seed=0, question="", **more):
    item = Item((10, 11), tuple(target), question, **more)
    return score_all(make_scorer(name, rows=rows, seed=seed), [item], engine(backbone))[0]


def texts(length, count, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(int(w) for w in rng.choice(WORDS, length)) for _ in range(count)]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6])
def test_every_exact_score_of_a_joint_distribution_is_its_log_probability(length):
    backbone = TableBackbone(length, "joint", seed=length)
    for target in texts(length, 3):
        truth = np.log(backbone.joint[tuple(word - 4 for word in target)])
        for name in ("any_order", "left_to_right", "confidence_chain"):
            scored = score(name, backbone, target, rows=63)
            assert scored.logprob == pytest.approx(truth, abs=1e-6) and scored.stderr == 0


@pytest.mark.parametrize("length", [2, 3, 4])
def test_any_order_is_the_mean_over_all_orders(length):
    backbone = TableBackbone(length, "inconsistent", seed=3)
    (target,) = texts(length, 1)
    total = 0.0
    for order in permutations(range(length)):
        seen: dict[int, int] = {}
        for place in order:
            total += np.log(backbone.conditional(seen, place)[target[place] - 4])
            seen[place] = target[place] - 4
    assert score("any_order", backbone, target).logprob == pytest.approx(total / factorial(length), abs=1e-6)


@pytest.mark.parametrize("name", ["left_to_right", "confidence_chain", "one_pass"])
def test_an_exact_kind_is_normalised_and_exactly_one_text_is_greedy(name):
    backbone = TableBackbone(4, "inconsistent", seed=1)
    scored = [score(name, backbone, target) for target in product(WORDS, repeat=4)]
    assert sum(np.exp(s.logprob) for s in scored) == pytest.approx(1, abs=1e-5)
    assert sum(s.greedy for s in scored) == 1 and {s.kind for s in scored} == {"exact"}


def test_the_greedy_text_of_the_confidence_chain_is_what_it_writes():
    backbone = TableBackbone(5, "inconsistent", seed=2)
    seen: dict[int, int] = {}
    while len(seen) < 5:
        best = {p: backbone.conditional(seen, p) for p in range(5) if p not in seen}
        place = max(best, key=lambda p: (best[p].max(), -p))
        seen[place] = int(best[place].argmax())
    written = [4 + seen[place] for place in range(5)]
    assert score("confidence_chain", backbone, written).greedy
    assert not score("confidence_chain", backbone, [*written[:-1], 4 + (written[-1] - 3) % 3]).greedy


@pytest.mark.parametrize("length,rows", [(8, 32), (8, 16), (12, 32), (12, 64), (20, 24)])
def test_a_network_that_ignores_context_has_no_error(length, rows):
    backbone = TableBackbone(length, "independent", seed=5)
    (target,) = texts(length, 1)
    truth = np.log([backbone.alone[i][w - 4] for i, w in enumerate(target)]).sum()
    for name in ("any_order", "one_pass", "pll", "left_to_right", "confidence_chain"):
        scored = score(name, backbone, target, rows=rows)
        assert scored.logprob == pytest.approx(truth, abs=1e-4) and scored.stderr == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("rows", [3, 8, 20, 40])
def test_the_hybrid_is_unbiased_and_its_error_bar_honest(rows):
    backbone = TableBackbone(6, "inconsistent", seed=4)
    (target,) = texts(6, 1)
    truth = score("any_order", backbone, target, rows=63).logprob
    scored = [score("any_order", backbone, target, rows=rows, seed=s) for s in range(300)]
    values, stderr = np.array([s.logprob for s in scored]), np.array([s.stderr for s in scored])
    assert all(s.rows <= rows for s in scored) and (stderr > 0).mean() > 0.9  # two equal draws have no spread
    assert abs(values.mean() - truth) < 3 * values.std(ddof=1) / len(values) ** 0.5
    assert (stderr**2).mean() ** 0.5 == pytest.approx(values.std(ddof=1), rel=0.25)
    freedom = scored[0].draws_RC.shape[1]  # type: ignore[union-attr]
    if freedom >= 3:
        from scipy.stats import t

        inside = np.abs(values - truth) < stderr * t.ppf(0.975, freedom)
        assert inside.mean() > 0.88


def test_all_masks_are_counted_once():
    hidden_NL, weight_N = all_masks(6)
    assert len(hidden_NL) == 63 == len({row.tobytes() for row in hidden_NL}) and hidden_NL[0].all()
    per_position = (hidden_NL * weight_N[:, None]).sum(0)
    assert np.allclose(per_position, 1.0)  # each position weighs as one token


@pytest.mark.parametrize("length,rows", [(7, 8), (9, 32), (16, 32), (25, 32), (6, 40)])
def test_sampled_masks_weigh_every_count_and_position_alike(length, rows):
    plan = plan_of(length, rows)
    masks = np.stack([draw(plan, seed, "question") for seed in range(600)])
    size = masks.sum(-1)
    weight = 1 / (plan.cells * plan.density_K[np.searchsorted(plan.sizes_K, size)])
    for k in plan.sizes_K:
        share = (weight * (size == k)).sum(-1)  # per replicate; its expectation is 1
        assert abs(share.mean() - 1) < 4 * share.std() / share.size**0.5 + 1e-12
    by_position = (masks * (weight / size)[..., None]).sum((1, 2)) / 2
    spread = by_position.std(0) / len(by_position) ** 0.5
    assert (np.abs(by_position.mean(0) - len(plan.sizes_K) / length) < 4.5 * spread).all()


def test_published_counts_keep_their_rounding_and_dream_its_bernoulli():
    rng = np.random.default_rng(0)
    for _ in range(20):  # L = 2 in batches of eight: weights 0.75 and 1.25 where both should be 1, whatever the offset
        assert (llada_masks(2, 8, rng).sum(1) == 1).sum() == 3
    sizes = llada_masks(12, 64000, rng).sum(1)
    share = np.bincount(sizes, minlength=13)[1:] / len(sizes)
    assert share.max() / share.min() > 1.2  # not uniform: rounding half to even
    hidden, rate = dream_masks(6, 3200, rng)
    assert hidden.mean() == pytest.approx(rate.mean(), abs=0.02) and not hidden.any(1).all()


def test_published_estimators_estimate_the_bound():
    backbone = TableBackbone(4, "inconsistent", seed=6)
    (target,) = texts(4, 1)
    truth = score("any_order", backbone, target).logprob
    for name in ("dream", "llada"):
        scorer = make_scorer("any_order", rows=6400, seed=0, compat=name)
        (scored,) = score_all(scorer, [Item((10,), target)], engine(backbone))
        assert scored.logprob == pytest.approx(truth, abs=5 * scored.stderr + 0.1) and scored.stderr > 0
    (beam,) = score_all(make_scorer("pll", rows=1, seed=0, compat="max_beam"), [Item((10,), target)], engine(backbone))
    assert beam.kind == "pseudo" and beam.rows == 4


def test_randomness_is_a_function_of_its_indices():
    key = np.uint64(123)
    small, large = uniforms(key, 1, 5, 2, 2), uniforms(key, 1, 9, 3, 2)
    assert (large[:5, :2] == small).all() and ((0 <= large) & (large < 1)).all()
    many = uniforms(key, 0, 20000)
    assert many.mean() == pytest.approx(0.5, abs=0.01) and abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.03
    assert not (uniforms(key, 0, 100) == uniforms(np.uint64(124), 0, 100)).any()


def test_choices_of_a_question_share_masks_and_questions_do_not():
    backbone = TableBackbone(7, "inconsistent")
    seen: dict[tuple, list] = {}

    class Spy(RowEngine):
        def open(self, name, rows, urgent=False):
            seen[tuple(rows.target_L), rows.prompt] = rows.hidden_NL.tolist()
            super().open(name, rows, urgent)

    (a, b) = texts(7, 2)
    items = [Item((8,), a, "q1"), Item((9,), b, "q1"), Item((8,), b, "q2")]
    spy: Any = Spy
    score_all(make_scorer("any_order", rows=20, seed=0), items, spy(backbone))
    assert seen[a, (8,)] == seen[b, (9,)] != seen[b, (8,)]


def test_flips_use_paired_differences():
    draws = np.array([[1.0, 2.0], [3.0, 1.0]])
    best = Scored(-10.0, 1.0, False, 5, "bound", draws)
    twin = Scored(-11.0, 1.0, False, 5, "bound", draws - 0.25)  # the same noise: the difference is certain
    apart = Scored(-11.0, 1.0, False, 5, "bound", draws[::-1] * [[1], [2]])
    assert flip_probability([(4, best), (4, twin)]) == 0
    assert 0.05 < flip_probability([(4, best), (4, apart)]) < 0.5
    assert flip_probability([(4, best), (5, apart)]) > 0 and flip_probability([(4, best)]) == 0


def test_racing_saves_rows_and_keeps_clear_answers():
    backbone = TableBackbone(8, "inconsistent", seed=7)
    items = [Item((10, q), target, f"q{q}") for q in range(12) for target in texts(8, 2, seed=q)]
    plain, raced = engine(backbone), engine(backbone)
    full = Estimator(rows=64).score(items, plain)
    race = Estimator(rows=64, racing=True).score(items, raced)
    assert raced.rows_computed < plain.rows_computed
    exact = Estimator(rows=255).score(items, engine(backbone))
    for q in range(12):
        pair = slice(2 * q, 2 * q + 2)
        gap = exact[2 * q].logprob - exact[2 * q + 1].logprob
        if abs(gap) > 2:
            assert np.argmax([s.logprob for s in race[pair]]) == np.argmax([s.logprob for s in full[pair]])
    with pytest.raises(ValueError, match="racing=true works with"):
        Estimator("pll", racing=True)
