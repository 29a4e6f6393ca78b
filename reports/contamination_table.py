"""Full scores against those on clean items only, from the contamination.csv beside what a system was trained on.

The file names every item as `task:doc_id` (found by lm-eval's samples) or `file:row` (a table's `files` say which file
holds a task's documents, row n being document n − 1). contamination.json beside it seals it and the rows and items it is
of: where one of them was changed or is gone it is refused.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.records import digest_of
from reports import statistics
from reports.cells import MISSING, NO_ITEMS, Absent, Cell, Scores, TableError, load_scores, score_cell, signed
from reports.frame import Results, file_digest
from reports.locations import checkpoint_folder
from reports.tables import Group, Line, Table, TableSpec, groups_of

CSV_FILE, JSON_FILE = "contamination.csv", "contamination.json"
CORPUS = Path("corpus")
COLUMNS = {"items": "Items", "removed": "Removed", "full": "Full", "clean": "Clean", "difference": "Difference [95 %]"}


@dataclass(frozen=True)
class Found:
    """A contamination.csv: where it lies below the results folder, and whether each named item is clean."""

    place: str
    clean: Mapping[str, bool]


def contamination_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Groups × systems in rows; None where no system's training rows have a place of their own."""
    places = {system.name: mixture_of(results, system.name) for system in results.suite.systems}
    groups = groups_of(results, spec)
    if not groups or not any(places.values()):
        return None
    files = {place: read_found(results, place) for place in places.values() if place is not None}
    found = {system: None if place is None else files[place] for system, place in places.items()}
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    for group in groups:
        column = {
            s: load_scores(results, s, "main", group.tasks, group.metric, parallel=group.parallel) for s in places
        }
        known = {system: s for system, s in column.items() if isinstance(s, Scores)}
        clean = {s: subset(scores, is_clean(f, group, scores)) for s, scores in known.items() if (f := found[s])}
        spread = statistics.seed_spread([s.values_IS for s in known.values()])
        of_clean = statistics.seed_spread([s.values_IS for s, _ in clean.values() if len(s.items)])
        for system, scores in column.items():
            key = f"{group.name}:{system}"
            rows.append(Line(key, (group.label, results.suite.system(system).label)))
            full = score_cell(scores, spread)
            row = {"full": full}
            if isinstance(scores, Absent):
                row |= dict.fromkeys(COLUMNS, full)
            elif system not in clean:
                row |= _items(scores) | dict.fromkeys(("removed", "clean", "difference"), Cell(MISSING))
            else:
                row |= _items(scores) | compared(*clean[system], of_clean)
            place = "" if (f := found[system]) is None else f.place
            cells |= {(key, column): _from(cell, place) for column, cell in row.items()}
    columns = tuple(Line(key, (label,)) for key, label in COLUMNS.items())
    notes = (*spec.footnotes, *_notes(results, places, found))
    return Table(name, spec, ("Group", "System"), tuple(rows), columns, cells, notes)


def mixture_of(results: Results, system: str) -> Path | None:
    """The folder of a system's training rows, below the results folder: its own mixture, or the suite's corpus.

    None where the rows have no place of their own: the recipe names files, or nothing is known of it.
    """
    mixture = _mixture(results, system)
    source = mixture.get("source", "embedded")
    if source == "sources":
        return Path("checkpoints") / "mixtures" / digest_of(mixture)
    return CORPUS if source == "embedded" and results.suite.corpus is not None else None


def _mixture(results: Results, system: str) -> Mapping[str, Any]:
    """The mixture of a system's recipe, as training wrote it; empty where there is none."""
    for seed in results.suite.seeds:
        folder = checkpoint_folder(results.suite, results.root, system, seed)
        recipe = folder / "recipe.yaml" if folder else None
        if recipe is not None and recipe.is_file():
            return (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("mixture") or {}
    return {}


def read_found(results: Results, place: Path) -> Found | None:
    """What was found about the items, None where nobody looked.

    Raises:
        TableError: the files cannot be read, or what they are of was changed or is gone.
    """
    folder = results.root / place
    if not (folder / CSV_FILE).is_file():
        return None
    again = "look for contamination again (python -m trainers contamination)."
    try:
        with open(folder / CSV_FILE, encoding="utf-8", newline="") as file:
            clean = {row["item"]: bool(int(row["clean"])) for row in csv.DictReader(file)}
        said = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        digests = {**said["table"], **said["rows"], **said["items"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{folder / CSV_FILE} and {JSON_FILE} are cut off, changed or of another version, so nobody can say what is "
            f"clean: {again}"
        ) from error
    for name, digest in digests.items():
        now = file_digest(folder / name)
        if now != digest:
            what = "is gone" if now is None else "was changed"
            raise TableError(f"{folder / CSV_FILE}: {name}, which its record seals, {what}; {again}")
    return Found((place / CSV_FILE).as_posix(), clean)


def is_clean(found: Found, group: Group, scores: Scores) -> np.ndarray:
    """For each item of the scores whether it is clean, shape (I,).

    Raises:
        TableError: an item that the file does not list.
    """
    flags = []
    for item, document in zip(scores.items, scores.documents, strict=True):
        task = item.partition("/")[0]
        names = (f"{task}:{document}", f"{group.files.get(task)}:{document + 1}")
        name = next((name for name in names if name in found.clean), None)
        if name is None:
            raise TableError(f"{found.place} lists no item {names[0]}: look for contamination again, with all items.")
        flags.append(found.clean[name])
    return np.array(flags, dtype=bool)


def subset(scores: Scores, clean_I: np.ndarray) -> tuple[Scores, Scores]:
    """The scores on clean items, and those on the others."""
    return _where(scores, clean_I), _where(scores, ~clean_I)


def _where(scores: Scores, keep_I: np.ndarray) -> Scores:
    return replace(
        scores, items=scores.items[keep_I], values_IS=scores.values_IS[keep_I], documents=scores.documents[keep_I],
        predictions_IS=scores.predictions_IS[keep_I], chance_I=scores.chance_I[keep_I],
        clusters=None if scores.clusters is None else scores.clusters[keep_I],
    )  # fmt: skip


def compared(clean: Scores, removed: Scores, spread: statistics.SeedSpread | None) -> dict[str, Cell]:
    """Cells of the clean subset: how many items went, the score of the rest, and clean − full."""
    gone, total = len(removed.items), len(removed.items) + len(clean.items)
    row = {"removed": Cell(str(gone), float(gone), "items", runs=clean.runs)}
    if not len(clean.items):
        return row | dict.fromkeys(("clean", "difference"), Cell(NO_ITEMS))
    row["clean"] = score_cell(clean, spread)
    if not gone:
        return row | {"difference": Cell("0.0", 0.0, "points", {"n_items": total}, clean.runs)}
    value, low, high = full_against_clean(clean, removed)
    text = f"{signed(100 * value)} [{signed(100 * low)}, {signed(100 * high)}]"
    facts = {"low": 100 * low, "high": 100 * high, "n_items": total}
    return row | {"difference": Cell(text, 100 * value, "points", facts, clean.runs)}


def full_against_clean(clean: Scores, removed: Scores) -> tuple[float, float, float]:
    """clean − full with its interval, in score units.

    full is the mean over both parts, so clean − full = r/n · (clean − removed): two samples of different items, whose
    difference has the interval of Newcombe (1998, method 10), from the parts' own intervals over items.
    """
    parts = [statistics.estimate(part.values_IS, None, None, part.clusters) for part in (clean, removed)]
    share = len(removed.items) / (len(clean.items) + len(removed.items))
    value, low, high = statistics.unpaired_difference(*parts)
    return share * value, share * low, share * high


def _items(scores: Scores) -> dict[str, Cell]:
    return {"items": Cell(str(len(scores.items)), float(len(scores.items)), "items", runs=scores.runs)}


def _from(cell: Cell, place: str) -> Cell:
    """The cell, with the file that says which items are clean."""
    return replace(cell, facts={**cell.facts, "measured": place}) if place and cell.value is not None else cell


def _notes(results: Results, places: Mapping[str, Path | None], found: Mapping[str, Found | None]) -> Iterator[str]:
    """What a reader must know of the dashes and of subsets."""
    suite, below = results.suite, f"results/{results.suite.name}"
    for place, system in {p: s for s, p in places.items() if p is not None and found[s] is None}.items():
        rows = f"{below}/{place.as_posix()}" + "/train.jsonl" * (place == CORPUS)
        items = f"{below}/corpus/eval/*.jsonl" if suite.corpus else f"{below}/runs/{system}-{suite.seeds[0]}/main/*/samples.jsonl"  # fmt: skip
        yield f"— nobody has looked yet: `python -m trainers contamination {rows} --items {items}` fills these cells."
    for system in (system for system, place in places.items() if place == CORPUS):
        if records := _mixture(results, system).get("records"):
            label = suite.system(system).label
            yield f"{label}: trained on the corpus's first {records} rows, held against all of them."
