"""What a benchmark is: where its files live, on the hub and in a local mirror, and what its documents look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data_folder import mirror_setting
from harness.mirror import DataError, Document

ALL = "all"  # the subset that stands for every one that can be had


@dataclass(frozen=True)
class Benchmark:
    """Where one benchmark lives and what its documents look like.

    `subsets` are what it is divided into: languages, subjects, tasks, rounds (`subset_is` says which). `columns` maps a
    column to `str` (a text that is not empty), `list` (texts, at least one), `None` (anything) or the values it may
    take. `rows`, `mirror_file` and `hub_file` are functions of (subset, split): the published number of documents
    (None: not known), the file below the mirror's folder, and (repository, path) on the hub; `hub_file` is None where
    the hub has no copy that may be used. `parse` turns the lines of a mirror file into documents (and of a file of the
    hub that is as its authors published it), `convert` a row of a parquet file of the hub (None: not of this subset).
    `beside` are further files that `parse` reads. `file_rows` is the published number of lines of a file that holds all
    subsets, its first column being the subset. `hidden` are the columns that the ablated contrast task hides.
    `promptsource` is the folder of its templates there. `published` is where the authors keep the files that a mirror
    needs.
    """

    title: str
    licence: str
    subsets: tuple[str, ...]
    splits: tuple[str, ...]
    columns: Mapping[str, Any]
    rows: Callable[[str, str], int | None]
    mirror_file: Callable[[str, str], str]
    parse: Callable[[list[str], Path, str], Iterator[Document]]
    hub_file: Callable[[str, str], tuple[str, str]] | None = None
    convert: Callable[[Document, str], Document | None] = field(default=lambda row, subset: row)
    beside: Callable[[str, str], tuple[str, ...]] = field(default=lambda subset, split: ())
    subset_is: str = "language"
    file_rows: int | None = None
    hidden: tuple[str, ...] = ()
    promptsource: str = ""
    published: str = ""
    promptsource_by_language: bool = True


def files_of(spec: Benchmark) -> list[str]:
    """All mirror files of a benchmark, each once."""
    found = [
        path
        for subset in spec.subsets
        for split in spec.splits
        for path in (spec.mirror_file(subset, split), *spec.beside(subset, split))
    ]
    return list(dict.fromkeys(found))


def benchmark_of(name: str, subset: str, split: str) -> Benchmark:
    """The benchmark called `name`; DataError, with the nearest known one, for an unknown name, subset or split."""
    from harness.catalogue import BENCHMARKS

    if name not in BENCHMARKS:
        raise DataError(_unknown("benchmark", name, BENCHMARKS))
    spec = BENCHMARKS[name]
    named = [(spec.subset_is, name, (*spec.subsets, ALL)) for name in subset.split("+")]
    for what, value, known in (*named, ("split", split, spec.splits)):
        if value not in known:
            raise DataError(f"{spec.title}: {_unknown(what, value, known)}")
    return spec


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    from harness.config import unknown

    return unknown(what, name, list(known))


def hub_place(
    spec: Benchmark,
    subset: str,
    split: str,
    revisions: Mapping[str, str] | None = None,
    data: str | None = None,
) -> tuple[str, str, str]:
    """(repository, commit, path) on the hub.

    `revisions` are the user's own (`--metadata '{"data_revisions": {"REPOSITORY": "COMMIT"}}'`); `data` is the setting that
    errors name, where it says `hub`.

    Raises:
        DataError: the benchmark has no copy on the hub.
    """
    from harness.catalogue import REVISIONS

    if spec.hub_file is None:
        raise DataError(
            f"{spec.title} has no copy on the hub that may be used: set {mirror_setting(data)} to a local mirror{how_to_fetch(spec)}."
        )
    repository, path = spec.hub_file(subset, split)
    revision = (revisions or {}).get(repository) or REVISIONS[repository]
    return repository, revision, path


def how_to_fetch(spec: Benchmark) -> str:
    """The command that makes a mirror of the benchmark, in brackets; nothing where it has no public place."""
    command = fetch_command(spec)
    return f" ({command} makes one)" if command else ""


def fetch_command(spec: Benchmark, into: str = "DIR") -> str:
    """The command that fills a mirror with the benchmark; nothing where it has no public place."""
    from harness.catalogue import BENCHMARKS
    from harness.origins import fetchable

    name = next((name for name, known in BENCHMARKS.items() if known is spec), "")
    return f"python -m harness data --fetch {name} --into {into}" if name and fetchable(name) else ""


def checked(document: Document, spec: Benchmark, where: str) -> Document:
    """Only the benchmark's columns, each with a text or one of the values that it may take."""
    missing = sorted(set(spec.columns) - set(document))
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; there are {', '.join(sorted(document))}.")
    for column, allowed in spec.columns.items():
        wanted = _fault(document[column], allowed)
        if wanted:
            raise DataError(f"{where}: '{column}' should be {wanted}, got {str(document[column])[:60]!r}.")
    return {column: document[column] for column in spec.columns}


def _fault(value: Any, allowed: Any) -> str:
    """What the value should be, if it is not that; else nothing."""
    if allowed is None:
        return ""
    if allowed is str:
        return "" if isinstance(value, str) and value.strip() else "a text"
    if allowed is list:
        fine = isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value)
        return "" if fine else "a list of texts (unlabelled rows?)"
    return "" if value in allowed and not isinstance(value, bool) else f"one of {', '.join(map(str, allowed))}"
