"""Plans of batches: against plain lists, the same for all, a few bytes an example."""

import random
import tracemalloc
from typing import Any

import numpy as np
import pytest

from harness.config import ConfigError
from trainers.batches import BatchPlan, PackedPlan


def test_batches_are_the_same_for_all_and_cover_everything():
    lengths = [(7 * i) % 31 for i in range(1000)]
    plan = list(BatchPlan(lengths, 10, 150, seed=1, window=5))
    assert (
        plan
        == list(BatchPlan(lengths, 10, 150, seed=1, window=5))
        != list(BatchPlan(lengths, 10, 150, seed=2, window=5))
    )
    assert sorted(i for batch in plan[:100] for i in batch) == list(range(1000))
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in plan]
    assert sum(spread) / len(spread) < 10  # bucketed: a random batch of ten would spread over about 25
    with pytest.raises(ConfigError, match="larger than"):
        BatchPlan([1, 2], 10, 1, 0, 1)


def plain_epoch(lengths, batch_size: int, seed: int, window: int, room: int | None, epoch: int) -> list:
    """An epoch's batches, with Python's own lists."""
    rng = random.Random(f"{seed}/batches/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if room is not None:
        rows, free = [], 0
        for index in order:
            if lengths[index] > room:
                continue
            if lengths[index] > free:
                rows.append([])
                free = room
            rows[-1].append(index)
            free -= lengths[index]
        return [rows[at : at + batch_size] for at in range(0, len(rows) - batch_size + 1, batch_size)]
    made = []
    for start in range(0, len(order), batch_size * window):
        part = sorted(order[start : start + batch_size * window], key=lambda index: lengths[index])
        batches = [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        rng.shuffle(batches)
        made += [batch for batch in batches if len(batch) == batch_size]
    return made


@pytest.mark.parametrize(
    "examples,batch,window,room",
    [(103, 10, 3, None), (40, 7, 1, None), (10, 10, 2, None), (103, 4, 1, 40), (57, 2, 1, 29)],
)
def test_the_order_of_batches_is_that_of_plain_lists(examples, batch, window, room):
    lengths = [1 + (7 * i) % 31 for i in range(examples)]
    wanted = [one for epoch in range(4) for one in plain_epoch(lengths, batch, 5, window, room, epoch)]
    if room is None:
        found = BatchPlan(lengths, batch, len(wanted), 5, window)
    else:
        found = PackedPlan(lengths, batch, len(wanted), 5, room)
    assert list(found) == wanted
    assert found[len(wanted) // 2] == wanted[len(wanted) // 2]  # back in an earlier epoch
    assert all(type(index) is int for index in found[0]) or room is not None


@pytest.mark.parametrize("room", [None, 64])
def test_a_plan_takes_a_few_bytes_an_example(room):
    lengths: Any = np.full(100_000, 20, dtype=np.int32)
    tracemalloc.start()
    plan = BatchPlan(lengths, 100, 5, 0, 1) if room is None else PackedPlan(lengths, 100, 5, 0, room)
    plan[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / len(lengths) < 40
