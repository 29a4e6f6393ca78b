"""The tables of Instruction Modelling's analyses, one class per CSV file, a field per column."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LossRow:
    """losses.csv: one answer's loss, nats per token, and its tokens; `part` is train or test."""

    checkpoint: str
    method: str
    part: str
    example: int
    nats_per_token: float
    tokens: int


@dataclass(frozen=True)
class SummaryRow:
    """summary.csv: the distribution of a checkpoint's losses over examples, nats per token; bleu 0–100 (train only)."""

    checkpoint: str
    method: str
    seed: int
    training_examples: int
    ratio: float
    part: str
    examples: int
    mean: float
    standard_error: float
    p10: float
    median: float
    p90: float
    bleu: float | None


@dataclass(frozen=True)
class BinRow:
    """distributions.csv: how many examples' losses lie in low … high; the bins are the same for every checkpoint."""

    checkpoint: str
    method: str
    part: str
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class GainRow:
    """gains.csv: IM against IT on the same data and seed; gain is 100·(IT − IM)/IT of the mean test loss, its standard
    error paired over test examples."""

    it: str
    im: str
    seed: int
    training_examples: int
    ratio: float
    train_it: float
    train_im: float
    test_it: float
    test_im: float
    gain: float
    gain_standard_error: float


@dataclass(frozen=True)
class FitRow:
    """fits.csv: gain = slope·log10(x) + intercept over the pairs of one sweep; x is `against`: ratio or examples.

    `sweep` is the name of its IM recipe at the lowest x, `method` that of all its IM checkpoints, whose folders are `pairs`
    (with a space between two).
    """

    sweep: str
    method: str
    against: str
    slope: float
    slope_standard_error: float
    intercept: float
    r_squared: float
    points: int
    lowest: float
    highest: float
    pairs: str = ""


TABLES = {"losses": LossRow, "summary": SummaryRow, "distributions": BinRow, "gains": GainRow, "fits": FitRow}


def distributions(rows: Sequence[LossRow], bins: int = 40) -> list[BinRow]:
    """Histograms of the losses, in bins from 0 to the largest."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row.checkpoint, row.method, row.part), []).append(row.nats_per_token)
    edges = np.linspace(0.0, max(row.nats_per_token for row in rows), bins + 1)
    return [
        BinRow(*key, float(low), float(high), int(count))
        for key, some in values.items()
        for low, high, count in zip(edges, edges[1:], np.histogram(some, edges)[0], strict=False)
    ]


def fit_of(sweep: str, method: str, against: str, x: Sequence[float], y: Sequence[float]) -> FitRow:
    """Least squares of y on log10 x, with the slope's standard error."""
    from scipy import stats

    line: Any = stats.linregress(np.log10(np.asarray(x)), np.asarray(y))
    slope, error, intercept = float(line.slope), float(line.stderr), float(line.intercept)
    return FitRow(sweep, method, against, slope, error, intercept, float(line.rvalue) ** 2, len(x), min(x), max(x))


def columns(table: str) -> list[str]:
    """The columns of a table's CSV."""
    return [field.name for field in fields(TABLES[table])]


def write(found: Mapping[str, Sequence], folder: Path) -> list[Path]:
    """One CSV per table, unrounded; an absent value is an empty cell."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, rows in found.items():
        paths.append(folder / f"{name}.csv")
        with open(paths[-1], "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(columns(name))
            table.writerows(astuple(row) for row in rows)
    return paths
