"""From a cell back to what it was made of: cell → runs → checkpoints → recipes → corpus, by sha256, offline.

A cell is named TABLE/ROW/COLUMN with the keys of the table's CSV. Every file named is hashed again on the
way.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.config import unknown
from harness.records import (
    RecordError,
    RunRecord,
    read_checkpoint,
    read_measurements,
    read_run,
    sha256_file,
    weights_digest,
)
from harness.suites import Suite
from reports.locations import ReportsError, checkpoint_folder


class AddressError(ReportsError):
    """TABLE/ROW/COLUMN names no cell; the message lists what there is."""


@dataclass(frozen=True)
class Fact:
    """One line of an explanation: what it is, what it says, and the steps down the chain."""

    depth: int
    what: str
    text: str

    def __str__(self) -> str:
        return f"{'  ' * self.depth}{self.what}: {self.text}"


def find_cell(root: Path, address: str, suite: str) -> dict[str, str]:
    """The CSV record of a cell.

    Raises:
        AddressError: no such table, row or column (known ones are listed), or tables are not built yet.
    """
    parts = address.split("/")
    if len(parts) != 3:
        raise AddressError(f"'{address}' is no cell: write TABLE/ROW/COLUMN, for instance main/decoder_it/nli.")
    table, row, column = parts
    path = root / "tables" / f"{table}.csv"
    if not path.is_file():
        known = sorted(p.stem for p in (root / "tables").glob("*.csv"))
        if not known:
            raise AddressError(f"no tables at {root / 'tables'}: run `python -m reports build --suite {suite}` first.")
        raise AddressError(unknown("table", table, known))
    with open(path, encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    rows = [record for record in records if record["row"] == row]
    if not rows:
        raise AddressError(f"{table}: " + unknown("row", row, sorted({record["row"] for record in records})))
    for record in rows:
        if record["column"] == column:
            return record
    raise AddressError(f"{table}/{row}: " + unknown("column", column, sorted({record["column"] for record in rows})))


def explain(suite: Suite, root: Path, address: str) -> Iterator[Fact]:
    """The chain below a cell, one fact per line.

    Raises:
        AddressError: the address names no cell.
        RecordError: a run or checkpoint of the chain is gone or was changed after it was sealed.
    """
    cell = find_cell(root, address, suite.name)
    shown = cell["text"] or "— (not run yet)"
    yield Fact(0, "cell", f"{address} = {shown} ({cell['row_label']}, {cell['column_label']})")
    if cell["value"]:
        yield Fact(0, "value", f"{cell['value']} {cell['unit']}")
    if cell["n_items"]:
        yield Fact(0, "based on", f"{cell['n_items']} items, seeds {cell['seed_values'].replace(';', ', ')}")
    if cell["source"]:
        yield Fact(1, "published in", cell["source"])
    if cell["measured"]:
        yield Fact(1, "measured in", cell["measured"])
        yield Fact(2, f"{cell['measured']} sha256", sha256_file(root / cell["measured"]))
    references = cell["runs"].split()
    yield from _runs(suite, root, references) if references else _no_runs(suite, root, cell)


MEASURED = {"scoring": "speed/scoring.csv", "length_accuracy": "speed/lengths.csv"}  # table → the file it is made of


def _no_runs(suite: Suite, root: Path, cell: dict[str, str]) -> Iterator[Fact]:
    if not cell["text"]:
        yield Fact(1, "to do", f"`make tables SUITE={suite.name}` makes the missing runs")
        return
    if cell["source"]:
        return
    if cell["measured"]:
        yield from _judged_model(suite, root, cell["row_label"])
        return
    systems = {system.name for system in suite.systems}
    speed = root / "speed" / "decoding.csv"
    if cell["unit"] in ("parameters", "tokens") and cell["row"] in systems:
        for seed in suite.seeds:
            yield from _checkpoint(suite, root, cell["row"], seed)
    elif cell["table"] == "speed" and speed.is_file():
        mode, _, batch = cell["row"].partition(":")
        yield Fact(1, "measured in", f"speed/decoding.csv, mode {mode}, batch size {batch}")
        yield from _measured(root, "speed/decoding.csv")
    elif cell["table"] in MEASURED and (root / MEASURED[cell["table"]]).is_file():
        yield Fact(1, "measured in", f"{MEASURED[cell['table']]}, {cell['row'].replace(':', ', ')}")
        yield from _measured(root, MEASURED[cell["table"]])
    elif cell["table"] == "judge" and (judged := root / "judge" / "shapes.json").is_file():
        yield Fact(1, "judged in", "judge/shapes.csv; the judge is a script, its questions are of the embedded corpus")
        yield Fact(2, "judge/shapes.json sha256", sha256_file(judged))
        if cell["row"] in systems:
            yield from _checkpoint(suite, root, cell["row"], suite.seeds[0])
    else:
        yield Fact(1, "source", "derived from the rows of this table; no run of its own")


def _measured(root: Path, name: str) -> Iterator[Fact]:
    """A measured file's sha256 and, where the speed folder has a record, when, with what and on what it was made."""
    sealed = read_measurements(root / "speed").get(Path(name).name)
    if sealed is None:
        yield Fact(2, f"{name} sha256", f"{sha256_file(root / name)} (not sealed: measured before there were records)")
        return
    yield Fact(2, f"{name} sha256", f"{sealed.sha256} (checked)")
    dirty = " with local changes" if sealed.dirty else ""
    yield Fact(2, "made", f"{sealed.finished} on {sealed.device}, commit {sealed.commit or 'unknown'}{dirty}")
    yield Fact(2, "packages", ", ".join(f"{package} {version}" for package, version in sealed.packages.items()))
    for folder, weights in sealed.checkpoints.items():
        yield Fact(2, f"{folder} weights sha256", str(weights))


def _judged_model(suite: Suite, root: Path, label: str) -> Iterator[Fact]:
    """The checkpoint behind a judged row, whose label ends with `LABEL, seed N`; nothing for models from elsewhere."""
    name, _, seed = label.rpartition(" / ")[2].rpartition(", seed ")
    for system in suite.systems:
        if system.label == name and seed.isdigit():
            yield from _checkpoint(suite, root, system.name, int(seed))


def _runs(suite: Suite, root: Path, references: list[str]) -> Iterator[Fact]:
    """Runs in the table's order, each checkpoint below the first of its runs."""
    seen: set[tuple[str, int]] = set()
    for reference in references:
        place, _, run_id = reference.rpartition("@")
        folder = root / "runs" / place
        if not folder.is_dir():
            raise RecordError(f"run {place} is gone from {root / 'runs'}: rebuild the tables.")
        record = read_run(folder)
        if record.run_id != run_id:
            raise RecordError(f"run {place} was made again after this table ({run_id}): rebuild the tables.")
        yield from _run(record, folder, root)
        system, _, seed = folder.parts[-3].rpartition("-")
        if (system, int(seed)) not in seen:
            seen.add((system, int(seed)))
            yield from _checkpoint(suite, root, system, int(seed), record)


def _run(record: RunRecord, folder: Path, root: Path) -> Iterator[Fact]:
    settings = ", ".join(f"{key}={value}" for key, value in record.settings.items()) or "defaults"
    yield Fact(1, "run", f"{record.run_id} in {folder.relative_to(root)}")
    yield Fact(
        2,
        "task",
        f"{record.task} version {record.task_version}, {record.n_items} items, {record.n_shot} shots",
    )
    yield Fact(2, "adapter", f"{record.adapter} ({settings}), score kind {record.kind or 'none (generation)'}")
    dirty = " with local changes" if record.dirty else ""
    yield Fact(2, "made", f"{record.started} on {record.device}, commit {record.commit or 'unknown'}{dirty}")
    yield Fact(2, "packages", ", ".join(f"{name} {version}" for name, version in record.packages.items()))
    seeds = ", ".join(f"{name}={seed}" for name, seed in record.seeds.items())
    yield Fact(2, "seeds", seeds or "none")
    for name, digest in sorted(record.data.items()):
        yield Fact(2, f"data {name}", digest)
    for name, digest in sorted(record.files.items()):
        yield Fact(2, f"{name} sha256", f"{digest} (checked)")


def _checkpoint(suite: Suite, root: Path, system: str, seed: int, run: RunRecord | None = None) -> Iterator[Fact]:
    folder = checkpoint_folder(suite, root, system, seed)
    if folder is None:
        path = run.checkpoint.path if run else f"checkpoints/{system}-{seed}"
        yield Fact(1, "checkpoint", f"{path} (not in this results folder)")
        return
    record = read_checkpoint(folder, verify=True)
    used = run.checkpoint.weights_sha256 if run else None
    yield Fact(
        1,
        "checkpoint",
        f"{folder.relative_to(root)}, seed {record.seed}, {record.steps} steps, {record.finished}",
    )
    sealed = weights_digest(record.files)
    if sealed:
        yield Fact(2, "weights sha256", f"{sealed} (checked)")
        if used and used != sealed:
            yield Fact(2, "warning", f"the run used other weights: {used}")
    yield Fact(2, "recipe", f"{record.recipe}, recipe id {record.recipe_id}, objective {record.objective}")
    if "recipe.yaml" in record.files:
        yield Fact(2, "recipe.yaml sha256", f"{record.files['recipe.yaml']} (checked)")
    for name, digest in sorted(record.corpus.items()):
        yield Fact(2, f"corpus {name}", digest)
    yield from _mixture(folder)
    manifest = root / "corpus" / "manifest.json"
    if manifest.is_file():
        digest = sha256_file(manifest)
        same = digest in record.corpus.values()
        verdict = "the one trained on" if same else "another one than at training" if record.corpus else "not recorded"
        yield Fact(2, "corpus/manifest.json sha256", f"{digest} ({verdict})")
        yield from _sources(manifest)


def _mixture(folder: Path) -> Iterator[Fact]:
    """What the recipe mixed: its source, files and template."""
    path = folder / "recipe.yaml"
    recipe = (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}
    mixture = recipe.get("mixture")
    if mixture:
        text = ", ".join(f"{key}={value}" for key, value in mixture.items() if value not in (None, []))
        yield Fact(2, "mixture", f"{text}, template {recipe.get('template')}")


def _sources(manifest: Path) -> Iterator[Fact]:
    """The corpus files, hashed again.

    Raises:
        RecordError: one of them is gone or is not the one that the manifest lists.
    """
    listed = json.loads(manifest.read_text(encoding="utf-8")).get("files", {})
    for name, digest in sorted(listed.items()):
        path = manifest.parent / name
        if not path.is_file() or sha256_file(path) != digest:
            what = "was changed after it was made" if path.is_file() else "is gone"
            raise RecordError(f"{path} {what}: its manifest lists sha256 {digest}. Make the corpus again.")
        yield Fact(3, f"source corpus/{name}", f"{digest} (checked)")
