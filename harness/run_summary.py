"""Finished runs as a table for people, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from harness.group_means import GroupValue
from harness.records import RunRecord
from harness.scales import shown

WHAT_VALUES_ARE = (
    "values: shares (accuracy, match, F1, ROUGE, …) in %; BLEU, chrF and TER are 0 to 100; counts, lengths and "
    "perplexities as they are"
)
WHAT_ITEMS_ARE = "items: documents × prompts (100 questions under five prompts are 500), or problems × answers where several are asked for"


def summary(records: Sequence[RunRecord], of_groups: Sequence[GroupValue] = ()) -> str:
    """A table of runs: task, metric, value, items, kind, seconds; then the groups' values, and what a value and an item are."""
    rows = [("task", "metric", "value", "items", "kind", "cut", "seconds")]
    for record in records:
        for key, value in record.values.items():
            metric = key.split(",")[0]
            if metric.endswith("_stderr") or metric == "sample_len":
                continue
            rows.append(
                (record.task, metric, shown(value, metric), str(record.n_items), record.kind or "", str(record.n_truncated or ""), f"{record.seconds:.1f}")
            )  # fmt: skip
    for one in of_groups:
        rows.append((one.group, f"{one.metric} ({one.how})", shown(one.value, one.metric), "", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, WHAT_VALUES_ARE, WHAT_ITEMS_ARE])
