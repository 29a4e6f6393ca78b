"""Finished runs as a table for people, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import RunRecord


def _shown(value: float, metric: str) -> str:
    """A share as per cent; anything else (a count, a perplexity, a BLEU) as it is."""
    if metric.startswith("n_"):
        return f"{value:.0f}"
    return f"{100 * value:.1f}" if 0 <= value <= 1 else f"{value:.2f}"


def summary(records: Sequence[RunRecord], groups: dict[str, list[str]]) -> str:
    """A table of runs for people: task, metric, value in %, items, kind, seconds; then group means."""
    rows = [("task", "metric", "value", "items", "kind", "cut", "seconds")]
    for record in records:
        for key, value in record.values.items():
            metric = key.split(",")[0]
            if metric.endswith("_stderr") or metric == "sample_len":
                continue
            rows.append(
                (record.task, metric, _shown(value, metric), str(record.n_items), record.kind or "", str(record.n_truncated or ""), f"{record.seconds:.1f}")
            )  # fmt: skip
    by_task = {record.task: record for record in records}
    for group, leaves in groups.items():
        for key in sorted(
            {
                key
                for leaf in leaves
                if leaf in by_task
                for key in by_task[leaf].values
                if not key.startswith("sample_len")
            }
        ):
            metric = key.split(",")[0]
            values = [by_task[leaf].values[key] for leaf in leaves if leaf in by_task and key in by_task[leaf].values]
            if metric.endswith("_stderr") or len(values) < 2:
                continue
            rows.append(
                (group, f"{metric} (mean of {len(values)})", _shown(sum(values) / len(values), metric), "", "", "", "")
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
