"""What a finished piece of work says of itself: checkpoint and run records, sealed by sha256 and written last.

Torch-free: trainers write `CheckpointRecord`, the harness writes `RunRecord`, reports read both.
A checkpoint without its `checkpoint.json`, or a run without its `run.json`, does not exist for the rest of
the suite; a record whose files have other digests than it lists is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.config import Frozen
from harness.environment import git_state, now, package_versions
from harness.locks import locked

SCHEMA_VERSION = 1
CHECKPOINT_FILE = "checkpoint.json"
RUN_FILE = "run.json"
SPEED_FILE = "speed.json"

Kind = Literal["exact", "bound", "pseudo"]


class RecordError(RuntimeError):
    """A record is missing, unreadable, or its files are not the ones that were sealed."""


class CheckpointRecord(Frozen):
    """The seal of a checkpoint folder; its existence means that training finished.

    Counts are in tokens of the checkpoint's own tokenizer; losses in nats per loss token; `seconds` is wall time.
    `backbone_commit`: of the hub repository that the weights were loaded from.
    """

    schema_version: int = SCHEMA_VERSION
    recipe: str
    recipe_id: str
    label: str
    adapter: str
    objective: str
    seed: int
    canvas: Literal["causal", "seq2seq", "joint", "isolated"]
    layout: dict[str, str | int | None] | None = None
    length_head: dict[str, str | int] | None = None
    template: str = "plain"
    prompt_special_tokens: Literal["none", "tokenizer"] = "none"
    backbone_commit: str | None = None
    parameters: int
    parameters_without_embeddings: int
    steps: int
    examples: int
    tokens: int
    loss_tokens: int
    final_loss: float
    seconds: float
    corpus: dict[str, str]
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    device: str
    finished: str
    files: dict[str, str]


class CheckpointRef(Frozen):
    """Which weights a run used: enough to tell two checkpoints apart, and the recipe when it is one of ours."""

    path: str
    weights_sha256: str | None
    recipe: str | None = None
    recipe_id: str | None = None
    seed: int | None = None


class RunRecord(Frozen):
    """One adapter on one task: an envelope around lm-eval's own result files, not a copy of them.

    `kind` is the weakest estimate among the run's scores (None for generation); `n_unscored` counts requests
    that got no score, `n_truncated` those whose context was cut from the left, `n_stored` those answered from the
    store (their rows are not in `n_rows`); `estimate` says how sure sampled scores are (standard error in nats, rows per
    choice, probability of a flipped answer; one line per question in scores.jsonl); `seconds` is wall time of the
    task without loading. `values` holds lm-eval's aggregates (`metric,filter` keys), `signatures` those
    of sacreBLEU with its version (by metric). Higher is better unless
    lm-eval's file says otherwise.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    suite: str | None
    evaluation: str
    checkpoint: CheckpointRef
    adapter: str
    settings: dict[str, str | int | float | bool | None]
    kind: Kind | None
    oracle_length: bool
    task: str
    task_version: str | int | float | None
    n_shot: int
    limit: float | None
    n_items: int
    n_scored: int
    n_unscored: int
    n_truncated: int
    n_rows: int
    n_stored: int = 0
    estimate: dict[str, float] | None = None
    values: dict[str, float]
    signatures: dict[str, str] = {}
    seeds: dict[str, int | None]
    data: dict[str, str]
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    device: str
    processes: int = 1
    started: str
    seconds: float
    files: dict[str, str]

    @property
    def approximate(self) -> bool:
        """Whether answers were written with an approximation of the decoder: a block-wise cache of keys and values."""
        return self.settings.get("block_cache", "off") != "off"


class MeasuredFile(Frozen):
    """A file of measurements: its sha256, and the checkpoints (folder → weights sha256) and machine that it is of."""

    sha256: str
    checkpoints: dict[str, str | None]
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    device: str
    finished: str


class SpeedRecord(Frozen):
    """The seal of a suite's speed folder, by file; written again by every measurement."""

    schema_version: int = SCHEMA_VERSION
    files: dict[str, MeasuredFile]


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(files: dict[str, str]) -> str | None:
    """One sha256 for a checkpoint's weights, from the sha256 of its files by name (only *.safetensors count)."""
    weights = {name: digest for name, digest in sorted(files.items()) if name.endswith(".safetensors")}
    if len(weights) < 2:
        return next(iter(weights.values()), None)
    return hashlib.sha256("".join(f"{name}:{digest};" for name, digest in weights.items()).encode()).hexdigest()


def digest_of(value: object, length: int = 16) -> str:
    """Short stable digest of JSON-able data (keys sorted), for identities such as `run_id` and `recipe_id`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes so that a reader sees the old file or the whole new one, never a part.

    Raises:
        RecordError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
            temporary = file.name
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise RecordError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error


def seal(record: CheckpointRecord | RunRecord, folder: Path) -> Path:
    """Write a record into its folder as the last file of the work it describes; returns its path."""
    path = folder / (CHECKPOINT_FILE if isinstance(record, CheckpointRecord) else RUN_FILE)
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_checkpoint(folder: Path, *, verify: bool = False) -> CheckpointRecord:
    """The sealed record of a checkpoint folder; `verify=True` also compares every file's sha256.

    Raises:
        RecordError: no folder, no `checkpoint.json` (training did not finish), another schema, or changed files.
    """
    if not folder.is_dir():
        raise RecordError(f"no checkpoint at {folder}: the folder does not exist.")
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise RecordError(
            f"{folder} has no {CHECKPOINT_FILE}: its training did not finish. Train it again, or name another checkpoint."
        )
    record = _parse(CheckpointRecord, path)
    if verify:
        _verify(folder, record.files)
    return record


def read_run(folder: Path, *, verify: bool = True) -> RunRecord:
    """The sealed record of a run folder, with its files' sha256 compared unless `verify=False`.

    Raises:
        RecordError: the run is not sealed, has another schema, or a file was changed or is missing.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise RecordError(f"{folder} has no {RUN_FILE}: the run did not finish.")
    record = _parse(RunRecord, path)
    if verify:
        _verify(folder, record.files)
    return record


def seal_measurements(folder: Path, names: Sequence[str], checkpoints: Mapping[str, str | None], device: str) -> None:
    """Enter files of a speed folder, just written, into its record; the others' entries stay, those of another process too.

    Raises:
        RecordError: the record is unreadable, or cannot be written.
    """
    path = folder / SPEED_FILE
    commit, dirty = git_state()
    about = {"checkpoints": dict(checkpoints), "commit": commit, "dirty": dirty, "packages": package_versions()}
    new = {n: MeasuredFile(sha256=sha256_file(folder / n), device=device, finished=now(), **about) for n in names}
    try:
        with locked(path.with_name(path.name + ".lock")):
            before = _parse(SpeedRecord, path).files if path.is_file() else {}
            write_atomically(path, SpeedRecord(files={**before, **new}).model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RecordError(f"cannot lock {path}: {error.strerror or error}. Its folder must be writable.") from error


def read_measurements(folder: Path) -> dict[str, MeasuredFile]:
    """What a speed folder's record says of the files that are there; nothing where it has no record.

    A file that is gone was not measured (a failed measurement takes its files along): no reason to refuse the others.

    Raises:
        RecordError: the record is unreadable, or a file was changed.
    """
    path = folder / SPEED_FILE
    listed = _parse(SpeedRecord, path).files if path.is_file() else {}
    files = {name: file for name, file in listed.items() if (folder / name).is_file()}
    _verify(folder, {name: file.sha256 for name, file in files.items()})
    return files


def _parse(model: type, path: Path):
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("schema_version") != SCHEMA_VERSION:
            found = data.get("schema_version")
            raise RecordError(f"{path}: schema version {found}, this program reads {SCHEMA_VERSION}. Make it again.")
        return model(**data)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is not a readable record: {error}") from error


def _verify(folder: Path, files: dict[str, str]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise RecordError(f"{path} is missing although its record lists it: the folder is incomplete.")
        if sha256_file(path) != expected:
            raise RecordError(f"{path} was changed after it was sealed (sha256 differs from its record).")
