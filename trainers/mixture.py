"""The ordered training examples of a recipe: which records, and in which batches each step sees them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.records import sha256_file
from harness.suites import ConfigError
from trainers.recipe import MixtureSpec

MANIFEST = "manifest.json"


def training_files(spec: MixtureSpec, corpus: Path | None) -> list[Path]:
    """The JSONL files of a mixture.

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
    files = [Path(name) for name in spec.files]
    for path in files:
        if not path.is_file():
            raise ConfigError(f"mixture.files: no such file {path}")
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
