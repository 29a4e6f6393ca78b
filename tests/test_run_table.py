"""The table that `python -m harness run` prints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.run_summary import WHAT_ITEMS_ARE, summary


def record(task: str, value: float) -> Any:
    values = {"acc,none": value, "acc_stderr,none": 0.1, "sample_len": 500}
    return SimpleNamespace(task=task, values=values, n_items=500, kind="exact", n_truncated=0, seconds=1.25)


def test_runs_groups_and_what_an_item_is():
    lines = summary([record("a", 0.5), record("b", 0.25)], {"both": ["a", "b"]}).split("\n")
    assert [line.split() for line in lines[:-1]] == [
        ["task", "metric", "value", "items", "kind", "cut", "seconds"],
        ["a", "acc", "50.0", "500", "exact", "1.2"],
        ["b", "acc", "25.0", "500", "exact", "1.2"],
        ["both", "acc", "(mean", "of", "2)", "37.5"],
    ]
    assert lines[-1] == WHAT_ITEMS_ARE and lines[-1].startswith("items: documents × prompts")
