"""A mixture: which records of which sources are trained on, how often, and why every other one is not.

Two passes over the sources, one row in memory at a time: the first keeps 23 bytes a row, 8 more for validation (a digest and what
caps, shares and guards need), then `trainers.composition` decides, then the second writes the chosen records to Arrow
shards and one line per row, kept or dropped with its reason, to manifest.parquet. mixture.json is written last.

Rules, in this order: held-out data sets and tasks; rows without text; rows that share text with evaluation items; exact
duplicates; caps per (data set, config, split, template); validation by document; shares that keep the composition.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from harness.records import digest_of, sha256_file, write_atomically
from harness.suites import ConfigError
from trainers.composition import copies, rank_in_group, repeats, shuffled_keys
from trainers.folders import locked, replaced
from trainers.mixture_files import MIXTURE, Lines, Shards
from trainers.recipe import MixtureSpec
from trainers.sources import Record, files_of, stream, whole_text, word_ratio

MANIFEST = "manifest.json"
ROWS = "manifest.parquet"
OUTCOMES = ("kept", "validation", "held out", "no text", "shares text with evaluation", "duplicate", "cap", "share")
KEPT, VALIDATION, HELD_OUT, NO_TEXT, OVERLAP, DUPLICATE, CAP, SHARE = range(len(OUTCOMES))


def training_files(spec: MixtureSpec, corpus: Path | None) -> list[Path]:
    """The files that a mixture reads.

    Raises:
        ConfigError: the embedded corpus was not named or not finished, or a file is missing.
    """
    if spec.source == "embedded":
        if corpus is None:
            raise ConfigError(
                "this recipe trains on the embedded corpus: name it with --corpus DIR (made by python -m trainers world)."
            )
        if not (corpus / MANIFEST).is_file():
            raise ConfigError(
                f"{corpus} has no {MANIFEST}: the corpus is not finished. Make it with python -m trainers world --out {corpus}"
            )
        return [corpus / "train.jsonl"]
    files = [Path(name) for name in (*spec.files, *spec.guard)]
    files += [path for source in spec.sources for path in files_of(source)]
    for path in files:
        if not path.is_file():
            raise ConfigError(f"mixture: no such file {path}")
    return files


def read_records(files: Sequence[Path], limit: int | None) -> list[dict]:
    """Records of JSONL files, split on newlines only; ConfigError names file and line of a broken one."""
    records: list[dict] = []
    for path in files:
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(records) >= limit:
                    return records
                try:
                    records.append(json.loads(line))
                except ValueError as error:
                    raise ConfigError(f"{path}, line {number}: not JSON ({error}). The file may be cut off.") from error
    if not records:
        raise ConfigError(f"no training records in {', '.join(map(str, files))}")
    return records


def digests(files: Sequence[Path]) -> dict[str, str]:
    """sha256 of each file, by name."""
    return {str(path) if len(files) > 1 else path.name: sha256_file(path) for path in files}


class _Names:
    """Small numbers for tuples of names, in order of appearance."""

    def __init__(self):
        self.number: dict[tuple[str, ...], int] = {}

    def __call__(self, key: tuple[str, ...]) -> int:
        return self.number.setdefault(key, len(self.number))


class _Survey:
    """The first pass: for each row, what the decisions need."""

    def __init__(self, spec: MixtureSpec, guard):
        self.spec, self.guard = spec, guard
        self.digest, self.document = array("Q"), array("Q")
        self.stratum, self.group, self.size, self.source = array("I"), array("I"), array("I"), array("H")
        self.outcome, self.distance = array("B"), array("f")
        self.ratios = any(source.nearest_ratio is not None for source in spec.sources)
        self.strata, self.groups = _Names(), _Names()
        self.held_out = {name.lower() for name in spec.held_out}

    def add(self, source: int, record: Record) -> None:
        self.source.append(source)
        text = text_of(record)
        digest = xxhash.xxh3_64_intdigest(text)
        self.digest.append(digest)
        self.size.append(len(text))
        if self.spec.validation:
            document = record.get("document") or record["inputs"]
            self.document.append(xxhash.xxh3_64_intdigest(document.encode("utf-8", "surrogatepass")))
        get = record.get
        name = self.spec.sources[source].name
        self.stratum.append(
            self.strata((get("language") or "", get("task") or get("dataset") or "", get("template") or "", name))
        )
        self.group.append(
            self.groups((get("dataset") or "", get("config") or "", get("split") or "", get("template") or ""))
        )
        self.outcome.append(self._first(record))
        if self.ratios:
            wanted = self.spec.sources[source].nearest_ratio
            self.distance.append(abs(word_ratio(record) - wanted) if wanted is not None else 0.0)

    def _first(self, record: Record) -> int:
        if self.held_out and any(held(str(record.get(key) or ""), self.held_out) for key in ("dataset", "task")):
            return HELD_OUT
        if not record["inputs"].strip() or not record["targets"].strip():
            return NO_TEXT
        if self.guard is not None and self.guard.overlaps(whole_text(record)):
            return OVERLAP
        return KEPT


def held(name: str, held_out: set[str]) -> bool:
    """Whether a data set's or task's name is a held-out one, or one with a suffix (xnli_en, super_glue/rte)."""
    name = name.lower()
    parts = {name, name.split("_")[0], name.split("/")[-1], name.rsplit("_", 1)[0]}
    return bool(parts & held_out)


def text_of(record: Record) -> bytes:
    """What makes two records the same: all of their text, parts kept apart."""
    parts = (record["inputs"], record.get("context") or "", record["targets"])
    text = "\x1f".join(parts)
    if history := record.get("history"):
        text += "\x1e" + "\x1e".join("\x1f".join(pair) for pair in history)
    return text.encode("utf-8", "surrogatepass")


def decide(survey: _Survey) -> tuple[np.ndarray, np.ndarray]:
    """(outcome [N], copies [N]) for every surveyed row; what the survey needs no longer leaves it on the way."""
    spec = survey.spec
    outcome = np.frombuffer(survey.outcome, dtype=np.uint8).copy()
    digest = np.frombuffer(survey.digest, dtype=np.uint64)
    if spec.dedupe:
        open_ = _open(outcome)
        outcome[open_[repeats(digest[open_])]] = DUPLICATE
    key = shuffled_keys(digest, spec.seed)
    source = np.frombuffer(survey.source, dtype=np.uint16)
    for number, one in enumerate(spec.sources):
        if one.nearest_ratio is not None:
            open_ = np.flatnonzero((outcome == KEPT) & (source == number))
            distance = np.frombuffer(survey.distance, dtype=np.float32)[open_]
            outcome[open_[rank_in_group(np.zeros(len(open_), dtype=int), distance) >= one.limit]] = CAP
    if spec.cap is not None:
        _cap(survey, outcome, key)
    survey.group, survey.size = array("I"), array("I")
    if spec.validation:
        share = shuffled_keys(np.frombuffer(survey.document, dtype=np.uint64), spec.seed + 1) / 2.0**64
        outcome[(outcome == KEPT) & (share < spec.validation)] = VALIDATION
        del share
        survey.document = array("Q")
    taken = np.zeros(len(outcome), dtype=np.uint16)
    taken[outcome == VALIDATION] = 1
    open_ = _open(outcome)
    stratum = np.frombuffer(survey.stratum, dtype=np.uint32)[open_]
    weight = _weights(spec, source[open_])
    rows = spec.records if spec.share is None else round(spec.share * float(weight.sum()))
    key = key[open_]
    taken[open_] = copies(stratum, key, weight, list(survey.strata.number), rows)
    outcome[open_[taken[open_] == 0]] = SHARE
    return outcome, taken


def _open(outcome: np.ndarray) -> np.ndarray:
    """The rows kept so far, four bytes each."""
    return np.flatnonzero(outcome == KEPT).astype(np.uint32)


def _cap(survey: _Survey, outcome: np.ndarray, key: np.ndarray) -> None:
    """Bar the rows beyond the cap of their group, in the order asked for."""
    spec, open_ = survey.spec, _open(outcome)
    by = {"random": key, "shortest": np.frombuffer(survey.size, dtype=np.uint32)}
    order = by[spec.cap_order][open_] if spec.cap_order in by else open_
    group = np.frombuffer(survey.group, dtype=np.uint32)[open_]
    outcome[open_[rank_in_group(group, order) >= spec.cap]] = CAP


def _weights(spec: MixtureSpec, source_N: np.ndarray) -> np.ndarray:
    """Each row's weight: its source's, or what gives its source the portion asked for."""
    if spec.sources[0].portion is None:
        return np.array([source.weight for source in spec.sources], dtype=np.float32)[source_N]
    portion = np.array([source.portion for source in spec.sources])
    count = np.bincount(source_N, minlength=len(portion))
    return (portion / portion[count > 0].sum() * len(source_N) / np.maximum(count, 1))[source_N]


def build(spec: MixtureSpec, folder: Path) -> dict[str, Any]:
    """Make a mixture's folder, or leave a finished one as it is; returns what mixture.json says.

    Raises:
        ConfigError: a source cannot be read, or nothing is left to train on.
        RecordError: the folder cannot be written.
    """
    files = training_files(spec, None)
    identity = digest_of({"spec": spec.model_dump(mode="json"), "files": digests(files) if files else {}})
    if (summary := finished(folder, identity)) is not None:
        return summary
    with locked(folder):
        if (summary := finished(folder, identity)) is None:
            with replaced(folder, MIXTURE) as partial:
                summary = _write(spec, partial, identity)
    return summary


def finished(folder: Path, identity: str | None = None) -> dict[str, Any] | None:
    """What mixture.json says, if the folder is finished (and of that identity) and its shards are the sealed ones.

    Raises:
        ConfigError: a shard was changed or cut off.
    """
    try:  # another process may be replacing it at this moment
        summary = json.loads((folder / MIXTURE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    if identity is not None and summary["identity"] != identity:
        return None
    for name, sha256 in summary["shards"].items():
        if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
            raise ConfigError(
                f"{folder / name} is missing or was changed after it was sealed: delete {folder} and make it again."
            )
    return summary


def _write(spec: MixtureSpec, folder: Path, identity: str) -> dict[str, Any]:
    from trainers.contamination import Overlap

    guard = Overlap.of_files(spec.guard, spec.guard_words) if spec.guard else None
    survey = _Survey(spec, guard)
    for source, _, _, record in stream(spec.sources):
        survey.add(source, record)
    if not len(survey.outcome):
        raise ConfigError("mixture: the sources have no rows.")
    outcome, taken = decide(survey)
    if not (outcome == KEPT).any():
        reasons = ", ".join(f"{OUTCOMES[code]}: {count:,}" for code, count in Counter(outcome.tolist()).items())
        raise ConfigError(f"mixture: nothing is left to train on ({reasons}).")
    writers = {KEPT: Shards(folder, "train"), VALIDATION: Shards(folder, "validation")}
    lines = Lines(folder / ROWS)
    for number, (source, name, row, record) in enumerate(stream(spec.sources)):
        code = int(outcome[number])
        if code in writers:
            writers[code].add(record, int(taken[number]))
        lines.add(spec.sources[source].name, name, row, survey.digest[number], OUTCOMES[code], int(taken[number]))
    lines.close()
    shards = [path for writer in writers.values() for path in writer.close()]
    summary = {
        "identity": identity,
        "rows": {OUTCOMES[code]: int((outcome == code).sum()) for code in range(len(OUTCOMES))},
        "training_rows": int(taken[outcome == KEPT].sum()),
        "composition": _composition(survey, taken, outcome),
        "shards": {path.name: sha256_file(path) for path in shards},
        "manifest": sha256_file(folder / ROWS),
    }
    write_atomically(folder / MIXTURE, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def _composition(survey: _Survey, taken: np.ndarray, outcome: np.ndarray) -> dict[str, dict[str, int]]:
    """Training rows by language, by task and by source."""
    stratum = np.frombuffer(survey.stratum, dtype=np.uint32)
    count = np.bincount(stratum, weights=np.where(outcome == KEPT, taken, 0), minlength=len(survey.strata.number))
    totals: dict[str, Counter] = {"language": Counter(), "task": Counter(), "source": Counter()}
    for (language, task, _, source), number in survey.strata.number.items():
        for name, value in zip(totals, (language, task, source), strict=True):
            totals[name][value or "?"] += int(count[number])
    return {name: dict(counter.most_common()) for name, counter in totals.items()}


def sha_of_mixture(folder: Path) -> str:
    """One sha256 for a mixture's training rows."""
    return hashlib.sha256((folder / MIXTURE).read_bytes()).hexdigest()
