"""Rows and scored positions of exact scores: by hand, and no token lost or moved in random requests."""

from __future__ import annotations

import random

from harness.adapters.exact_rows import Place, Read, Row, distinct_rows, places


def causal(context, target):
    return (), (*context, *target)[:-1]


def test_what_is_read_alike_is_one_row():
    pairs = [([1, 2], [3, 4]), ([1, 2, 3], [5]), ([1, 2], [3, 6]), ([1, 2], [9]), ([7], [8])]
    assert distinct_rows(pairs, causal) == [
        Row((), (1, 2, 3), [(0, [3, 4]), (2, [3, 6]), (1, [5])]),
        Row((), (1, 2), [(3, [9])]),
        Row((), (7,), [(4, [8])]),
    ]
    assert [len(row.asked) for row in distinct_rows(pairs, causal, share=False)] == [1] * 5


def test_rows_are_longest_first_whatever_the_order():
    pairs = [([1], [2, 3]), ([4, 5, 6], [7]), ([0, 5, 6], [7]), ([8], [8])]
    rows = [row.decoder for row in distinct_rows(pairs, causal)]
    assert rows == [(0, 5, 6), (4, 5, 6), (1, 2), (8,)]
    assert rows == [row.decoder for row in distinct_rows(pairs[::-1], causal)]


def test_the_most_tokens_come_first_then_encoders():
    read: dict[tuple[int, ...], Read] = {(1, 1): ((1,), (0, 1, 2)), (2, 2): ((2, 2), (0,)), (3, 3): ((1,), (0, 1))}
    rows = distinct_rows([(key, key) for key in read], lambda context, _: read[tuple(context)])
    assert [(row.encoder, row.decoder) for row in rows] == [((1,), (0, 1, 2)), ((1,), (0, 1)), ((2, 2), (0,))]


def test_scored_positions_by_hand():
    rows = distinct_rows([([1, 2], [3, 4]), ([1, 2, 3], [5]), ([6, 7], [8])], causal)
    assert places(rows) == [
        Place(0, 1, [(0, 3)]),  # the token 2 at position 1 predicts 3
        Place(0, 2, [(0, 4), (1, 5)]),
        Place(1, 1, [(2, 8)]),
    ]


def test_every_token_is_asked_for_behind_what_precedes_it():
    draw = random.Random(0)
    pairs = [
        ([draw.randrange(3) for _ in range(draw.randint(1, 5))], [draw.randrange(3) for _ in range(draw.randint(1, 4))])
        for _ in range(300)
    ]
    rows = distinct_rows(pairs, causal)
    assert len({row.decoder for row in rows}) == len(rows) < len(pairs)
    found: dict[int, list[int]] = {}
    for start in range(0, len(rows), 7):
        batch = rows[start : start + 7]
        for place in places(batch):
            for index, token in place.asked:
                context, target = pairs[index]
                before = [*context, *target[: len(found.setdefault(index, []))]]
                assert list(batch[place.row].decoder[: place.position + 1]) == before
                found[index].append(token)
    assert [found[index] for index in range(len(pairs))] == [target for _, target in pairs]
