"""Tokenised examples in memory-mapped Arrow shards: a mixture of any size behind the interface of a list of examples.

Made once per mixture, tokenizer, template and length, beside the mixture's own shards; tokens.json, with every shard's
sha256, is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from harness.config import ConfigError
from harness.records import digest_of, sha256_file, write_atomically
from trainers.encode import Example, encode
from trainers.folders import locked, replaced
from trainers.mixture import sha_of_mixture
from trainers.mixture_files import mapped, records_of
from trainers.recipe import TrainingSpec

TOKENS = "tokens.json"
ROWS = 50_000


class TokenShards(Sequence):
    """The examples of tokenised shards, each as often as the mixture says; only the lengths lie in memory."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = mapped(folder, "tokens").with_format("numpy")
        flat = self.rows.with_format("arrow")
        column = [np.asarray(flat[:][name]) for name in ("size", "copies")]
        self.order = np.repeat(np.arange(len(column[0])), column[1])
        self.lengths = column[0][self.order]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place):  # type: ignore[override]
        row = self.rows[int(self.order[place])]
        prompt, target, roles = (tuple(row[name].tolist()) for name in ("prompt", "target", "roles"))
        return Example(prompt, target, roles, bool(row["closed"]))


def tokenise(
    mixture: Path, tokenizer, tokenizer_digest: str, template: str, training: TrainingSpec, special_tokens: str = "none"
) -> TokenShards:
    """The mixture's tokenised shards, made where they are not there yet.

    Raises:
        ConfigError: a shard was changed, or no example fits.
        RecordError: they cannot be written.
    """
    options = [template, training.max_length, training.too_long, special_tokens]
    identity = digest_of([sha_of_mixture(mixture), tokenizer_digest, *options])
    folder = mixture / f"tokens-{identity}"
    if not (folder / TOKENS).is_file():
        with locked(folder):
            if not (folder / TOKENS).is_file():
                with replaced(folder, TOKENS) as partial:
                    _write(mixture, partial, tokenizer, options)
    for name, sha256 in json.loads((folder / TOKENS).read_text())["shards"].items():
        if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
            raise ConfigError(
                f"{folder / name} is missing or was changed after it was sealed: delete {folder}, it is made again."
            )
    return TokenShards(folder)


def _write(mixture: Path, folder: Path, tokenizer, options: Sequence) -> None:
    rows: list[dict] = []
    paths: list[Path] = []
    dropped = 0
    for records in records_of(mixture):
        encoded = encode(records, tokenizer, *options)
        dropped += encoded.too_long
        rows += [
            _row(example, records[number]["copies"])
            for example, number in zip(encoded.examples, encoded.numbers, strict=True)
        ]
        if len(rows) >= ROWS:
            paths.append(_shard(folder, len(paths), rows))
            rows = []
    if rows:
        paths.append(_shard(folder, len(paths), rows))
    if not paths:
        raise ConfigError(f"no example of {mixture} fits into training.max_length {options[1]} tokens.")
    seal = {"shards": {path.name: sha256_file(path) for path in paths}, "too_long": dropped}
    write_atomically(folder / TOKENS, orjson.dumps(seal).decode())


def _row(example: Example, copies: int) -> dict:
    return {
        "prompt": example.prompt, "target": example.target, "roles": example.roles, "closed": example.closed,
        "size": len(example), "copies": copies,
    }  # fmt: skip


def _shard(folder: Path, number: int, rows: list[dict]) -> Path:
    import pyarrow as pa

    ids, roles = pa.list_(pa.int32()), pa.list_(pa.int8())
    types = {
        "prompt": ids,
        "target": ids,
        "roles": roles,
        "closed": pa.bool_(),
        "size": pa.int32(),
        "copies": pa.uint16(),
    }
    schema = pa.schema(list(types.items()))
    path = folder / f"tokens-{number:05d}.arrow"
    table = pa.Table.from_arrays(
        [pa.array([row[name] for row in rows], kind) for name, kind in types.items()], schema=schema
    )
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    return path
