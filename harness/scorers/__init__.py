"""Scorers: estimators of log p(target | prompt) for masked LMs. A new one is one file and one line here.

A scorer is a coroutine over rows: it yields the rows it needs, receives their values, and returns a `Scored`; so
one-shot estimators and chains share one queue. Every score says what it is: `exact` (a normalised likelihood of
the stated procedure), `bound` (of the any-order likelihood, from below), `pseudo` (no probability of the target).
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.records import Kind
from harness.rows import Row, RowEngine, RowResult
from harness.suites import unknown

SCORERS = {
    "any_order": "harness.scorers.any_order:AnyOrder",
    "one_pass": "harness.scorers.pseudo_likelihood:OnePass",
    "pll": "harness.scorers.pseudo_likelihood:PseudoLogLikelihood",
}


@dataclass(frozen=True)
class Item:
    """A target to be scored after a prompt (token ids)."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Scored:
    """log p in nats (higher is better); `stderr` of the estimator in nats (0 where exact); rows asked for.

    `greedy`: the target is what one parallel argmax pass would write.
    """

    logprob: float
    stderr: float
    greedy: bool
    rows: int
    kind: Kind


Steps = Generator[list[Row], list[RowResult], Scored]


class Scorer(Protocol):
    """`kind` of its estimate in general, and the coroutine that scores one item."""

    kind: Kind

    def steps(self, item: Item, mask: int) -> Steps:
        """Yields rows, receives their results, returns the score."""
        ...


def make_scorer(name: str, *, rows: int, seed: int) -> Scorer:
    """The scorer called `name` with its row budget and seed.

    Raises:
        ValueError: unknown name (the known ones are listed) or a budget below 1.
    """
    if name not in SCORERS:
        raise ValueError(unknown("scorer", name, list(SCORERS)))
    if rows < 1:
        raise ValueError(f"rows={rows}: the row budget of a choice must be at least 1.")
    module, _, attribute = SCORERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(rows=rows, seed=seed)


def hidden_row(item: Item, hidden: Sequence[int], mask: int) -> Row:
    """The row in which the target positions `hidden` are masked and asked for."""
    canvas = list(item.target)
    for position in hidden:
        canvas[position] = mask
    wanted = tuple(hidden)
    return Row(item.prompt, tuple(canvas), wanted, tuple(item.target[position] for position in wanted))


def score_all(scorer: Scorer, items: Sequence[Item], engine: RowEngine, progress=None) -> list[Scored]:
    """Scores of all items, in order; each round of all coroutines is one queue of rows."""
    mask = engine.backbone.ids.mask
    running = {index: scorer.steps(item, mask) for index, item in enumerate(items)}
    asked = {index: next(steps) for index, steps in running.items()}
    scored: list[Scored | None] = [None] * len(items)
    while asked:
        if progress is not None:
            progress(0, sum(map(len, asked.values())))
        queue = [row for rows in asked.values() for row in rows]
        values = engine.run(queue, None if progress is None else lambda done: progress(done, 0))
        following, at = {}, 0
        for index, rows in asked.items():
            try:
                following[index] = running[index].send(values[at : at + len(rows)])
            except StopIteration as finished:
                scored[index] = finished.value
            at += len(rows)
        asked = following
    return scored  # type: ignore[return-value]
