"""Predicted lengths and what a length beam closes, from speed/lengths.csv (one row per system, seed and kind of document).

Seeds are averaged; a gap is closed as far as the averages say: (beam − predicted) / (oracle − predicted).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.suites import LengthPlan
from reports.cells import MISSING, Cell, TableError
from reports.frame import Results
from reports.tables import Line, Table, TableSpec

CSV_FILE = Path("speed") / "lengths.csv"
SHOWN = ("translation", "all")
SHARES = {  # key → label, in per cent
    "exact": "Length right",
    "within_one": "Within ±1",
    "in_beam": "In the beam",
    "oracle": "Reference's length †",
    "predicted": "Predicted",
}
RULES = {"with_length": "with length", "content_mean": "content mean", "row_mean": "row mean", "scorer": "scorer"}


def length_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Rows: systems × kinds of documents; None for a suite without a lengths section."""
    plan = results.suite.lengths
    if plan is None:
        return None
    measured = _read(results.root / CSV_FILE, plan)
    kinds = [kind for kind in SHOWN if not measured or any(row["kind"] == kind for row in measured)]
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    for system in plan.systems:
        for kind in kinds:
            key = f"{system}:{kind}"
            found = [row for row in measured if (row["system"], row["kind"]) == (system, kind)]
            rows.append(Line(key, (results.suite.system(system).label, kind)))
            cells |= {(key, column): cell for column, cell in _row(found, plan).items()}
    labels = {"items": "Items", **SHARES, **{rule: f"Beam {plan.beam}, {RULES[rule]}" for rule in plan.beam_scores}}
    labels |= {"gap_closed": "Gap closed"}
    columns = tuple(Line(key, (label,)) for key, label in labels.items())
    notes = (*spec.footnotes, *_notes(measured, plan, results.suite.name))
    return Table(name, spec, ("System", "Documents"), tuple(rows), columns, cells, notes)


def _read(path: Path, plan: LengthPlan) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        frame = pd.read_csv(path)
        lacking = [c for c in ("system", "kind", "items", *SHARES, *plan.beam_scores) if c not in frame.columns]
        if lacking:
            raise ValueError(f"it lacks the columns {', '.join(lacking)}")
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    except (ValueError, OSError) as error:
        raise TableError(f"{path} is not a readable measurement ({error}); measure lengths again.") from error


def _row(found: list[dict[str, Any]], plan: LengthPlan) -> dict[str, Cell]:
    names = (*SHARES, *plan.beam_scores)
    if not found:
        return {key: Cell(MISSING) for key in ("items", *names, "gap_closed")}
    mean = {name: statistics.fmean(float(row[name]) for row in found) for name in names}
    cells = {"items": Cell(str(int(found[0]["items"])), float(found[0]["items"]), "items")}
    for name, value in mean.items():
        deviation = statistics.stdev(100 * float(row[name]) for row in found) if len(found) > 1 else None
        facts = {"n_seeds": len(found), "seed_sd": deviation, "oracle_length": name == "oracle"}
        cells[name] = Cell(f"{100 * value:.1f}", 100 * value, "%", facts)
    lead = mean["oracle"] - mean["predicted"]
    if lead <= 0:
        return {**cells, "gap_closed": Cell(MISSING)}
    closed = 100 * (mean[plan.beam_scores[0]] - mean["predicted"]) / lead
    return {**cells, "gap_closed": Cell(f"{closed:.0f} %", closed, "%", {"n_seeds": len(found)})}


def _notes(measured: list[dict[str, Any]], plan: LengthPlan, suite: str) -> Iterator[str]:
    if not measured:
        yield f"— not measured yet: `make tables SUITE={suite}` fills this table."
        return
    yield "† decoded with the reference answer's length (oracle): not comparable with the columns beside it."
    yield (
        f"Gap closed: what the beam of {plan.beam} lengths, ranked by the first rule named, wins of the lead that the "
        "reference's length has over the predicted one; — where it has none."
    )
