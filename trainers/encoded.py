"""Encoded examples of record files; those of the embedded corpus are kept beside it, for a suite trains many checkpoints on them.

In memory as a whole, unlike a mixture's (trainers.shards), which may be of any size. One safetensors file per tokenizer, template and length, written at once; its metadata holds the sha256 of its arrays.
A corpus that cannot be written to is encoded by every training instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from harness.config import ConfigError
from harness.records import digest_of, write_atomically
from trainers.encode import Example, encode
from trainers.mixture import digests, read_records, training_files
from trainers.recipe import Recipe

FOLDER = "encoded"
COLUMNS = ("prompt", "target", "roles")


def file_examples(recipe: Recipe, corpus: Path | None, tokenizer) -> list[Example]:
    """The training examples of a recipe's JSONL files, or of the embedded corpus, which are encoded once.

    Raises:
        ConfigError: a file is missing or no JSONL, or the kept one was changed.
        RecordError: it cannot be written.
    """
    training, files = recipe.training, training_files(recipe.mixture, corpus)
    if recipe.mixture.source != "embedded" or corpus is None:
        return _encoded(recipe, files, tokenizer)
    what = [
        digests(files), recipe.mixture.records, tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id,
        recipe.template, training.max_length, training.too_long, recipe.prompt_special_tokens,
    ]  # fmt: skip
    path = corpus / FOLDER / f"{digest_of(what)}.safetensors"
    if path.is_file():
        return _read(path)
    examples = _encoded(recipe, files, tokenizer)
    if os.access(corpus, os.W_OK):
        write_atomically(path, _packed(examples))
    return examples


def _encoded(recipe: Recipe, files: Sequence[Path], tokenizer) -> list[Example]:
    records, training = read_records(files, recipe.mixture.records), recipe.training
    options = (training.max_length, training.too_long, recipe.prompt_special_tokens)
    return encode(records, tokenizer, recipe.template, *options).examples


def _packed(examples: Sequence[Example]) -> bytes:
    arrays: dict[str, np.ndarray] = {"closed": np.array([example.closed for example in examples], np.uint8)}
    for name in COLUMNS:
        rows = [getattr(example, name) for example in examples]
        arrays[name] = np.concatenate([np.asarray(row, np.int32) for row in rows] or [np.empty(0, np.int32)])
        arrays[f"{name}_sizes"] = np.array([len(row) for row in rows], np.int32)
    return save(arrays, {"sha256": _sha256(arrays)})


def _read(path: Path) -> list[Example]:
    try:
        with safe_open(path, "numpy") as file:
            sealed = (file.metadata() or {}).get("sha256")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except SafetensorError as error:
        raise ConfigError(f"{path} cannot be read ({error}): delete it, it is made again.") from error
    if sealed != _sha256(arrays):
        raise ConfigError(f"{path} was changed after it was written: delete it, it is made again.")
    columns = [_rows(arrays[name], arrays[f"{name}_sizes"]) for name in COLUMNS]
    return [
        Example(prompt, target, roles, bool(closed))
        for prompt, target, roles, closed in zip(*columns, arrays["closed"].tolist(), strict=True)
    ]


def _rows(flat: np.ndarray, sizes: np.ndarray) -> list[tuple[int, ...]]:
    values, ends = flat.tolist(), np.cumsum(sizes).tolist()
    return [tuple(values[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()
