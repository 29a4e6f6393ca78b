"""Instruction Modelling's two sweeps: losses, BLEU and the gain of IM over IT, from analysis/{gains,summary,fits}.csv.

One row per pair of systems of a sweep, averaged over seeds, and below them the sweep's fit: slope per factor of ten with
Student's interval of n − 2 degrees of freedom. Losses in nats per answer token, lower is better; BLEU 0–100, of answers to
training instructions against the training answers (Shi et al. 2024, arXiv 2405.14394, Figure 3: lower is less learnt by heart).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.cells import MISSING, NO_ITEMS, Cell, TableError, signed
from reports.frame import Results
from reports.tables import Line, Table, TableSpec

FOLDER = Path("analysis")
AXES = {"ratio": "Instruction / answer words", "examples": "Training examples"}  # fits.csv's `against` → label
LOSSES = {
    "train_it": "IT, training loss",
    "train_im": "IM, training loss",
    "test_it": "IT, test loss",
    "test_im": "IM, test loss",
}
BLEU = {"bleu_it": "IT, BLEU with training", "bleu_im": "IM, BLEU with training"}
COLUMNS = {"ratio": "Ratio", "examples": "Examples", **LOSSES, "gain": "Gain of IM, %", **BLEU}


def sweep_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Sweeps × pairs in rows; None for a suite without an analysis section."""
    if results.suite.analysis is None:
        return None
    columns = tuple(Line(key, (label,)) for key, label in COLUMNS.items())
    if not (results.root / FOLDER / "fits.csv").is_file():
        note = f"— not analysed yet: `make tables SUITE={results.suite.name}` fills this table."
        rows = tuple(Line(against, (label, "")) for against, label in AXES.items())
        cells = {(row.key, column): Cell(MISSING) for row in rows for column in COLUMNS}
        return Table(name, spec, ("Sweep", "Systems"), rows, columns, cells, (*spec.footnotes, note))
    pairs, fits = read_sweeps(results.root / FOLDER)
    rows, cells = [], {}
    for fit in fits:
        for key, label, values in _points(results, fit, pairs):
            rows.append(Line(key, (_label(fit, fits), label)))
            cells |= {(key, column): cell for column, cell in values.items()}
        key = f"{fit['against']}:{fit['sweep']}:fit"
        rows.append(Line(key, (_label(fit, fits), "change per factor of ten")))
        cells |= {(key, column): _slope(fit) if column == "gain" else Cell(NO_ITEMS) for column in COLUMNS}
    return Table(name, spec, ("Sweep", "Systems"), tuple(rows), columns, cells, (*spec.footnotes, *map(_note, fits)))


def read_sweeps(folder: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """(pairs of checkpoints with their BLEU, by the IM checkpoint; fits).

    Raises:
        TableError: a file cannot be read or is of another version.
    """
    try:
        summary = {row["checkpoint"]: row["bleu"] for row in _rows(folder / "summary.csv") if row["part"] == "train"}
        pairs = {row["im"]: _pair(row, summary) for row in _rows(folder / "gains.csv")}
        fits = [_fit(row) for row in _rows(folder / "fits.csv")]
        lacking = [name for fit in fits for name in fit["pairs"] if name not in pairs]
        if lacking:
            raise ValueError(f"gains.csv has no {lacking[0]}")
    except (OSError, ValueError, KeyError) as error:
        raise TableError(
            f"{folder} is no readable analysis ({error}); make it again: python -m trainers analysis --suite SUITE."
        ) from error
    return pairs, fits


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None:
            raise ValueError(f"{path.name} is empty")
        return list(reader)


def _pair(row: Mapping[str, str], bleu: Mapping[str, str]) -> dict[str, Any]:
    """A row of gains.csv as numbers; BLEU is None where no answers were written."""
    known = {name: float(row[name]) for name in ("ratio", *LOSSES, "gain", "gain_standard_error")}
    known |= {f"bleu_{method}": float(bleu[row[method]]) if bleu[row[method]] else None for method in ("it", "im")}  # type: ignore[dict-item]
    return {**known, "examples": float(row["training_examples"]), "seed": int(row["seed"])}


def _fit(row: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: float(row[name]) for name in ("slope", "slope_standard_error", "intercept", "r_squared")}
    texts = {name: row[name] for name in ("sweep", "method", "against")}
    return {**texts, **numbers, "points": int(row["points"]), "pairs": row["pairs"].split()}


def _label(fit: dict[str, Any], fits: list[dict[str, Any]]) -> str:
    """The axis, with the method where several sweeps share it."""
    alone = sum(other["against"] == fit["against"] for other in fits) == 1
    return AXES[fit["against"]] + ("" if alone else f" ({fit['method']}, {fit['sweep']})")


def _points(
    results: Results, fit: Mapping[str, Any], pairs: Mapping[str, dict]
) -> Iterator[tuple[str, str, dict[str, Cell]]]:
    """(row key, label, cells) of every pair of systems, by x."""
    seeds: dict[str, list[dict[str, Any]]] = {}
    for name in fit["pairs"]:
        seeds.setdefault(name.rpartition("-")[0], []).append(pairs[name])
    labels = {system.name: system.label for system in results.suite.systems}
    for system, rows in sorted(seeds.items(), key=lambda one: _mean(one[1], fit["against"])):
        yield f"{fit['against']}:{system}", labels.get(system, system), _cells(rows)


def _mean(rows: Sequence[Mapping[str, float]], column: str) -> float:
    return sum(row[column] for row in rows) / len(rows)


def _cells(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    """The means over seeds; the gain with the error of its test examples, which the seeds share, and every seed's."""
    facts = {"measured": (FOLDER / "gains.csv").as_posix()}
    digits = dict.fromkeys(LOSSES, 3) | dict.fromkeys(BLEU, 1) | {"ratio": 2, "examples": 0}
    units = dict.fromkeys(LOSSES, "nats") | {"ratio": "ratio", "examples": "examples"}
    cells = {}
    for column, places in digits.items():
        known = all(seed[column] is not None for seed in seeds)
        value = _mean(seeds, column) if known else 0.0
        cells[column] = Cell(f"{value:.{places}f}", value, units.get(column, ""), facts) if known else Cell(NO_ITEMS)
    gain, error = _mean(seeds, "gain"), _mean(seeds, "gain_standard_error")
    by_seed = ";".join(f"{seed['seed']}={seed['gain']}" for seed in seeds)
    shown = ", ".join(signed(seed["gain"]) for seed in seeds)
    facts = {**facts, "stderr_items": error, "seed_values": by_seed}
    return cells | {"gain": Cell(f"{signed(gain)} ± {error:.1f} ({shown})", gain, "%", facts)}


def slope_interval(fit: dict[str, Any]) -> tuple[float, float]:
    """The slope's 95 % interval: Student's t with points − 2 degrees of freedom."""
    from scipy import stats

    reach = float(stats.t.ppf(0.975, fit["points"] - 2)) * float(fit["slope_standard_error"])
    return float(fit["slope"]) - reach, float(fit["slope"]) + reach


def _slope(fit: dict[str, Any]) -> Cell:
    low, high = slope_interval(fit)
    facts = {"measured": (FOLDER / "fits.csv").as_posix(), "stderr": fit["slope_standard_error"], "low": low, "high": high}  # fmt: skip
    slope = float(fit["slope"])
    return Cell(f"{signed(slope)} [{signed(low)}, {signed(high)}]", slope, "points per factor of ten", facts)


def _note(fit: dict[str, Any]) -> str:
    return (
        f"{AXES[fit['against']]}: gain = {signed(fit['intercept'], '')} {'−' if fit['slope'] < 0 else '+'} "
        f"{abs(fit['slope']):.1f}·log10(x), least squares over {fit['points']} pairs, R² {fit['r_squared']:.2f}."
    )
