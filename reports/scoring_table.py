"""Speed and error of scoring, from speed/scoring.csv and scoring.json (one row per group of questions and method)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.suites import ScoringPlan
from reports.cells import MISSING, Cell, TableError
from reports.frame import Results
from reports.tables import Line, Table, TableSpec

CSV_FILE, JSON_FILE = Path("speed") / "scoring.csv", Path("speed") / "scoring.json"
COLUMNS = {  # key → label, digits, unit, scale
    "rows_per_request": ("Rows/request", 1, "rows per request", 1.0),
    "ms_per_request": ("ms/request", 2, "ms", 1.0),
    "rmse": ("RMSE", 3, "nats", 1.0),
    "stderr_rms": ("Reported SE", 3, "nats", 1.0),
    "flips_per_question": ("Flips, %", 1, "%", 100.0),
    "fewer_rows": ("Fewer rows, ×", 1, "ratio", 1.0),
    "speedup": ("Faster, ×", 1, "ratio", 1.0),
    "forward_share": ("In the network, %", 0, "%", 100.0),
}


def scoring_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Rows: groups × methods; None for a suite without a scoring section, or where only `make speed` measures it and did not."""
    plan = results.suite.scoring
    if plan is None or not (plan.with_tables or (results.root / CSV_FILE).is_file()):
        return None
    measured = _read(results.root / CSV_FILE)
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    for group in plan.groups:
        for method, label in methods(plan).items():
            key = f"{group.name}:{method}"
            rows.append(Line(key, (group.label, label)))
            cells |= {(key, column): cell for column, cell in _row(measured.get((group.name, method))).items()}
    columns = tuple(Line(key, (label,)) for key, (label, *_) in COLUMNS.items())
    notes = (*spec.footnotes, *_notes(results.root / JSON_FILE, results.suite.name))
    return Table(name, spec, ("Targets", "Method"), tuple(rows), columns, cells, notes)


def methods(plan: ScoringPlan) -> dict[str, str]:
    """Method → label, in the order of the file."""
    ours = {f"ours_{rows}": f"ours, {rows} rows" for rows in plan.rows}
    return ours | {"published": f"published, {plan.draws} draws"}


def _read(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        frame = pd.read_csv(path)
        frame["ms_per_request"] = 1000 * frame["seconds"] / frame["requests"]
        rows = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
        return {(row["group"], row["method"]): row for row in rows}
    except (ValueError, OSError, KeyError) as error:
        raise TableError(f"{path} is not a readable measurement ({error}); measure speed again.") from error


def _row(measured: dict[str, Any] | None) -> dict[str, Cell]:
    if measured is None:
        return {key: Cell(MISSING) for key in COLUMNS}
    return {
        key: Cell(f"{scale * float(measured[key]):.{digits}f}", scale * float(measured[key]), unit)
        for key, (_, digits, unit, scale) in COLUMNS.items()
    }


def _notes(path: Path, suite: str) -> Iterator[str]:
    if not path.is_file():
        yield f"— not measured yet: `make tables SUITE={suite}` fills this table."
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    memory, stock = record["memory"], record.get("autoregressive")
    yield (
        f"Peak memory of {memory['rows']} rows of {memory['tokens']} tokens at a vocabulary of {memory['vocabulary']}: "
        f"{memory['ours_mib']:.0f} MiB, projecting every position {memory['every_position_mib']:.0f} MiB "
        f"({memory['ratio']:.0f} times as much; random weights)."
    )
    if stock:
        yield f"The ar adapter takes {stock['ratio']:.2f} times as long as stock hf on the same {stock['requests']} requests."
    yield f"Reference: {record['plan']['reference_rows']} rows. Device: {record['rows'][0]['device']}."
