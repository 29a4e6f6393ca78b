"""Where things lie in a results folder; no heavy imports, so that `show` and `explain` start at once."""

from __future__ import annotations

import os
from pathlib import Path

from harness.records import CHECKPOINT_FILE, RecordError
from harness.suites import Suite


class ReportsError(ValueError):
    """Something the user can mend: the message says what was expected, what came, what to do."""


REPORT_FILE = "report.md"


def checkpoint_folder(suite: Suite, root: Path, system: str, seed: int) -> Path | None:
    """The finished checkpoint of a system and seed: named after the system or after its recipe file."""
    for name in dict.fromkeys((system, Path(suite.system(system).recipe).stem)):
        folder = root / "checkpoints" / f"{name}-{seed}"
        if (folder / CHECKPOINT_FILE).is_file():
            return folder
    return None


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_atomically`, for bytes.

    Raises:
        RecordError: the folder cannot be written or the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RecordError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error
