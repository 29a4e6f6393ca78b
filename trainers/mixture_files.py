"""The files of a mixture: records in Arrow shards that are mapped into memory, and the manifest of every row read."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

import orjson

from harness.config import ConfigError, unknown
from trainers.sources import ORIGIN, READERS, Record, SourceSpec, stream

MIXTURE = "mixture.json"  # written last: what the folder holds
SHARD_ROWS, CHUNK_ROWS = 100_000, 5_000  # rows a file; rows in memory


class Shards:
    """Arrow files of records, `SHARD_ROWS` each, that `datasets` maps into memory."""

    COLUMNS = ("inputs", "context", "targets", "history", "system", *ORIGIN)

    def __init__(self, folder: Path, stem: str):
        import pyarrow as pa

        self.folder, self.stem, self.paths = folder, stem, []
        self.schema = pa.schema([(name, pa.large_string()) for name in self.COLUMNS] + [("copies", pa.uint16())])
        self.columns: list[list] = [[] for _ in self.schema]
        self.written, self.file, self.writer = 0, None, None

    def add(self, record: Record, times: int) -> None:
        """One record, to be seen `times` times."""
        history = record.get("history")
        for column, name in zip(self.columns, self.COLUMNS, strict=False):
            value = record.get(name) or ""
            column.append(value if name != "history" else orjson.dumps(history).decode() if history else "")
        self.columns[-1].append(times)
        if len(self.columns[-1]) >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self.columns[-1]:
            return
        if self.writer is None:
            path = self.folder / f"{self.stem}-{len(self.paths):05d}.arrow"
            self.paths.append(path)
            self.file = pa.OSFile(str(path), "wb")
            self.writer = pa.ipc.new_stream(self.file, self.schema)
        arrays = [pa.array(column, field.type) for column, field in zip(self.columns, self.schema, strict=True)]
        self.writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        self.written += len(self.columns[-1])
        self.columns = [[] for _ in self.schema]
        if self.written >= SHARD_ROWS:
            self._end()

    def _end(self) -> None:
        if self.writer is not None and self.file is not None:
            self.writer.close()
            self.file.close()
        self.written, self.file, self.writer = 0, None, None

    def close(self) -> list[Path]:
        """The files written."""
        self._flush()
        self._end()
        return self.paths


class Lines:
    """manifest.parquet: one line per row read: source, file, row, digest (xxh3 of its text), outcome, copies."""

    def __init__(self, path: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = pa.dictionary(pa.int32(), pa.string())
        columns = [("source", name), ("file", name), ("row", pa.uint32()), ("digest", pa.uint64()), ("outcome", name), ("copies", pa.uint16())]  # fmt: skip
        self.schema = pa.schema(columns)
        self.writer, self.rows = pq.ParquetWriter(path, self.schema), [[] for _ in columns]

    def add(self, *values) -> None:
        """One line."""
        for column, value in zip(self.rows, values, strict=True):
            column.append(value)
        if len(self.rows[0]) >= SHARD_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = [pa.array(column, field.type) for column, field in zip(self.rows, self.schema, strict=True)]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self.rows = [[] for _ in self.rows]

    def close(self) -> None:
        """Write the rest."""
        self._flush()
        self.writer.close()


def mapped(folder: Path, stem: str):
    """The shards of a folder as one memory-mapped `datasets.Dataset`."""
    from datasets import Dataset, concatenate_datasets

    paths = sorted(folder.glob(f"{stem}-*.arrow"))
    if not paths:
        raise ConfigError(f"{folder} has no {stem} shards.")
    return concatenate_datasets([Dataset.from_file(str(path)) for path in paths])


def records_of(folder: Path, stem: str = "train", batch: int = 1000) -> Iterator[list[Record]]:
    """Records of a mixture's shards in batches, as `trainers.sources` gave them, with `copies`."""
    dataset = mapped(folder, stem)
    for start in range(0, len(dataset), batch):
        rows = dataset[start : start + batch]
        records = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
        for record in records:
            record["history"] = [tuple(pair) for pair in orjson.loads(record["history"])] if record["history"] else []
        yield records


def records_in(path: Path, form: str) -> Iterator[Record]:
    """The training records of a mixture's folder, or of a file in one of the public formats.

    Raises:
        ConfigError: no such format or file, or a row that does not have the format's keys.
    """
    if (path / MIXTURE).is_file():
        return (record for batch in records_of(path) for record in batch)
    if form not in READERS:
        raise ConfigError(unknown("format", form, sorted(READERS)))
    source = SourceSpec(name="rows", format=form, files=(glob.escape(str(path)),))  # type: ignore[arg-type]
    return (record for _, _, _, record in stream([source]))
