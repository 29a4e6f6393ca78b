"""The item frame as a whole: put together from runs, kept as Parquet, written for other tools."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pandas.api.types import union_categoricals
from pyarrow import parquet

from reports.locations import write_bytes
from reports.samples import FrameError

KEY_FIELD = b"anyorder.runs"
VIEWS_FILE = "views.parquet"
WRITERS = {".parquet": "to_parquet", ".csv": "to_csv", ".feather": "to_feather"}


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's cycle collector: parsed samples hold no cycles, and walking them took a third of the reading."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def joined(parts: Sequence[pd.DataFrame], columns: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """The parts below one another, repeated texts as categories: a million items stay within a few hundred megabytes."""
    if not parts:
        return pd.DataFrame(columns=pd.Index(columns)).astype(dict.fromkeys(labels, "category"))
    found = {
        name: union_categoricals([part[name] for part in parts])
        if name in labels
        else np.concatenate([part[name].to_numpy() for part in parts])
        for name in columns
    }
    return pd.DataFrame(found)


Read = tuple[pd.DataFrame, dict[str, str]]


def cached(path: Path, key: str, make: Callable[[], Read]) -> Read:
    """Items stored under `key` at `path`, views beside them; made and stored where there are none, or older ones."""
    beside = path.with_name(VIEWS_FILE)
    items, views = _stored(path, key), _stored(beside, key)
    if items is not None and views is not None:
        return items, dict(zip(views["name"], views["text"], strict=True))
    frame, texts = make()
    _store(path, key, frame)
    _store(beside, key, pd.DataFrame({"name": list(texts), "text": list(texts.values())}))
    return frame, texts


def _stored(path: Path, key: str) -> pd.DataFrame | None:
    """The frame at `path`; None for an unreadable one or one of another key."""
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowInvalid):
        return None  # none yet, or the rest of a broken write: made again
    return table.to_pandas() if (table.schema.metadata or {}).get(KEY_FIELD) == key.encode() else None


def _store(path: Path, key: str, frame: pd.DataFrame) -> None:
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY_FIELD: key.encode()})
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue().to_pybytes())


def export(items: pd.DataFrame, path: Path) -> None:
    """The item frame for other tools: .parquet, .csv or .feather by the file's ending.

    Raises:
        FrameError: another ending.
    """
    if path.suffix not in WRITERS:
        raise FrameError(f"cannot export to '{path.name}': use one of the endings {', '.join(WRITERS)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    more = {"index": False} if path.suffix != ".feather" else {}
    getattr(items, WRITERS[path.suffix])(path, **more)
