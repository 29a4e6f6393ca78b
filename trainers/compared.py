"""A comparison of ours with a plain way, over paired repeats: for people, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from harness.records import write_atomically


@dataclass(frozen=True)
class Compared:
    """Ours against plain: medians of both over the repeats; `value` is the median over repeats of their ratio (or
    difference), low … high its range."""

    what: str
    unit: str
    ours: float
    plain: float
    kind: Literal["ratio", "difference"]
    value: float
    low: float
    high: float
    repeats: int
    note: str

    def line(self) -> str:
        """For people."""
        spread = f" ({self.low:.3f} … {self.high:.3f})" if self.repeats > 1 else ""
        return (
            f"{self.what}: {self.kind} {self.value:.3f}{spread}; {self.ours:,.4g} against {self.plain:,.4g} {self.unit}"
        )


def paired(
    what: str, unit: str, kind: Literal["ratio", "difference"], ours: Sequence[float], plain: Sequence[float], note: str
) -> Compared:
    """The comparison of measurements that were taken in pairs."""
    pairs = [a / b if kind == "ratio" else a - b for a, b in zip(ours, plain, strict=True)]
    middle = statistics.median
    return Compared(
        what, unit, middle(ours), middle(plain), kind, middle(pairs), min(pairs), max(pairs), len(pairs), note
    )


def write(found: Sequence[Compared], folder: Path, name: str = "training") -> list[Path]:
    """NAME.csv and NAME.json, one row per comparison.

    Raises:
        RecordError: the folder cannot be written.
    """
    rows, text = [asdict(one) for one in found], io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Compared)], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    paths = [folder / f"{name}.csv", folder / f"{name}.json"]
    write_atomically(paths[0], text.getvalue())
    write_atomically(paths[1], json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return paths
