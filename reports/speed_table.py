"""Decoding speed beside quality, from speed/decoding.csv (one row per mode, seed and batch size).

Ratios are against the autoregressive row with KV cache of the same batch size: the first speed mode of the
suite whose system is autoregressive. Seeds are averaged; the range is the slowest and the fastest repeat of
any seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.suites import Suite
from reports.cells import MISSING, Cell, TableError, marked
from reports.frame import Results
from reports.tables import Line, Table, TableSpec

SPEED_FILE = Path("speed") / "decoding.csv"
COLUMNS = [
    "suite",
    "mode",
    "system",
    "seed",
    "label",
    "batch_size",
    "repeats",
    "items",
    "generated_tokens",
    "tokens_per_second_median",
    "tokens_per_second_min",
    "tokens_per_second_max",
    "latency_ms_median",
    "forward_passes_per_item",
    "quality_exact_match",
    "quality_token_f1",
    "peak_memory_mib",
    "approximate",
    "device",
]
TEXT_COLUMNS = ("suite", "mode", "system", "label", "device")
LABELS = {
    "tokens_per_second": "Tokens/s [range]",
    "ratio": "× AR",
    "latency_ms": "Latency, ms",
    "forward_passes": "Passes/item",
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "peak_memory": "Peak memory, MiB",
}


def read_speed(path: Path) -> list[dict[str, Any]]:
    """The speed file's rows as measured; a number that was not measured is NaN.

    Raises:
        TableError: it lacks a column or cannot be read as CSV.
    """
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str))
    except (ValueError, OSError) as error:
        raise TableError(f"{path} is not a readable CSV file ({error}); measure speed again.") from error
    lacking = [name for name in COLUMNS if name not in frame.columns]
    if lacking:
        raise TableError(f"{path} lacks the columns {', '.join(lacking)}; measure speed again.")
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def reference_mode(suite: Suite) -> str | None:
    """The mode that ratios refer to: the first one of an autoregressive system."""
    for mode in suite.speed.modes if suite.speed else ():
        if suite.system(mode.system).paradigm == "autoregressive":
            return mode.name
    return None


def speed_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Rows: speed modes × batch sizes; None for a suite without speed modes."""
    plan = results.suite.speed
    if plan is None or not plan.modes:
        return None
    path = results.root / SPEED_FILE
    measured = read_speed(path) if path.is_file() else []
    reference = reference_mode(results.suite)
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    for batch in plan.batch_sizes:
        base = {row["seed"]: row["tokens_per_second_median"] for row in _of(measured, reference, batch)}
        for mode in plan.modes:
            found = _of(measured, mode.name, batch)
            key = f"{mode.name}:{batch}"
            approximate = any(str(row["approximate"]).lower() in ("true", "1") for row in found)
            rows.append(Line(key, (mode.label + marked(False, approximate), str(batch))))
            cells |= {(key, column): cell for column, cell in _row(found, base, approximate).items()}
    columns = tuple(Line(key, (label,)) for key, label in LABELS.items())
    notes = (*spec.footnotes, *_notes(results.suite, measured, reference))
    return Table(name, spec, ("Mode", "Batch"), tuple(rows), columns, cells, notes)


def _notes(suite: Suite, measured: list[dict[str, Any]], reference: str | None) -> Iterator[str]:
    for shots in sorted({mode.shots for mode in (suite.speed.modes if suite.speed else ()) if mode.shots}):
        named = ", ".join(m.label for m in (suite.speed.modes if suite.speed else ()) if m.shots == shots)
        yield f"Prompts with {shots} answered examples before the question, all others with none: {named}."
    if reference:
        label = next(m.label for m in (suite.speed.modes if suite.speed else ()) if m.name == reference)
        yield f"× AR: tokens per second relative to {label} at the same batch size."
    if measured:
        yield f"Device: {', '.join(sorted({str(row['device']) for row in measured}))}."
    else:
        yield f"— not measured yet: `make tables SUITE={suite.name}` fills this table."


def _of(measured: list[dict[str, Any]], mode: str | None, batch: int) -> list[dict[str, Any]]:
    return [row for row in measured if row["mode"] == mode and row["batch_size"] == batch]


def _row(found: list[dict[str, Any]], base: dict[int, float], approximate: bool) -> dict[str, Cell]:
    """The cells of one mode and batch size (rows: seeds)."""
    if not found:
        return {key: Cell(MISSING) for key in LABELS}

    def mean(column: str, digits: int, unit: str, scale: float = 1.0) -> Cell:
        return _mean([scale * float(row[column]) for row in found], digits, unit, approximate)

    rate = mean("tokens_per_second_median", 0, "tokens/s")
    low = min(float(row["tokens_per_second_min"]) for row in found)
    high = max(float(row["tokens_per_second_max"]) for row in found)
    # an autoregressive row that wrote nothing at all has no rate to be compared with
    ratios = [row["tokens_per_second_median"] / (base.get(row["seed"]) or math.nan) for row in found]
    text = f"{rate.text} [{low:.0f}–{high:.0f}]"
    return {
        "tokens_per_second": replace(rate, text=text, facts={**rate.facts, "low": low, "high": high}),
        "ratio": _mean(ratios, 2, "ratio", approximate),
        "latency_ms": mean("latency_ms_median", 1, "ms"),
        "forward_passes": mean("forward_passes_per_item", 1, "passes per item"),
        "exact_match": mean("quality_exact_match", 1, "%", 100),
        "token_f1": mean("quality_token_f1", 1, "%", 100),
        "peak_memory": mean("peak_memory_mib", 0, "MiB"),
    }


def _mean(values: list[float], digits: int, unit: str, approximate: bool) -> Cell:
    """Mean over the seeds that were measured; absent where none was."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Cell(MISSING)
    value = statistics.fmean(known)
    deviation = statistics.stdev(known) if len(known) > 1 else None
    facts = {"n_seeds": len(known), "approximate": approximate, "seed_sd": deviation}
    return Cell(f"{value:.{digits}f}", value, unit, facts)
