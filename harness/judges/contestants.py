"""The models whose answers are judged: a suite's systems or single checkpoints, loaded only when an answer is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import ConfigError
from harness.judges.answers import Contestant
from harness.judges.arguments import Named
from harness.judges.files import file_name
from harness.records import CHECKPOINT_FILE, digest_of, read_checkpoint, weights_digest
from harness.suites import Suite

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
    size = min(suite.batch_size, BATCH_SIZE)
    return [
        _sealed(
            f"{system.name}-{seed}", system.adapter, folder / f"{system.name}-{seed}", system.settings, device, size
        )
        for system in chosen
        for seed in seeds or suite.seeds
    ]


def contestants_named(models: Sequence[Named], device: str | None = None) -> list[Contestant]:
    """Any checkpoint with any adapter; without `pretrained=`, the newest local one.

    Raises:
        ConfigError: unknown adapter.
        RecordError, BackboneError: no such checkpoint.
    """
    return [_named(model, device) for model in models]


def check_names(names: Sequence[str]) -> None:
    """ConfigError where two contestants have one name: their answers would lie in one file."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"two of the judged are called '{twice[0]}': tell them apart with --name behind --model.")


def _named(model: Named, device: str | None) -> Contestant:
    from lm_eval.utils import simple_parse_args_string

    from harness.adapters.base import newest_checkpoint
    from harness.evaluate import require_model

    require_model(model.adapter)
    settings = dict(simple_parse_args_string(model.settings) or {})
    pretrained = str(settings.pop("pretrained", None) or newest_checkpoint(model.adapter))
    name = file_name(model.name or Path(pretrained).name)
    if (Path(pretrained) / CHECKPOINT_FILE).is_file():
        return _sealed(name, model.adapter, Path(pretrained), settings, device, BATCH_SIZE)
    weights = digest_of([_unsealed(pretrained, settings.get("revision")), model.adapter, settings], 64)
    return _contestant(name, weights, model.adapter, pretrained, settings, device, BATCH_SIZE)


def _unsealed(pretrained: str, revision: str | None) -> str:
    """What stands for weights that are no checkpoint of ours: a folder's files, or the commit of a hub's repository.

    Raises:
        BackboneError: neither a folder nor known to the hub.
    """
    from harness.adapters.answers import files_digest
    from harness.backbones import BackboneError
    from harness.loading import explained

    if Path(pretrained).is_dir():
        return files_digest(pretrained, None, None, None)
    from transformers import AutoConfig

    with explained(pretrained):
        commit = getattr(AutoConfig.from_pretrained(pretrained, revision=revision or "main"), "_commit_hash", None)
    if commit is None:
        raise BackboneError(f"the hub names no commit of '{pretrained}': download it and name its folder.")
    return f"{pretrained}@{commit}"


def _sealed(
    name: str, adapter: str, checkpoint: Path, settings: Mapping[str, Any], device: str | None, batch_size: int
) -> Contestant:
    record = read_checkpoint(checkpoint)
    weights = digest_of([weights_digest(record.files), adapter, dict(settings), record.template], 64)
    return _contestant(name, weights, adapter, str(checkpoint), settings, device, batch_size)


def _contestant(
    name: str, weights: str, adapter: str, pretrained: str, settings: Mapping[str, Any], device: str | None, size: int
) -> Contestant:
    def load():
        from harness.evaluate import load_model

        return load_model(adapter, {"pretrained": pretrained, **settings}, batch_size=size, device=device)

    return Contestant(name, weights, load)
