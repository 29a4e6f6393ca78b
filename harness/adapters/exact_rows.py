"""Rows of `ar` and `encdec`: what goes through the network to score continuations exactly, and where they are read off.

A continuation of L tokens is read off the last L positions of what the decoder reads, position i predicting the token
behind it. Requests that the network reads alike are one row: choices that differ in their last token only, a prompt that
holds another's answer. Each is scored as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Ids = Sequence[int]
Read = tuple[tuple[int, ...], tuple[int, ...]]  # (the encoder's input, empty without one; the decoder's)


class Row(NamedTuple):
    """What the network reads, and the requests that it answers: (index, target ids), the longest target first."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    asked: list[tuple[int, Ids]]

    @property
    def first(self) -> int:
        """The first scored position of the decoder's input."""
        return len(self.decoder) - len(self.asked[0][1])


class Place(NamedTuple):
    """A scored position of a batch, and the tokens that are asked for there: (index of the request, token)."""

    row: int
    position: int
    asked: list[tuple[int, int]]


def distinct_rows(pairs: Iterable[tuple[Ids, Ids]], read: Callable[[Ids, Ids], Read], share: bool = True) -> list[Row]:
    """The rows of (context ids, target ids), those of the most tokens first; without `share`, a row for every pair."""
    rows: dict[object, Row] = {}
    for index, (context, target) in enumerate(pairs):
        inputs = read(context, target)
        key = inputs if share else index
        rows.setdefault(key, Row(*inputs, [])).asked.append((index, target))
    for row in rows.values():
        row.asked.sort(key=lambda one: (-len(one[1]), one[0]))
    return sorted(rows.values(), key=lambda row: (-len(row.encoder) - len(row.decoder), row.encoder, row.decoder))


def places(rows: Sequence[Row]) -> list[Place]:
    """The scored positions of a batch, in order."""
    found = []
    for number, row in enumerate(rows):
        asked_at: list[list[tuple[int, int]]] = [[] for _ in range(row.first, len(row.decoder))]
        for index, target in row.asked:
            for asked, token in zip(asked_at[-len(target) :], target, strict=True):
                asked.append((index, token))
        found += [Place(number, row.first + offset, asked) for offset, asked in enumerate(asked_at)]
    return found
