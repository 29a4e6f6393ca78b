"""Documents behave as the part of a Dataset that lm-eval uses."""

from __future__ import annotations

import datasets
import pytest

from harness.documents import Documents

ROWS = [
    {"id": "a", "choices": ["x", "y"]},
    {"id": "b", "choices": ["z"], "gold": 1},
    {"id": "c", "choices": [], "gold": 0},
]


def test_rows_columns_and_parts_are_those_of_a_dataset():
    ours, theirs = Documents(ROWS), datasets.Dataset.from_list([{**row, "gold": row.get("gold")} for row in ROWS])
    assert list(ours) == list(theirs) and len(ours) == len(theirs) and ours[1] == theirs[1] and ours[-1] == theirs[-1]
    assert list(ours.features) == list(theirs.features) == ours.column_names
    assert ours["id"] == list(theirs["id"]) and ours[:2] == theirs[:2]
    assert list(ours.select([2, 0])) == list(theirs.select([2, 0])) and len(ours.select([])) == 0
    assert list(ours.select([]).features) == list(ours.features)
    with pytest.raises(KeyError):
        ours["no"]
    with pytest.raises(IndexError):
        ours[3]


def test_where_they_were_read_from_goes_with_them():
    assert Documents(ROWS).data is None and Documents(ROWS, data="mirror").select([0]).data == "mirror"


def test_a_reader_cannot_change_a_row():
    ours = Documents(ROWS)
    ours[0]["id"] = "changed"
    next(iter(ours))["id"] = "changed"
    ours.select([0])[0]["id"] = "changed"
    assert ours[0]["id"] == "a" and ROWS[0] == {"id": "a", "choices": ["x", "y"]}
