"""Which positions of a batch `ar` scores: the vocabulary projection and the softmax run at no earlier ones.

lm-eval's `hf` projects every position of a prompt and normalises all of them, to read a few at the end: with 250,000
tokens that is most of a small network's time and nearly all of its memory. It finds scored positions by counting from the
end of what the network returns, so that the logits of a batch's last positions serve it as well. Which requests make a
batch it does not say; the batch's rows tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Encoded = tuple[object, list[int], list[int]]  # (the request's texts, context ids, continuation ids)
PADDING = 0  # what lm-eval fills a batch up with, on the right


class ScoredTail:
    """From which position on each row is scored, by the row's hash.

    Args:
        requests: what will be scored.
        max_length: the network's, in tokens; longer rows are cut from the left, as lm-eval does it.

    `nested`: whether two requests are one row whose scored part begins at different places.
    """

    def __init__(self, requests: Iterable[Encoded], max_length: int):
        self._first: dict[int, int] = {}
        self._lengths: set[int] = set()
        self.nested = False
        for _, context_ids, target_ids in requests:
            row = (context_ids + target_ids)[-(max_length + 1) :][:-1]
            key, first = hash(tuple(row)), len(row) - len(target_ids)
            other = self._first.get(key, first)
            self.nested = self.nested or first != other
            self._first[key] = min(first, other)
            self._lengths.add(len(row))

    def last(self, rows_BT: Sequence[Sequence[int]]) -> int:
        """How many of a batch's last positions hold all that is scored: every one, if a row was not announced."""
        width = len(rows_BT[0])
        return max(width - self._first_of(row_T) for row_T in rows_BT)

    def _first_of(self, row_T: Sequence[int]) -> int:
        """Where scoring begins in a padded row, or earlier; 0 if it is not known.

        Padding looks like a token's id, so a row can be read in several ways: the earliest place counts, as among rows of
        one hash. A tail that is too long costs time, and nothing else.
        """
        shortest = max((place for place, token in enumerate(row_T, start=1) if token != PADDING), default=1)
        ends = (end for end in range(shortest, len(row_T) + 1) if end in self._lengths)
        keys = (hash(tuple(row_T[:end])) for end in ends)
        return min((self._first[key] for key in keys if key in self._first), default=0)
