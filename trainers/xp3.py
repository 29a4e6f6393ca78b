"""The xP3 builder: any prompt templates × any documents → xP3's own files, with xMTF's rules as named settings.

For every (data set, config, split, template): documents are shuffled (seeded here, unseeded there), at most `draw` are
taken, rendered, those with an empty input or target or without exactly one target are left out, and `cap` are kept by
`order`: "lexicographic" as the released script does it (it sorts the inputs as text), "shortest" as its comment says, or
"random". Rows go to {language}/xp3_{dataset}_{config}_{split}_{template}.jsonl (facts A2); `merge` makes one file per
language: exact duplicate lines once, shuffled.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from harness.config import ConfigError
from harness.mirror import DataError
from harness.promptsource import read_all, rendered_parts
from harness.records import RecordError

Document = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """xMTF's settings. `splits`: which to use (the released mixture takes test splits where they have labels)."""

    draw: int = 500_000
    cap: int = 100_000
    order: Literal["lexicographic", "shortest", "random"] = "lexicographic"
    splits: tuple[str, ...] = ("train", "validation", "test")
    strip: bool = True
    seed: int = 0


@dataclass(frozen=True)
class DataSet:
    """What is rendered: documents of one split of one data set; `language` is that of the target."""

    name: str
    config: str
    split: str
    language: str
    documents: Iterable[Document]


def rendered(jinja: str, choices: str | None, document: Document, strip: bool = True) -> tuple[str, str] | None:
    """(inputs, targets) of a document under a template, or None where the template does not apply to it."""
    parts = rendered_parts(jinja, choices, document, strip)
    if len(parts) != 2 or not parts[0].strip() or not parts[1].strip():
        return None
    return parts[0], parts[1]


def build_template(data: DataSet, name: str, template: dict[str, Any], rules: Rules) -> list[dict[str, str]]:
    """The records of one data set under one template, capped.

    Raises:
        ConfigError: a document lacks a field of the template.
    """
    documents = list(data.documents)
    order = list(range(len(documents)))
    random.Random(f"{rules.seed}/{data.name}/{data.config}/{data.split}/{name}").shuffle(order)
    records: list[dict[str, str]] = []
    for number in order[: rules.draw]:
        try:
            pair = rendered(template["jinja"], template["answer_choices"], documents[number], rules.strip)
        except DataError as error:
            raise ConfigError(f"{data.name} {data.split}, document {number + 1}, template '{name}': {error}") from error
        if pair is not None:
            document = f"{data.name}/{data.config}/{data.split}/{number}"
            records.append({"inputs": pair[0], "targets": pair[1], "document": document})
    if len(records) > rules.cap:
        records = _capped(records, rules)
    origin = {
        "language": data.language,
        "split": data.split,
        "template": name,
        "dataset": data.name,
        "config": data.config,
    }
    return [{**record, **origin} for record in records]


def _capped(records: list[dict[str, str]], rules: Rules) -> list[dict[str, str]]:
    if rules.order == "random":
        return records[: rules.cap]  # they are in a random order already
    keys = {"lexicographic": lambda record: record["inputs"], "shortest": lambda record: len(record["inputs"])}
    return heapq.nsmallest(rules.cap, records, key=keys[rules.order])


def file_name(data: DataSet, template: str) -> str:
    """The published name of a file, with what a file system does not like replaced by "_"."""
    parts = (data.name, data.config, data.split, template)
    return "xp3_" + "_".join(re.sub(r"[^\w.-]+", "_", part) for part in parts if part) + ".jsonl"


def build(sets: Iterable[DataSet], templates: Path, rules: Rules, out: Path) -> list[Path]:
    """Write the files of all data sets under all templates of a promptsource file; returns their paths.

    Raises:
        ConfigError: a template file or a document does not fit.
        RecordError: `out` cannot be written.
    """
    try:
        found = read_all(templates)
    except DataError as error:
        raise ConfigError(str(error)) from error
    written = []
    for data in sets:
        if data.split not in rules.splits:
            continue
        documents = list(data.documents)
        for name, template in found.items():
            same = DataSet(data.name, data.config, data.split, data.language, documents)
            records = build_template(same, name, template, rules)
            path = out / data.language / file_name(data, name)
            while path in written:  # two templates whose names differ in what file systems do not like
                path = path.with_stem(path.stem + "_")
            if records:
                written.append(_write(path, records))
    return written


def _write(path: Path, records: Iterable[dict[str, str]]) -> Path:
    """The whole file or none: a file that a full disk or a kill cut off would be merged and trained on."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RecordError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error
    return path


def merge(folder: Path, language: str, seed: int = 0) -> Path:
    """merged_{language}.jsonl of a language's files: records with the same inputs and targets once, in a seeded order.

    Lines are shuffled by a hash of seed and text, so that only hashes and offsets lie in memory.
    """
    places: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    files = sorted((folder / language).glob("xp3_*.jsonl"))
    if not files:
        raise ConfigError(f"{folder / language} has no xp3_*.jsonl files to merge.")
    for number, path in enumerate(files):
        for offset, line in _offsets(path):
            record = json.loads(line)
            digest = xxhash.xxh3_64_intdigest(json.dumps([record["inputs"], record["targets"]]).encode())
            if digest not in seen:
                seen.add(digest)
                places.append((xxhash.xxh3_64_intdigest(digest.to_bytes(8, "little"), seed=seed), number, offset))
    places.sort()
    opened = [open(path, encoding="utf-8", newline="\n") for path in files]
    try:
        return _write(
            folder / f"merged_{language}.jsonl", (_line(opened[number], offset) for _, number, offset in places)
        )
    finally:
        for file in opened:
            file.close()


def _offsets(path: Path) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        offset = 0
        for line in file:
            yield offset, line
            offset += len(line)


def _line(file, offset: int) -> dict[str, str]:
    file.seek(offset)
    return json.loads(file.readline())
