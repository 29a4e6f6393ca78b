"""A mixture: which records of which sources are trained on, how often, and why every other one is not.

Two passes over the sources, one row in memory at a time: the first surveys the rows (trainers.survey, which decides), the
second writes the chosen records to Arrow shards and one line per row, kept or dropped with its reason, to
manifest.parquet. mixture.json is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import ConfigError
from harness.records import digest_of, sha256_file, write_atomically
from trainers.folders import locked, replaced
from trainers.mixture_files import MIXTURE, Lines, Shards
from trainers.recipe import MixtureSpec
from trainers.sources import files_of, stream
from trainers.survey import KEPT, OUTCOMES, VALIDATION, Survey, decide

MANIFEST = "manifest.json"
ROWS = "manifest.parquet"


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


def surveyed(spec: MixtureSpec) -> tuple[Survey, np.ndarray, np.ndarray]:
    """The first pass: the survey of all rows, and what was decided of each: outcome [N] and copies [N].

    Raises:
        ConfigError: a source cannot be read, or nothing is left to train on.
    """
    from trainers.contamination import Overlap

    guard = Overlap.of_files(spec.guard, spec.guard_words) if spec.guard else None
    survey = Survey(spec, guard)
    for source, _, _, record in stream(spec.sources):
        survey.add(source, record)
    if not len(survey.outcome):
        raise ConfigError("mixture: the sources have no rows.")
    outcome, taken = decide(survey)
    if not (outcome == KEPT).any():
        reasons = ", ".join(f"{OUTCOMES[code]}: {count:,}" for code, count in Counter(outcome.tolist()).items())
        raise ConfigError(f"mixture: nothing is left to train on ({reasons}).")
    return survey, outcome, taken


def _write(spec: MixtureSpec, folder: Path, identity: str) -> dict[str, Any]:
    survey, outcome, taken = surveyed(spec)
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


def _composition(survey: Survey, taken: np.ndarray, outcome: np.ndarray) -> dict[str, dict[str, int]]:
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
