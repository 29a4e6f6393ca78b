"""Evaluation documents of the embedded corpus, which `python -m trainers world` makes; never downloaded. Torch-free."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from harness import mirror
from harness.documents import Documents
from harness.mirror import DataError, Document

CORPUS_TEXTS = ("inputs", "targets", "language", "task", "template", "split", "id", "group", "axis")


def load_corpus(*, evaluation: str, **configuration: Any) -> dict[str, Documents]:
    """lm-eval's `custom_dataset` for the embedded suite: one evaluation set, as {"test": Documents}."""
    return {"test": Documents(corpus(evaluation))}


def corpus_folder() -> Path:
    """ANYORDER_CORPUS, or results/mini/corpus of the checkout (without one: of the current folder).

    Raises:
        DataError: no finished corpus there (`manifest.json` is written last).
    """
    checkout = Path(__file__).resolve().parents[1]
    home = checkout if (checkout / "tasks").is_dir() else Path.cwd()
    folder = Path(os.environ.get("ANYORDER_CORPUS") or home / "results" / "mini" / "corpus")
    if not (folder / "manifest.json").is_file():
        raise DataError(
            f"no embedded corpus in {folder} (no manifest.json): run `make tables`, or set "
            "ANYORDER_CORPUS=DIR to a folder made by `python -m trainers world --out DIR`."
        )
    return folder


def corpus(evaluation: str) -> list[Document]:
    """The documents of eval/EVALUATION.jsonl; DataError unless it is the file that manifest.json lists."""
    folder, name = corpus_folder(), f"eval/{evaluation}.jsonl"
    path = folder / name
    again = f"delete {folder} and run `make tables`"
    try:
        files = dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'manifest.json'} is damaged ({error!r}): {again}.") from error
    if name not in files:
        raise DataError(f"the corpus in {folder} has no {name}; it lists {', '.join(sorted(files)) or 'nothing'}.")
    if mirror.digest(path) != files[name]:
        raise DataError(f"{path} is not the file that manifest.json lists (other sha256): {again}.")
    documents = [mirror.json_object(line, path, n) for n, line in enumerate(mirror.lines_of(path), start=1)]
    if not documents:
        raise DataError(f"{path} is empty: {again} with a larger items_scale.")
    for number, document in enumerate(documents, start=1):
        _check_corpus_document(document, set(documents[0]), f"{path}, line {number}")
    return documents


def _check_corpus_document(document: Document, columns: set[str], where: str) -> None:
    missing = sorted((columns | set(CORPUS_TEXTS)) - set(document))
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}.")
    empty = [name for name in CORPUS_TEXTS if not isinstance(document[name], str) or not document[name].strip()]
    if empty:
        raise DataError(f"{where}: {', '.join(empty)} should be texts that are not empty.")
    target, choices, gold = document["targets"], document.get("choices"), document.get("gold")
    if choices is not None and (gold not in range(len(choices)) or choices[gold] != target):
        raise DataError(f"{where}: choices[gold] should be the target {target!r}.")
    if target not in document.get("valid", [target]):
        raise DataError(f"{where}: the target {target!r} is not among the valid answers.")
