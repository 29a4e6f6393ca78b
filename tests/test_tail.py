"""The scored end of a batch: no scored position is ever lost, and the rest is not projected to the vocabulary."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface

from harness.adapters.autoregressive import Autoregressive
from harness.adapters.tail import ScoredTail

AR: Any = Autoregressive
CONTEXT = "red blue green dog cat " * 12
CHOICES = [" red", " dog cat sun", " yes", " moon", " red blue", " 0 0"]


def scored(context: list[int], target: list[int]):
    return ("texts", context, target)


@pytest.mark.parametrize(
    "context,target,padded,last",
    [
        ([1, 2, 3], [4], [1, 2, 3], 1),  # the last input predicts the only token
        ([1, 2, 3], [4, 5], [1, 2, 3, 4], 2),
        ([1, 2, 3], [4], [1, 2, 3, 0, 0], 3),  # two of padding
        ([1, 2, 0], [4], [1, 2, 0, 0], 2),  # a token of the padding's id: one of padding
        ([1, 2, 3, 4, 5, 6], [7], [2, 3, 4, 5, 6], 1),  # cut from the left to five tokens
        ([1], [2, 3, 4, 5, 6], [1, 2, 3, 4, 5], 5),
        ([9, 9], [9], [1, 2, 3], 3),  # not announced: all
    ],
)
def test_the_tail_of_one_row(context, target, padded, last):
    assert ScoredTail([scored(context, target)], max_length=5).last([padded]) == last


def test_a_batch_keeps_what_its_neediest_row_needs():
    tail = ScoredTail([scored([1, 2, 3, 4], [5]), scored([1, 2], [3, 4, 6]), scored([7], [8])], max_length=9)
    assert tail.last([[1, 2, 3, 4], [7, 0, 0, 0]]) == 4
    assert tail.last([[1, 2, 3, 4]]) == 3  # two requests are the same row: the earlier beginning counts


def test_no_scored_position_is_lost_in_any_batch():
    draw = random.Random(0)
    requests = [
        scored([draw.randrange(3) for _ in range(draw.randint(1, 9))], [draw.randrange(3) for _ in range(draw.randint(1, 4))])
        for _ in range(300)
    ]  # fmt: skip
    tail, room = ScoredTail(requests, max_length=8), 8
    for _ in range(200):
        batch = draw.sample(requests, 4)
        rows = [(context + target)[-(room + 1) :][:-1] for _, context, target in batch]
        width = max(map(len, rows))
        needed = max(width - (len(row) - len(target)) for row, (_, _, target) in zip(rows, batch, strict=True))
        assert needed <= tail.last([row + [0] * (width - len(row)) for row in rows]) <= width


def asked(texts, kind: Any = "loglikelihood"):
    return [Instance(kind, {}, text, number, ("task", number, 1)) for number, text in enumerate(texts)]


@pytest.fixture
def widths(monkeypatch):
    """(positions of the batch, positions that the network returned logits of), call by call."""
    seen, plain = [], AR._model_call

    def noted(self, inps, *others):
        logits = plain(self, inps, *others)
        seen.append((inps.shape[1], logits.shape[1]))
        return logits

    monkeypatch.setattr(AR, "_model_call", noted)
    return seen


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_scores_are_those_of_all_logits(checkpoints, widths, batch_size, knows):
    folder = str(checkpoints["bloomz"])
    stock_class: Any = huggingface.HFLM
    stock = stock_class(pretrained=folder, device="cpu", dtype="float32", batch_size=batch_size)
    mine = AR(folder, device="cpu", batch_size=batch_size)
    mine._projects_tail = mine._projects_tail and knows  # a network may lack transformers' `logits_to_keep`
    pairs = [(CONTEXT, choice) for choice in CHOICES] + [("say", choice) for choice in CHOICES]
    expected = stock.loglikelihood(asked(pairs), disable_tqdm=True)
    found = mine.loglikelihood(asked(pairs), disable_tqdm=True)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert mine._tail is None and widths[0][0] > 50 and widths[0][1] < 10
    if batch_size == 1:
        assert max(kept for _, kept in widths) < 10


def test_requests_that_are_one_row_are_each_scored_as_alone(checkpoints):
    pairs = [("say red blue", " dog cat"), ("say red blue dog", " cat"), ("say red blue dog", " sun"), ("say", " red")]
    mine = AR(str(checkpoints["decoder_it"]), device="cpu")
    together = [score for score, _ in mine.loglikelihood(asked(pairs), disable_tqdm=True)]
    alone = [mine.loglikelihood(asked([pair]), disable_tqdm=True)[0][0] for pair in pairs]
    assert together == pytest.approx(alone, rel=1e-5) and mine.logits_cache
    assert ScoredTail([scored([1, 2], [3, 4]), scored([1, 2, 3], [5])], 9).nested
    assert not ScoredTail([scored([1, 2], [3]), scored([1, 2], [4]), scored([1], [2, 3, 5])], 9).nested


def test_whole_texts_are_scored_everywhere_and_generation_is_as_it_was(checkpoints, widths):
    folder = str(checkpoints["bloomz"])
    stock_class: Any = huggingface.HFLM
    stock, mine = stock_class(pretrained=folder, device="cpu", dtype="float32"), AR(folder, device="cpu")
    texts = asked([(CONTEXT,), ("say red",)], "loglikelihood_rolling")
    found, expected = (m.loglikelihood_rolling(texts, disable_tqdm=True) for m in (mine, stock))
    assert found == pytest.approx(expected, abs=1e-4) and all(width == kept for width, kept in widths)
    ids = torch.ones((1, 7), dtype=torch.long)
    assert mine._model_call(ids).equal(stock._model_call(ids))  # nothing is being scored: every position


def test_the_tail_is_forgotten_when_scoring_fails(checkpoints, monkeypatch):
    mine = AR(str(checkpoints["bloomz"]), device="cpu")

    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(mine.model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        mine.loglikelihood(asked([("say", " red")]), disable_tqdm=True)
    assert mine._tail is None
