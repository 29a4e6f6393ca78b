"""The item frame as a whole: put together from runs, kept as Parquet, written for other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pandas.api.types import union_categoricals
from pyarrow import parquet

from reports.locations import write_bytes
from reports.samples import FrameError

KEY_FIELD = b"anyorder.runs"
WRITERS = {".parquet": "to_parquet", ".csv": "to_csv", ".feather": "to_feather"}


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


def cached(path: Path, key: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The frame stored under `key` at `path`, or made and stored there; an unreadable or older file is made anew."""
    try:
        table = parquet.read_table(path)
        if (table.schema.metadata or {}).get(KEY_FIELD) == key.encode():
            return table.to_pandas()
    except (OSError, pyarrow.ArrowInvalid):
        pass  # none yet, or the rest of a broken write: made again below
    frame = make()
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY_FIELD: key.encode()})
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue().to_pybytes())
    return frame


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
