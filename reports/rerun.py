"""Redo one cell: its runs alone are made again from their sealed checkpoints, and the two answers are compared.

The old runs (and the store of answers, which would only repeat them) are set aside first and come back if anything
goes wrong, so that a failed rerun changes nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records import RUN_FILE, RecordError, read_run
from harness.suites import Suite
from reports.locations import ReportsError, checkpoint_folder
from reports.provenance import find_cell
from reports.samples import SAMPLES_FILE

STORE_FILE = "answers.sqlite"


class RerunError(ReportsError):
    """A cell cannot be made again here; the message says what is lacking."""


@dataclass(frozen=True)
class Redone:
    """One run made again: where it lies, whether its samples are byte for byte the same, values before and after."""

    place: str
    same: bool
    before: dict[str, float]
    after: dict[str, float]

    def __str__(self) -> str:
        if self.same:
            return f"{self.place}: the same samples, byte for byte"
        changed = [f"{k} {self.before.get(k)} → {v}" for k, v in self.after.items() if self.before.get(k) != v]
        return f"{self.place}: other samples; {', '.join(changed) or 'the same values'}"


def evaluate(suite: str, system: str, seed: int, results: Path) -> None:
    """`python -m harness run` for one system and seed: sealed runs are kept, missing ones are made.

    Raises:
        RerunError: it failed; its last line says why.
    """
    command = [sys.executable, "-m", "harness", "run", "--suite", suite, "--system", system, "--seed", str(seed)]
    done = subprocess.run([*command, "--results", str(results)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RerunError(f"{' '.join(command[1:])} failed: {last}")


def rerun(
    suite: Suite, root: Path, address: str, name: str, run: Callable[[str, str, int, Path], None] = evaluate
) -> Iterator[Redone]:
    """Make the runs behind a cell again, one after the other; `name`: the suite's name or file, as typed.

    Raises:
        RerunError: the cell rests on no run, or a checkpoint is not in this results folder.
    """
    places = [reference.rpartition("@")[0] for reference in find_cell(root, address, suite.name)["runs"].split()]
    if not places:
        raise RerunError(f"{address} rests on no run of its own: there is nothing to redo.")
    owners = {place.partition("/")[0] for place in places}
    for owner in owners:
        system, _, seed = owner.rpartition("-")
        if checkpoint_folder(suite, root, system, int(seed)) is None:
            raise RerunError(f"checkpoints/{owner} is not in {root}: `make tables SUITE={suite.name}` trains it.")
    for owner in sorted(owners):
        yield from _redo(root, owner, [p for p in places if p.partition("/")[0] == owner], name, run)


def _redo(
    root: Path, owner: str, places: Sequence[str], name: str, run: Callable[[str, str, int, Path], None]
) -> Iterator[Redone]:
    system, _, seed = owner.rpartition("-")
    aside = root / "cache" / "rerun"
    shutil.rmtree(aside, ignore_errors=True)
    moved = [*places, *([f"{owner}/{STORE_FILE}"] if (root / "runs" / owner / STORE_FILE).is_file() else [])]
    _move(root / "runs", aside, moved)
    try:
        run(name, system, int(seed), root.parent)
        redone = [_compared(aside / place, root / "runs" / place, place) for place in places]
    except BaseException:
        for place in moved:
            _remove(root / "runs" / place)
        _move(aside, root / "runs", moved)
        raise
    shutil.rmtree(aside)
    yield from redone


def _compared(old: Path, new: Path, place: str) -> Redone:
    if not (new / RUN_FILE).is_file():
        raise RecordError(f"{new} was not made again: does the suite still ask for it?")
    before, after = read_run(old), read_run(new)
    return Redone(place, before.files[SAMPLES_FILE] == after.files[SAMPLES_FILE], before.values, after.values)


def _move(source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source / name, target / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
