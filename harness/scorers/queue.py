"""Scoring many items: coroutines of scorers feed one queue of rows, a few more than one pass at a time.

Items go from long to short, those of equal prompt and length side by side (that is where equal rows are), and an item
once begun comes before new ones: finished scores leave as early as they can, so a killed run has stored all but the
items of its last pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice

from harness.rows import RowEngine, Rows, Values
from harness.scorers import Item, Scored, Scorer, Steps

ITEMS_TOGETHER = 4096  # items of one prompt and length that are begun together, to find their equal rows

Finished = Callable[[list[tuple[int, Scored]]], object]


def score_all(
    scorer: Scorer, items: Sequence[Item], engine: RowEngine, finished: Finished | None = None
) -> list[Scored]:
    """Scores of all items, in order; `finished` is told after each pass which (index, score) are done."""
    scored: dict[int, Scored] = {}
    running: dict[int, Steps] = {}
    groups = deque(_groups(items))
    while groups or running:
        done: list[tuple[int, Scored]] = []
        while groups and engine.hungry(_length(items[groups[0][0]])):
            for index in groups.popleft():
                running[index] = scorer.steps(items[index])
                done += _advance(engine, running, index, None)
        for index, values in engine.step() if running else ():
            done += _advance(engine, running, index, values)
        scored.update(done)
        if finished is not None and done:
            finished(done)
    return [scored[index] for index in range(len(items))]


def _advance(engine: RowEngine, running: dict[int, Steps], index: Hashable, values: Values | None) -> list:
    """Send values into a coroutine; its next rows go into the queue, or it ends with a score."""
    assert isinstance(index, int)
    try:
        rows: Rows = next(running[index]) if values is None else running[index].send(values)
        engine.open(index, rows, urgent=values is not None)
    except StopIteration as end:
        del running[index]
        return [(index, end.value)]
    return []


def _length(item: Item) -> int:
    return len(item.prompt) + len(item.target)


def _groups(items: Sequence[Item]) -> Iterator[list[int]]:
    """Indices of items of equal prompt and length, longest first."""
    order = sorted(range(len(items)), key=lambda i: (-_length(items[i]), items[i].prompt, len(items[i].target)))
    for _, indices in groupby(order, key=lambda i: (items[i].prompt, len(items[i].target))):
        while group := list(islice(indices, ITEMS_TOGETHER)):
            yield group
