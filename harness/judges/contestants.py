"""The models of a suite whose answers are judged: one per system and seed, loaded only when an answer is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.judges.answers import Contestant
from harness.records import digest_of, read_checkpoint, weights_digest
from harness.suites import ConfigError, Suite, System

BATCH_SIZE = 16


def contestants_of(
    suite: Suite, results: Path, systems: Sequence[str] = (), seeds: Sequence[int] = (), device: str | None = None
) -> list[Contestant]:
    """Contestants `<system>-<seed>`, in the suite's order; all systems and seeds by default.

    Raises:
        ConfigError: an unknown system or seed.
        RecordError: a checkpoint is not there, or not finished.
    """
    chosen = [suite.system(name) for name in systems] or list(suite.systems)
    wrong = [seed for seed in seeds if seed not in suite.seeds]
    if wrong:
        raise ConfigError(f"seed {wrong[0]} is not one of suite {suite.name}'s seeds {list(suite.seeds)}.")
    folder = results / suite.name / "checkpoints"
    return [
        _contestant(system, folder / f"{system.name}-{seed}", device, suite.batch_size)
        for system in chosen
        for seed in seeds or suite.seeds
    ]


def _contestant(system: System, checkpoint: Path, device: str | None, batch_size: int) -> Contestant:
    record = read_checkpoint(checkpoint)
    weights = digest_of([weights_digest(record.files), system.adapter, dict(system.settings), record.template], 64)

    def load():
        from harness.evaluate import load_model

        arguments = {"pretrained": str(checkpoint), **system.settings}
        return load_model(system.adapter, arguments, batch_size=min(batch_size, BATCH_SIZE), device=device)

    return Contestant(checkpoint.name, weights, load)
