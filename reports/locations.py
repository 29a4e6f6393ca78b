"""Where things lie in a results folder; no heavy imports, so that `show` and `explain` start at once."""

from __future__ import annotations

from pathlib import Path

from harness.records import CHECKPOINT_FILE
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
