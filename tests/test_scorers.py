"""Scorers against brute force, and independence of batch, order and padding."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch

from harness.rows import RowEngine
from harness.scorers import Item, make_scorer
from harness.scorers.queue import score_all


def nll(backbone, item, hidden):
    """−log p of each hidden token, one row at a time, straight from the network's own logits."""
    target = list(item.target)
    for position in hidden:
        target[position] = backbone.ids.mask
    canvas = backbone.layout.pack([(item.prompt, target)], backbone.ids)
    start = int(canvas.target_BT[0].long().argmax())
    with torch.no_grad():
        everything = torch.ones_like(canvas.attend_BT)
        logprob = backbone.logits_at(backbone.hidden(canvas), everything).double().log_softmax(-1)
    return {j: -float(logprob[start + j, item.target[j]]) for j in hidden}


def items(count=5, length=3, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda n: tuple(int(i) for i in rng.integers(10, 300, n))  # noqa: E731
    return [Item(draw(int(rng.integers(1, 9))), draw(length)) for _ in range(count)]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6])
def test_any_order_equals_brute_force(backbone, length):
    for item in items(2, length, seed=length):
        (scored,) = score_all(make_scorer("any_order", rows=63, seed=0), [item], RowEngine(backbone))
        expected = -sum(
            np.mean(list(nll(backbone, item, subset).values())) / comb(length, size)
            for size in range(1, length + 1)
            for subset in combinations(range(length), size)
        )
        assert scored.logprob == pytest.approx(expected, abs=1e-5)
        assert scored.stderr == 0 and scored.rows == 2**length - 1
        assert scored.kind == ("exact" if length == 1 else "bound")


def test_one_pass_and_pll_equal_their_definitions(backbone):
    for item in items(3, 4):
        (one,) = score_all(make_scorer("one_pass", rows=1, seed=0), [item], RowEngine(backbone))
        (pll,) = score_all(make_scorer("pll", rows=1, seed=0), [item], RowEngine(backbone))
        assert one.logprob == pytest.approx(-sum(nll(backbone, item, range(4)).values()), abs=1e-5)
        assert pll.logprob == pytest.approx(-sum(nll(backbone, item, [j])[j] for j in range(4)), abs=1e-5)
        assert (one.kind, pll.kind) == ("exact", "pseudo")


def test_sampled_any_order_is_unbiased_and_its_error_bar_honest(backbone):
    (item,) = items(1, 7, seed=3)
    (exact,) = score_all(make_scorer("any_order", rows=127, seed=0), [item], RowEngine(backbone))
    scored = [score_all(make_scorer("any_order", rows=20, seed=s), [item], RowEngine(backbone))[0] for s in range(150)]
    values = np.array([s.logprob for s in scored])
    assert abs(values.mean() - exact.logprob) < 3.5 * values.std(ddof=1) / len(values) ** 0.5
    mean_se = np.mean([s.stderr**2 for s in scored]) ** 0.5
    assert 0.7 < mean_se / values.std(ddof=1) < 1.4
    few = np.array(
        [
            score_all(make_scorer("any_order", rows=4, seed=s), [item], RowEngine(backbone))[0].logprob
            for s in range(300)
        ]
    )
    assert abs(few.mean() - exact.logprob) < 3.5 * few.std(ddof=1) / len(few) ** 0.5


def test_scores_do_not_depend_on_batch_or_order(backbone):
    queue = items(6, 2) + items(6, 7, seed=1) + items(6, 4, seed=2)
    scorer = make_scorer("any_order", rows=16, seed=1)
    alone = [score_all(scorer, [item], RowEngine(backbone, 1))[0].logprob for item in queue]
    together = [s.logprob for s in score_all(scorer, queue, RowEngine(backbone, 64))]
    backwards = [s.logprob for s in score_all(scorer, queue[::-1], RowEngine(backbone))][::-1]
    assert np.allclose(alone, together, atol=1e-4) and np.allclose(alone, backwards, atol=1e-4)


def test_one_token_choices_share_a_row(backbone):
    engine = RowEngine(backbone)
    choices = [Item((20, 21, 22), (token,)) for token in (30, 31, 32, 33)]
    scores = score_all(make_scorer("any_order", rows=32, seed=0), choices, engine)
    assert engine.rows_computed == 1 and len({round(s.logprob, 6) for s in scores}) == 4


def test_uniform_network_scores_log_vocabulary(backbone, monkeypatch):
    monkeypatch.setattr(type(backbone), "logits_at", lambda self, h, where: torch.zeros(int(where.sum()), 330))
    (item,) = items(1, 3)
    for name in ("any_order", "one_pass", "pll"):
        (scored,) = score_all(make_scorer(name, rows=32, seed=0), [item], RowEngine(backbone))
        assert scored.logprob == pytest.approx(-3 * np.log(330), abs=1e-4)


def test_greedy_flag_is_the_parallel_argmax(backbone):
    prompt = (20, 21)
    canvas = backbone.layout.pack([(prompt, [backbone.ids.mask] * 3)], backbone.ids)
    with torch.no_grad():
        best = backbone.logits_at(backbone.hidden(canvas), canvas.target_BT).argmax(-1).tolist()
    other = [best[0], best[1], (best[2] + 1) % 300]
    scored = score_all(
        make_scorer("one_pass", rows=1, seed=0),
        [Item(prompt, tuple(best)), Item(prompt, tuple(other))],
        RowEngine(backbone),
    )
    assert [s.greedy for s in scored] == [True, False]


def test_unknown_scorer_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'any_order'"):
        make_scorer("anyorder", rows=1, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        make_scorer("pll", rows=0, seed=0)


def test_broken_network_is_an_error_not_a_number(backbone, monkeypatch):
    from harness.rows import ScoringError

    monkeypatch.setattr(
        type(backbone), "logits_at", lambda self, h, where: torch.full((int(where.sum()), 330), float("nan"))
    )
    with pytest.raises(ScoringError, match="NaN"):
        score_all(make_scorer("pll", rows=1, seed=0), items(1), RowEngine(backbone))


def test_out_of_memory_halves_the_pass_and_loses_nothing(backbone, monkeypatch):
    plain = type(backbone).hidden

    def small(self, canvas):
        if len(canvas.tokens_BT) > 3:
            raise torch.OutOfMemoryError("too many rows")
        return plain(self, canvas)

    queue = items(9, 2)
    expected = [s.logprob for s in score_all(make_scorer("pll", rows=1, seed=0), queue, RowEngine(backbone))]
    monkeypatch.setattr(type(backbone), "hidden", small)
    got = [s.logprob for s in score_all(make_scorer("pll", rows=1, seed=0), queue, RowEngine(backbone, 64))]
    assert np.allclose(got, expected, atol=1e-5)
