"""Where training records come from: local files in the public formats, or the hub at a pinned revision, as a stream.

Every row becomes records of one form, plain dictionaries: `inputs` and `targets` (the text), `context` (Alpaca's input,
Dolly's context), `history` (earlier turns of a dialogue, (user, assistant) pairs), and what is known of its origin:
`language`, `task`, `template`, `dataset`, `config`, `split`, `document`.

| format | keys of a row |
|---|---|
| xp3, flan | inputs, targets (and what else xP3x gives: language, split, template, dataset, config) |
| p3 | prompt, completion; or inputs_pretokenized, targets_pretokenized |
| alpaca, belle | instruction, input (may be empty), output |
| dolly | instruction, context (may be empty), response, category |
| messages, lima | messages: [{role, content}], or conversations: [user, assistant, user, …] |
| chat | input: [user turns], output: [assistant turns] |
| self_instruct | instruction, instances: [{input, output}] |
| qa | question, std_answer |
"""

from __future__ import annotations

import csv
import glob
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field, model_validator

from harness.config import ConfigError, Frozen

Record = dict[str, Any]
Row = dict[str, Any]
ORIGIN = ("language", "task", "template", "dataset", "config", "split", "document")
END_MARKS = ("<|endoftext|>", "</s>")


class HubSpec(Frozen):
    """A data set on the hub; `revision` is a commit, so that the same recipe reads the same rows for ever."""

    id: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    config: str | None = None
    split: str = "train"


class SourceSpec(Frozen):
    """One source: files (in order) or a hub data set, in one format; `origin` fills in what the rows do not say.

    A name in `files` may hold wildcards (sorted). `weight` multiplies how often its rows are seen; `portion` fixes its
    share of the mixture instead, however many rows it has (then every source has one). `limit` takes the first rows;
    with `nearest_ratio`, those whose ratio of instruction to answer words is nearest to it (Instruction Modelling's subsets).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    format: Literal["xp3", "flan", "p3", "alpaca", "belle", "dolly", "messages", "lima", "chat", "self_instruct", "qa"]
    files: tuple[str, ...] = ()
    hub: HubSpec | None = None
    weight: float = Field(default=1.0, gt=0)
    portion: float | None = Field(default=None, gt=0)
    limit: int | None = Field(default=None, ge=1)
    nearest_ratio: float | None = Field(default=None, gt=0)
    origin: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        if bool(self.files) == (self.hub is not None):
            raise ValueError(f"source {self.name}: give either files or hub, not both and not neither")
        if self.nearest_ratio is not None and self.limit is None:
            raise ValueError(f"source {self.name}: nearest_ratio needs limit, the number of rows to take")
        if extra := set(self.origin) - set(ORIGIN):
            raise ValueError(f"source {self.name}: origin has {sorted(extra)}; known: {', '.join(ORIGIN)}")
        return self


def files_of(source: SourceSpec) -> list[Path]:
    """The files of a source, wildcards filled in.

    Raises:
        ConfigError: one is missing, or nothing fits a wildcard.
    """
    found: list[Path] = []
    for name in source.files:
        fitting = [Path(path) for path in sorted(glob.glob(name, recursive=True))]
        if not fitting:
            raise ConfigError(f"mixture source {source.name}: no such file {name}")
        found += fitting
    return found


def _pairs(row: Row) -> list[Record]:
    return [{"inputs": row["inputs"], "targets": row["targets"]}]


def _p3(row: Row) -> list[Record]:
    if "inputs_pretokenized" in row:
        return [{"inputs": row["inputs_pretokenized"].strip(), "targets": row["targets_pretokenized"].strip()}]
    target = row["completion"]
    for mark in END_MARKS:
        target = target.removesuffix(mark)
    return [{"inputs": row["prompt"], "targets": target.strip()}]


def _alpaca(row: Row) -> list[Record]:
    return [{"inputs": row["instruction"], "context": row.get("input") or "", "targets": row["output"]}]


def _dolly(row: Row) -> list[Record]:
    record = {"inputs": row["instruction"], "context": row.get("context") or "", "targets": row["response"]}
    return [record | ({"task": row["category"]} if row.get("category") else {})]


def _messages(row: Row) -> list[Record]:
    if "conversations" in row:
        turns = [(("user", "assistant")[i % 2], text) for i, text in enumerate(row["conversations"])]
    else:
        turns = [(message["role"], message["content"]) for message in row["messages"]]
    system = "\n".join(text for role, text in turns if role == "system")
    turns = [(role, text) for role, text in turns if role != "system"]
    if len(turns) % 2 or any(role != ("user", "assistant")[i % 2] for i, (role, _) in enumerate(turns)) or not turns:
        raise ValueError(f"turns must alternate user, assistant and end with assistant; got {[r for r, _ in turns]}")
    texts = [text for _, text in turns]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    record: Record = {"inputs": pairs[-1][0], "targets": pairs[-1][1], "history": pairs[:-1]}
    return [record | ({"system": system} if system else {})]


def _chat(row: Row) -> list[Record]:
    pairs = list(zip(row["input"], row["output"], strict=True))
    return [{"inputs": pairs[-1][0], "targets": pairs[-1][1], "history": pairs[:-1]}]


def _self_instruct(row: Row) -> list[Record]:
    return [{"inputs": row["instruction"], "context": i["input"], "targets": i["output"]} for i in row["instances"]]


def _qa(row: Row) -> list[Record]:
    return [{"inputs": row["question"], "targets": row["std_answer"]}]


READERS: dict[str, Callable[[Row], list[Record]]] = {
    "xp3": _pairs, "flan": _pairs, "p3": _p3, "alpaca": _alpaca, "belle": _alpaca, "dolly": _dolly,
    "messages": _messages, "lima": _messages, "chat": _chat, "self_instruct": _self_instruct, "qa": _qa,
}  # fmt: skip


def rows_of(path: Path) -> Iterator[tuple[int, Row]]:
    """(row number from 1, row) of a JSONL, JSON (one list, or in truth JSON lines) or CSV file, .gz or not.

    Raises:
        ConfigError: no such file, or a row that cannot be read (file and line are named).
    """
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as file:
            if kind == "csv":
                text = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))
                yield from enumerate(csv.DictReader(text), 1)
            elif kind == "json" and file.read(64).lstrip()[:1] == b"[":
                file.seek(0)
                yield from enumerate(_whole(path, file.read()), 1)
            else:
                file.seek(0)
                yield from _lines(path, file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}: {reason}. The file may be missing or cut off.") from error


def _lines(path: Path, file) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error}). The file may be cut off.") from error


def _whole(path: Path, content: bytes) -> list[Row]:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}). The file may be cut off.") from error


def hub_rows(hub: HubSpec) -> Iterator[tuple[int, Row]]:
    """Rows of a hub data set, streamed.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from datasets import load_dataset

    try:
        stream = load_dataset(hub.id, hub.config, split=hub.split, revision=hub.revision, streaming=True)
        yield from enumerate(stream, 1)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"hub data set {hub.id} at {hub.revision[:8]}: {first}") from error


def places(source: SourceSpec) -> list[tuple[str, Callable[[], Iterator[tuple[int, Row]]]]]:
    """(name, opener of rows) for each file of a source, or its hub data set."""
    if source.hub is not None:
        hub = source.hub
        return [(f"hub:{hub.id}@{hub.revision}", lambda: hub_rows(hub))]
    return [(str(path), lambda path=path: rows_of(path)) for path in files_of(source)]


def whole_text(record: Record) -> str:
    """All text of a record that evaluation items are compared with: earlier turns, instruction, context, answer."""
    turns = [text for pair in record.get("history") or () for text in pair]
    return " ".join((*turns, record["inputs"], record.get("context") or "", record["targets"]))


def words_asked_and_answered(record: Record) -> tuple[int, int]:
    """Words of instructions and of answers, each turn's role marker counted as a word as in the paper (facts A5)."""
    history = record.get("history") or []
    asked = [record["inputs"], record.get("context") or "", *(user for user, _ in history)]
    answered = [record["targets"], *(answer for _, answer in history)]
    turns = len(history) + 1
    return sum(len(text.split()) for text in asked) + turns, sum(len(text.split()) for text in answered) + turns


def word_ratio(record: Record) -> float:
    """Instruction words per answer word."""
    asked, answered = words_asked_and_answered(record)
    return asked / answered


def stream(sources: Sequence[SourceSpec]) -> Iterator[tuple[int, str, int, Record]]:
    """(source number, file, row number, record) of all sources, in order, one row in memory at a time.

    Raises:
        ConfigError: a row that does not have the format's keys.
    """
    for number, source in enumerate(sources):
        reader, given, taken = READERS[source.format], dict(source.origin), 0
        given.setdefault("dataset", source.name)
        for name, rows in places(source):
            for row_number, row in rows():
                if source.limit is not None and taken >= source.limit and source.nearest_ratio is None:
                    break
                taken += 1
                try:
                    records = reader(row)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    what = f"no key {error}" if isinstance(error, KeyError) else error
                    raise ConfigError(
                        f"{name}, row {row_number}: not a row of format {source.format} ({what}): {str(row)[:80]}"
                    ) from error
                own = {key: row[key] for key in ORIGIN if isinstance(row.get(key), str)}
                for record in records:
                    for key in ("inputs", "targets"):
                        if not isinstance(record[key], str | None):
                            raise ConfigError(f"{name}, row {row_number}: {key} is no text: {str(record[key])[:80]}")
                        record[key] = record[key] or ""
                    yield number, name, row_number, {**given, **own, **record}
