"""Judge-shaped runs with the scripted judge, from judge/shapes.csv and shapes.json (one row per system)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from reports.cells import MISSING, NO_ITEMS, Cell, TableError
from reports.frame import Results
from reports.tables import Line, Table, TableSpec

CSV_FILE, JSON_FILE = Path("judge") / "shapes.csv", Path("judge") / "shapes.json"
COLUMNS = {  # key → label, digits, unit, scale, low and high of its interval
    "mt_rating": ("MT-Bench-shaped, 1–10", 1, "rating", 1.0, ("mt_low", "mt_high")),
    "mt_first": ("First turn", 1, "rating", 1.0, None),
    "mt_second": ("Second turn", 1, "rating", 1.0, None),
    "mt_unscored": ("Unscored", 0, "judgments", 1.0, None),
    "pair_win_rate": ("Wins against baseline, %", 0, "%", 100.0, ("pair_low", "pair_high")),
    "pair_disagreement": (
        "Verdict changed by order, %",
        0,
        "%",
        100.0,
        ("pair_disagreement_low", "pair_disagreement_high"),
    ),
    "ae_win_rate": ("AlpacaEval-shaped win rate, %", 0, "%", 1.0, ("ae_low", "ae_high")),
    "ae_disagreement": (
        "Preference changed by order, %",
        0,
        "%",
        100.0,
        ("ae_disagreement_low", "ae_disagreement_high"),
    ),
    "ae_missing": ("Missing", 0, "rows", 1.0, None),
}


def judge_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Rows: the suite's systems; None for a suite without a judge section."""
    if results.suite.judge is None:
        return None
    judged = _read(results.root / CSV_FILE)
    rows, cells = [], {}
    for system in results.suite.systems:
        rows.append(Line(system.name, (system.label,)))
        for column in COLUMNS:
            cells[system.name, column] = _cell(judged.get(system.name), column)
    columns = tuple(Line(key, (label,)) for key, (label, *_) in COLUMNS.items())
    notes = (*spec.footnotes, *_notes(results.root / JSON_FILE, results.suite.name))
    return Table(name, spec, ("System",), tuple(rows), columns, cells, notes)


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def _cell(row: dict[str, str] | None, column: str) -> Cell:
    """— before it was run; a dot where the system is the baseline itself."""
    _, digits, unit, scale, bounds = COLUMNS[column]
    if row is None:
        return Cell(MISSING)
    try:
        if not row[column]:
            return Cell(NO_ITEMS)
        value = scale * float(row[column])
        low, high = (scale * float(row[bound]) if row[bound] else None for bound in bounds or (column, column))
    except (KeyError, ValueError) as error:
        raise TableError(f"{CSV_FILE} is not a readable measurement ({error}); judge again.") from error
    shown = f"{value:.{digits}f}"
    if bounds is None or low is None or high is None:
        return Cell(shown, value, unit)
    return Cell(f"{shown} [{low:.{digits}f}, {high:.{digits}f}]", value, unit)


def _notes(path: Path, suite: str) -> Iterator[str]:
    if not path.is_file():
        yield f"— not judged yet: `make tables SUITE={suite}` fills this table."
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    yield (
        f"Judge: {record['judge']} ({record['rule']}), no language model. {record['questions']} questions of two turns and "
        f"{record['instructions']} instructions of the embedded corpus, greedy answers, first training seed; baseline "
        f"{record['baseline']} (·). In brackets: 95 % over items."
    )
