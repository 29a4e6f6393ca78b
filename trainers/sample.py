"""The training records that a plan is made from: all of a small mixture, evenly spaced ones of a larger one, and how many it has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.mixture import read_records, surveyed, training_files
from trainers.recipe import MixtureSpec
from trainers.sources import Record, stream
from trainers.survey import KEPT

FEW = 2_000  # rows that stand for a larger mixture
ALL = 20_000  # rows up to which a mixture is taken whole
COUNTED = 2**30  # bytes of files that are read to count their rows, at some 20 MB/s


@dataclass(frozen=True)
class Sample:
    """Training records, and how many rows the mixture gives an epoch, repeated ones as often (None: not counted)."""

    records: list[Record]
    rows: int | None

    @property
    def whole(self) -> bool:
        """Whether these are all of them."""
        return self.rows == len(self.records)


def sample(spec: MixtureSpec, corpus: Path | None, count: bool) -> Sample:
    """Records of a mixture; its rows are counted where asked for, by the rules that training goes by.

    Raises:
        ConfigError: a file is missing or cannot be read, or nothing is left to train on.
    """
    files = training_files(spec, corpus)
    on_hub = any(source.hub is not None for source in spec.sources)
    if not count or on_hub or sum(path.stat().st_size for path in files) > COUNTED:
        return Sample(_first(spec, files), None)
    if spec.source == "sources":
        return _of_survey(spec)
    records = read_records(files, spec.records)
    return Sample(records[:: _distance(len(records))], len(records))


def _first(spec: MixtureSpec, files: Sequence[Path]) -> list[Record]:
    if spec.source != "sources":
        return read_records(files, min(FEW, spec.records or FEW))
    records = (record for _, _, _, record in stream(spec.sources))
    return list(itertools.islice((r for r in records if r["inputs"].strip() and r["targets"].strip()), FEW))


def _of_survey(spec: MixtureSpec) -> Sample:
    _, outcome, taken = surveyed(spec)
    times_N = np.where(outcome == KEPT, taken, 0)
    rows = int(times_N.sum())
    chosen = np.repeat(np.arange(len(times_N)), times_N)[:: _distance(rows)]
    wanted_N = np.bincount(chosen, minlength=len(times_N)).tolist()
    read = zip(wanted_N, stream(spec.sources), strict=True)
    return Sample([record for times, (_, _, _, record) in read for _ in range(times)], rows)


def _distance(rows: int) -> int:
    return 1 if rows <= ALL else -(-rows // FEW)
