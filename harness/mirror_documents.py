"""Documents of one benchmark from the files of a local mirror: whole, labelled, and as they were published. Torch-free.

A file must be listed in the mirror's MANIFEST.tsv (path, rows, bytes, sha256) with its true digest, or have the official
one (checksums.tsv). Where no official digest is known, an unlisted file must have the published number of rows, rows that
do not repeat one another, and a warning says that a re-ordered copy could not be told; where that number is not known
either, it must be listed. That is how a truncated or re-ordered copy is told from a deliberate subset.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path

from harness import mirror
from harness.benchmarks import ALL, Benchmark, checked, fetch_command, files_of
from harness.data_folder import to_the_hub
from harness.mirror import DataError, Document

logger = logging.getLogger(__name__)
GOLD_COLUMNS = ("label", "answer", "answer_right_ending")
# No benchmark whose options are columns has so many questions of one subset with the same right option. (DiffusionLLM's
# date_understanding has: A in all 73 rows. Its right answer is a text and is not looked at here.)
ENOUGH_LABELS = 50
HOW_TO_LIST = "(tab-separated path, rows, bytes, sha256)"


@functools.cache  # once, not once per language
def say_once(text: str) -> None:
    """A warning of this process."""
    logger.warning("%s", text)


def in_mirror(spec: Benchmark, root: Path, subset: str, split: str) -> bool:
    """Whether the mirror has the subset's files (BBH: its chain-of-thought prompt too) and, where one file holds all
    subsets, lines of that subset."""
    if subset == ALL:
        return any(in_mirror(spec, root, name, split) for name in spec.subsets)
    if "+" in subset:
        return all(in_mirror(spec, root, name, split) for name in subset.split("+"))
    if not all((root / file).is_file() for file in _needed(spec, subset, split)):
        return False
    path = root / spec.mirror_file(subset, split)
    return spec.file_rows is None or any(line.startswith(f"{subset}\t") for line in mirror.lines_of(path))


def _needed(spec: Benchmark, subset: str, split: str) -> tuple[str, ...]:
    return (spec.mirror_file(subset, split), *spec.beside(subset, split))


def from_mirror(spec: Benchmark, root: Path, subset: str, split: str, data: str | None) -> list[Document]:
    """The documents of one subset; one warning per benchmark names files that no digest is known of.

    `data` is the setting that errors name.

    Raises:
        DataError: a file is missing, damaged or not as published.
    """
    if not in_mirror(spec, root, subset, split):
        raise DataError(_missing(spec, root, subset, split, data))
    documents, unlisted = _documents(spec, root, subset, split)
    if unlisted:
        say_once(unlisted_warning(spec, root, unlisted_files(spec, root)))
    return documents


def _documents(spec: Benchmark, root: Path, subset: str, split: str) -> tuple[list[Document], bool]:
    """The documents, and whether a file is one that no digest is known of."""
    path, needed = root / spec.mirror_file(subset, split), _needed(spec, subset, split)
    listing = mirror.manifest(root)
    states = {file: _verified(root, file, listing) for file in needed}
    unlisted = "unlisted" in states.values()
    lines = mirror.lines_of(path)
    documents = [
        checked(document, spec, f"{path} ({subset}), item {number}")
        for number, document in enumerate(spec.parse(lines, path, subset), start=1)
    ]
    if unlisted or needed[0] not in listing:
        expected = spec.file_rows or spec.rows(subset, split)
        file = root / next((name for name in needed if name not in listing), needed[0])
        _refuse_other_count(spec, file, root, len(lines) if spec.file_rows else len(documents), expected)
    if unlisted:
        _refuse_repeated(path, root, documents)
    if not documents:
        raise DataError(f"{path}: no usable rows in '{subset}'.")
    refuse_dummy_labels(spec, documents, f"{path} ({subset})")
    return documents, unlisted


def _verified(root: Path, name: str, listing: dict[str, str]) -> str:
    """The state of a file (see `mirror.Held`); DataError if it is not the listed file, nor the official one."""
    held = mirror.held(root, name, listing)
    if held.fault:
        raise DataError(held.fault)
    return held.state


def _refuse_other_count(spec: Benchmark, path: Path, root: Path, count: int, expected: int | None) -> None:
    """DataError for a file that is not listed and has another number of rows than was published, or none is known."""
    if expected is None:
        raise DataError(
            f"{path}: neither a digest nor a number of rows is known that it could be held against: list it in "
            f"{root / 'MANIFEST.tsv'} {HOW_TO_LIST}."
        )
    if count != expected:
        command = fetch_command(spec, str(root))
        anew = f" Or remove it and fetch it anew: {command}." if command else ""
        raise DataError(
            f"{path}: {count} rows, expected {expected} (truncated?). A deliberate subset must be listed in "
            f"{root / 'MANIFEST.tsv'} {HOW_TO_LIST}.{anew}"
        )


def _refuse_repeated(path: Path, root: Path, documents: list[Document]) -> None:
    """DataError for a file that half of its rows repeat: a subset that was filled up. (Of the published files that we
    could count, the one with most repetitions has 91 different rows in 102.)"""
    different = len({repr(sorted(document.items())) for document in documents})
    if len(documents) >= 2 * different > 0:
        raise DataError(
            f"{path}: only {different} of its {len(documents)} rows are different: rows are repeated. If that is deliberate, "
            f"list the file in {root / 'MANIFEST.tsv'} {HOW_TO_LIST}."
        )


def refuse_dummy_labels(spec: Benchmark, documents: list[Document], where: str) -> None:
    """DataError for a test set whose hidden labels were filled with one value: its first option would score 100 %."""
    for column in GOLD_COLUMNS:
        options = spec.columns.get(column)
        values = [document[column] for document in documents] if isinstance(options, tuple) else []
        if len(values) >= ENOUGH_LABELS and len(set(values)) == 1:
            raise DataError(
                f"{where}: '{column}' is {values[0]!r} in all {len(values)} rows: these are unlabelled test rows, which cannot "
                "be scored; use a split with labels."
            )


def _missing(spec: Benchmark, root: Path, subset: str, split: str, data: str | None) -> str:
    """What the mirror lacks, where it is published, and the other ways to get it."""
    from harness.origins import origin_of

    file = next((file for file in _needed(spec, subset, split) if not (root / file).is_file()), "")
    path = root / (file or spec.mirror_file(subset, split))
    what = f"there is no {path}" if file else f"{path} has no such lines"
    ways = [f"copy the file of {spec.published} there"] if spec.published else []
    ways += [fetch_command(spec, str(root))] if file and origin_of(file) else []
    ways += [to_the_hub(data)] if spec.hub_file is not None else []
    advice = f": {', or '.join(ways)}" if ways else ""
    return f"{spec.title}: no {split} documents in '{subset}' in the mirror, {what}{advice}."


def unlisted_files(spec: Benchmark, root: Path) -> list[str]:
    """The benchmark's files in the mirror that are neither listed nor have an official digest."""
    listing, official = mirror.manifest(root), mirror.official_files()
    return [name for name in files_of(spec) if name not in listing and name not in official and (root / name).is_file()]


def unlisted_warning(spec: Benchmark, root: Path, unlisted: list[str]) -> str:
    """What a reader must know of files that only their number of rows speaks for."""
    return (
        f"{spec.title}: neither listed in {root / 'MANIFEST.tsv'} nor of a known digest: {len(unlisted)} of its files (such as "
        f"{unlisted[0]}). A re-ordered copy could not be told: list them {HOW_TO_LIST}."
    )


def faults_of_unlisted(spec: Benchmark, root: Path) -> Iterator[tuple[str, str]]:
    """(file, sentence) of each unlisted file that a task would refuse, once: what `from_mirror` would say of it."""
    unlisted = set(unlisted_files(spec, root))
    for subset in spec.subsets:
        for split in spec.splits:
            concerned = unlisted & set(_needed(spec, subset, split))
            if not concerned or not in_mirror(spec, root, subset, split):
                continue
            try:
                _documents(spec, root, subset, split)
            except DataError as error:
                unlisted -= concerned
                yield from ((name, str(error)) for name in sorted(concerned))
