"""Documents: of a benchmark, from the hub or a local mirror, and of the embedded corpus. Torch-free.

`ANYORDER_DATA` unset: the hub, at pinned revisions, parquet only (loading scripts never run).
`ANYORDER_DATA=DIR`: only DIR, in the benchmarks' own file formats (mirror.py). There is no fallback from
one to the other: what is missing is an error that names it. Both ways end in the same columns, those of
the hub's copy, plus `id` and `source`, so that every logged sample says which file or revision it came
from.

A mirror file must either have the published number of rows or be listed in DIR/MANIFEST.tsv (path, rows,
bytes, sha256) with its true digest: that is how a truncated or re-ordered copy is told from a deliberate
subset.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import mirror
from harness.benchmarks import Benchmark, benchmark_of, checked
from harness.mirror import DataError, Document

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

CORPUS_TEXTS = ("inputs", "targets", "language", "task", "template", "split", "id", "group", "axis")


def load(*, benchmark: str, language: str, split: str, **configuration: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: the documents of one benchmark, language and split, as {split: Dataset}.

    lm-eval also passes the task's metadata and the model's arguments (`configuration`); they are not used.

    Raises:
        DataError: unknown name, hub out of reach, or a file that is missing, damaged or not as published.
    """
    from datasets import Dataset

    spec = benchmark_of(benchmark, language, split)
    root = mirror_folder()
    documents = _from_hub(spec, language, split) if root is None else _from_mirror(spec, root, language, split)
    source = source_of(benchmark, language, split)
    for number, document in enumerate(documents):
        document.update(id=f"{benchmark}/{language}/{split}/{number}", source=source)
    return {split: Dataset.from_list(documents)}


def source_of(benchmark: str, language: str, split: str) -> str:
    """Where `load` reads from: `mirror:PATH` (below ANYORDER_DATA) or `hub:REPOSITORY@REVISION/PATH`."""
    spec = benchmark_of(benchmark, language, split)
    if mirror_folder() is not None:
        return f"mirror:{spec.mirror_file(language, split)}"
    repository, revision, path = spec.hub_file(language, split)
    return f"hub:{repository}@{revision}/{path}"


def mirror_folder() -> Path | None:
    """The local mirror that ANYORDER_DATA names, or None for the hub; DataError if it is no folder."""
    name = os.environ.get("ANYORDER_DATA", "")
    if not name:
        return None
    if not Path(name).is_dir():
        raise DataError(f"ANYORDER_DATA={name} is not a folder: name a mirror, or unset it to read from the hub.")
    return Path(name)


def in_mirror(spec: Benchmark, root: Path, language: str, split: str) -> bool:
    """Whether the mirror has the file and, where one file holds all languages, lines of that language."""
    path = root / spec.mirror_file(language, split)
    if not path.is_file():
        return False
    return spec.file_rows is None or any(line.startswith(f"{language}\t") for line in mirror.lines_of(path))


def _from_mirror(spec: Benchmark, root: Path, language: str, split: str) -> list[Document]:
    name = spec.mirror_file(language, split)
    path = root / name
    if not in_mirror(spec, root, language, split):
        raise DataError(f"{spec.title}: no documents in '{language}' in the mirror (looked for {path}).")
    listed = mirror.manifest(root).get(name)
    if listed not in (None, mirror.digest(path)):
        raise DataError(f"{path} is not the file that {root / 'MANIFEST.tsv'} lists (other sha256): copy it again.")
    lines = mirror.lines_of(path)
    documents = [
        checked(document, spec, f"{path} ({language}), item {number}")
        for number, document in enumerate(spec.parse(lines, path, language), start=1)
    ]
    published = spec.rows(language, split)
    count, expected = (len(lines), spec.file_rows) if spec.file_rows else (len(documents), published)
    if listed is None and count != expected:
        raise DataError(
            f"{path}: {count} rows, expected {expected} (truncated?). A deliberate subset must be listed in "
            f"{root / 'MANIFEST.tsv'} (path, rows, bytes, sha256)."
        )
    if not documents:
        raise DataError(f"{path}: no usable rows in '{language}'.")
    if len(documents) != published:
        _warn_of_subset(spec.title, f" ({language})" if spec.file_rows else "", len(documents), published)
    return documents


@functools.cache  # once, not once per language
def _warn_of_subset(title: str, language: str, count: int, published: int) -> None:
    text = "%s%s: the mirror has %d of the published %d items; scores are not comparable with published ones."
    logger.warning(text, title, language, count, published)


def _from_hub(spec: Benchmark, language: str, split: str) -> list[Document]:
    import datasets

    repository, revision, path = spec.hub_file(language, split)
    where = f"{spec.title} ({language}) at {repository}@{revision[:12]}/{path}"
    try:
        rows = datasets.load_dataset(repository, data_files={split: path}, revision=revision, split=split)
    except Exception as error:  # the hub's clients raise a dozen unrelated types; each of them ends this task
        what = "the hub could not be reached" if isinstance(error, ConnectionError) else "the hub's copy is unusable"
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: {what} ({reason}). Set ANYORDER_DATA=DIR to read a local mirror.") from error
    documents = [checked(dict(row), spec, f"{where}, row {number}") for number, row in enumerate(rows, start=1)]
    if len(documents) != spec.rows(language, split):
        raise DataError(f"{where}: {len(documents)} rows, expected {spec.rows(language, split)}.")
    return documents


# The embedded corpus: made by `python -m trainers world`, never downloaded.


def load_corpus(*, evaluation: str, **configuration: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset` for the embedded suite: one evaluation set, as {"test": Dataset}."""
    from datasets import Dataset

    return {"test": Dataset.from_list(corpus(evaluation))}


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
