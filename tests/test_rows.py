"""The queue: each distinct row once, few positions projected, whatever batch, order or memory."""

from typing import Any

import numpy as np
import pytest
import torch
from toys import IDS, WORDS, TableBackbone

from harness.rows import RowEngine, Rows, ScoringError
from harness.scorers import Item, make_scorer
from harness.scorers.queue import score_all


def engine(backbone: Any, most_rows: int | None = None) -> RowEngine:
    return RowEngine(backbone, most_rows)


def items(count=12, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda n: tuple(int(i) for i in rng.choice(WORDS, n))  # noqa: E731
    return [Item(draw(int(rng.integers(1, 6))), draw(5), f"q{i // 3}") for i in range(count)]


@pytest.mark.parametrize("name", ["any_order", "confidence_chain", "left_to_right", "pll"])
def test_scores_do_not_depend_on_batch_or_order(name):
    backbone = TableBackbone(5, "inconsistent")
    queue, scorer = items(), make_scorer(name, rows=32, seed=3)
    alone = [score_all(scorer, [item], engine(backbone, 1))[0].logprob for item in queue]
    for size in (1, 3, None):
        together = [s.logprob for s in score_all(scorer, queue, engine(backbone, size))]
        backwards = [s.logprob for s in score_all(scorer, queue[::-1], engine(backbone, size))][::-1]
        assert np.allclose(alone, together, atol=1e-5) and np.allclose(alone, backwards, atol=1e-5)


def test_one_token_answer_sets_cost_one_row_per_question():
    backbone = TableBackbone(1)
    queue = [Item((q, 9, 9), (word,), f"q{q}") for q in range(10, 40) for word in WORDS]
    for name in ("any_order", "pll", "one_pass", "left_to_right", "confidence_chain"):
        run = engine(backbone)
        score_all(make_scorer(name, rows=32, seed=0), queue, run)
        assert run.rows_computed == 30, name


def test_choices_share_rows_that_hide_what_differs():
    backbone = TableBackbone(3, "inconsistent")
    choices = [Item((9,), (4, 5, word)) for word in WORDS]
    run = engine(backbone)
    scored = score_all(make_scorer("any_order", rows=32, seed=0), choices, run)
    assert sum(s.rows for s in scored) == 21 and run.rows_computed == 4 + 3 * 3  # 4 of 7 masks hide the last token


def test_finished_scores_leave_while_others_wait():
    backbone, told = TableBackbone(5, "inconsistent"), []
    run = engine(backbone, 8)
    score_all(make_scorer("confidence_chain", rows=1, seed=0), items(40), run, lambda news: told.append(len(news)))
    assert sum(told) == 40 and len(told) > 3  # a killed run has stored all but those in the last pass


def test_only_positions_asked_for_are_projected():
    backbone: Any = TableBackbone(4, "inconsistent")
    seen: list[int] = []
    plain = backbone.logits_at
    backbone.logits_at = lambda hidden, where: seen.append(int(where.sum())) or plain(hidden, where)
    target = np.array([4, 5, 6, 4])
    hidden = np.array([[True, True, False, False], [True, True, True, True]])
    wanted = np.array([[True, False, False, False], [False, True, False, True]])
    (values,) = engine(backbone).run([Rows((9,), target, hidden, wanted)])
    assert sum(seen) == 3 and (np.isfinite(values.logprob_NL) == wanted).all()


def test_slices_of_the_vocabulary_change_nothing():
    backbone = TableBackbone(5, "inconsistent")
    whole, sliced = engine(backbone), engine(backbone)
    sliced.positions_at_once = 2
    queue = items()
    for name in ("any_order", "confidence_chain"):
        a, b = (score_all(make_scorer(name, rows=32, seed=0), queue, run) for run in (whole, sliced))
        assert [(s.logprob, s.greedy) for s in a] == [(s.logprob, s.greedy) for s in b]


def test_out_of_memory_halves_until_it_fits_and_one_row_too_many_is_a_sentence():
    backbone: Any = TableBackbone(5, "inconsistent")
    plain, room = backbone.hidden, [4]

    def small(canvas):
        if len(canvas.tokens_BT) > room[0]:
            raise torch.OutOfMemoryError("out of memory")
        return plain(canvas)

    queue, scorer = items(), make_scorer("any_order", rows=32, seed=0)
    expected = [s.logprob for s in score_all(scorer, queue, engine(backbone, 2))]
    backbone.hidden = small
    for size in (None, 64):
        assert [s.logprob for s in score_all(scorer, queue, engine(backbone, size))] == pytest.approx(expected)
    room[0] = 0
    with pytest.raises(ScoringError, match="does not fit into memory"):
        score_all(scorer, queue, engine(backbone))


def test_short_rows_stay_together_after_long_ones_were_too_much():
    backbone: Any = TableBackbone(5, "inconsistent")
    plain, sizes = backbone.hidden, []

    def small(canvas):
        if canvas.tokens_BT.numel() > 200:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(canvas.tokens_BT.shape)
        return plain(canvas)

    backbone.hidden = small
    run, scorer = engine(backbone), make_scorer("any_order", rows=32, seed=0)
    for prompt in ((9,) * 50, (9,)):
        score_all(scorer, [Item(prompt, (4, 5, 6, 4, 5))], run)
    longest, shortest = (max(rows for rows, width in sizes if width == w) for w in {width for _, width in sizes})
    assert {longest, shortest} == {
        3,
        24,
    }  # of 57 tokens: 31 rows, then 15, 7, 3 (199 tokens a pass); of 8 tokens: 199 // 8


def test_nan_logits_are_an_error_not_a_number():
    backbone: Any = TableBackbone(3)
    backbone.logits_at = lambda hidden, where: torch.full((int(where.sum()), 7), float("nan"))
    for name in ("any_order", "pll", "confidence_chain"):
        with pytest.raises(ScoringError, match="NaN"):
            score_all(make_scorer(name, rows=8, seed=0), [Item((9,), (4, 5, 6))], engine(backbone))


def test_the_mask_token_is_never_the_best_one():
    backbone: Any = TableBackbone(2, "independent")

    def logits(hidden, where):
        out = hidden[where].clone()
        out[:, IDS.mask] = 50.0
        return out

    plain = score_all(make_scorer("confidence_chain", rows=1, seed=0), [Item((9,), (4, 4))], engine(backbone))[0]
    backbone.logits_at = logits
    masked = score_all(make_scorer("confidence_chain", rows=1, seed=0), [Item((9,), (4, 4))], engine(backbone))[0]
    assert masked.greedy == plain.greedy
