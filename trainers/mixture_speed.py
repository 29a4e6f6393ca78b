"""Rows per second and peak memory of making a mixture: `python -m trainers mixture` on rows written for it, in a process of its own.

Both passes, every rule (held-out data, duplicates, caps, validation, a share that keeps the composition), shards, manifest
and seals are in the time; nothing is tokenised. Seconds are the process's own, all cores together.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from harness.config import ConfigError

LANGUAGES, TASKS, TEMPLATES = 10, 40, 8
REPEATED = 50  # one row in so many is an earlier one again
WORDS = [f"{a}{b}{c}" for a in ("ka", "mo", "ti", "re", "su") for b in "nlrst" for c in ("a", "eo", "i", "u")]


@dataclass(frozen=True)
class MixtureSpeed:
    """Rows read, bytes read, wall and processor seconds, peak resident bytes of the process, rows kept."""

    rows: int
    read: int
    wall: float
    processor: float
    peak: int
    kept: int

    def line(self) -> str:
        """For people."""
        return (
            f"{self.rows:,} rows ({self.read / 1e9:.2f} GB): {self.rows / self.processor:,.0f} rows/s per core "
            f"({self.processor:,.0f} s of processor time, {self.wall:,.0f} s in all), peak memory {self.peak / 1e6:,.0f} MB, "
            f"{self.kept:,} rows to train on"
        )


def write_rows(path: Path, rows: int, seed: int = 0) -> int:
    """JSONL of xP3's form, about 40 words a row; returns its bytes."""
    rng = random.Random(seed)
    pool = [" ".join(rng.choices(WORDS, k=rng.randint(5, 50))) for _ in range(5000)]
    size = 0
    with open(path, "wb", buffering=1 << 20) as file:
        for number in range(rows):
            row = number if number % REPEATED else number // 2
            made = random.Random(row) if row % 97 == 0 else None  # now and then another composition
            task = made.randrange(TASKS) if made else row % TASKS
            line = {
                "inputs": f"{row} {pool[row % 5000]}", "targets": pool[(row * 7) % 5000][:60], "language": f"l{row % LANGUAGES}",
                "dataset": f"d{task % 20}", "task": f"t{task}", "template": f"p{row // 7 % TEMPLATES}", "document": f"{row // 3}",
            }  # fmt: skip
            size += file.write(orjson.dumps(line) + b"\n")
    return size


def recipe(path: Path, rows: int) -> dict:
    """A recipe whose mixture reads the rows under every rule; its network is never built."""
    source = {"name": "rows", "format": "xp3", "files": [str(path)]}
    rules = {"held_out": ["d19"], "cap": max(1, rows // 400), "validation": 0.01, "share": 0.8}
    return {
        "name": "mixture_speed", "label": "-", "source": "-", "adapter": "ar", "backbone": {"family": "llama"},
        "objective": {"name": "causal"}, "training": {"steps": 1, "learning_rate": 1e-3},
        "mixture": {"source": "sources", "sources": [source], **rules},
    }  # fmt: skip


def measure(rows: int, folder: Path) -> MixtureSpeed:
    """Make a mixture of `rows` rows below `folder` (about 600 bytes a row are needed there, and left to the caller).

    Raises:
        ConfigError: the command failed; its message is passed on.
    """
    size = write_rows(folder / "rows.jsonl", rows)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(folder / "rows.jsonl", rows)), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "trainers",
        "mixture",
        str(folder / "recipe.yaml"),
        "--out",
        str(folder / "mixture"),
    ]
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise ConfigError(f"python -m trainers mixture ended with {child.returncode}; its message is above.")
    wall = time.monotonic() - started
    summary = orjson.loads((folder / "mixture" / "mixture.json").read_bytes())
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return MixtureSpeed(rows, size, wall, used.ru_utime + used.ru_stime, peak, summary["training_rows"])
