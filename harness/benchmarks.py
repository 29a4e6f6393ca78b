"""The benchmarks that have their own files: where each lives, on the hub and in a local mirror, and its
columns.

Revisions are commits, never branches. What could be checked of them, and what could not, is said in the
README of each benchmark's folder under tasks/. Splits are those that xMTF scores, unless a task asks for
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import mirror
from harness.mirror import DataError, Document

XWINOGRAD_ROWS = {"en": 2325, "fr": 83, "jp": 959, "pt": 263, "ru": 315, "zh": 504}


@dataclass(frozen=True)
class Benchmark:
    """Where one benchmark lives and what its documents look like.

    `columns` maps a column to `str` (a text that is not empty) or to the values it may take. `rows`,
    `mirror_file` and `hub_file` are functions of (language, split); `rows` is the published number of
    documents, `hub_file` gives (repository, revision, path). `parse` turns the lines of a mirror file into
    documents. `file_rows` is the published number of lines of a mirror file that holds all languages, its
    first column being the language.
    """

    title: str
    languages: tuple[str, ...]
    splits: tuple[str, ...]
    columns: Mapping[str, Any]
    rows: Callable[[str, str], int]
    mirror_file: Callable[[str, str], str]
    hub_file: Callable[[str, str], tuple[str, str, str]]
    parse: Callable[[list[str], Path, str], Iterator[Document]]
    file_rows: int | None = None


def _xcopa_mirror_file(language: str, split: str) -> str:
    mark = "-" if language == "en" else "."  # English COPA is not in XCOPA's repository and is named otherwise
    return f"xcopa/{language}/{'val' if split == 'validation' else split}{mark}{language}.jsonl"


def _xcopa_hub_file(language: str, split: str) -> tuple[str, str, str]:
    if language == "en":
        return (
            "aps/super_glue",
            "3de24cf8022e94f4ee4b9d55a6f539891524d646",
            f"copa/{split}-00000-of-00001.parquet",
        )
    return (
        "cambridgeltl/xcopa",
        "d36092ac152946cbcd860bf813c3b03e48c3ef3d",
        f"{language}/{split}/0000.parquet",
    )


BENCHMARKS: dict[str, Benchmark] = {
    "xnli": Benchmark(
        title="XNLI",
        languages=tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split()),
        splits=("validation",),
        columns={"premise": str, "hypothesis": str, "label": (0, 1, 2)},
        rows=lambda language, split: 2490,
        mirror_file=lambda language, split: f"xnli/dev-{language}.tsv",
        hub_file=lambda language, split: (
            "facebook/xnli",
            "b8dd5d7af51114dbda02c0e3f6133f332186418e",
            f"{language}/{split}-00000-of-00001.parquet",
        ),
        parse=mirror.parse_xnli,
    ),
    "xcopa": Benchmark(
        title="XCOPA",
        languages=tuple("en et ht id it qu sw ta th tr vi zh".split()),
        splits=("validation", "test"),
        columns={
            "premise": str,
            "choice1": str,
            "choice2": str,
            "question": ("cause", "effect"),
            "label": (0, 1),
        },
        rows=lambda language, split: {"validation": 100, "test": 500}[split],
        mirror_file=_xcopa_mirror_file,
        hub_file=_xcopa_hub_file,
        parse=mirror.parse_xcopa,
    ),
    "xstorycloze": Benchmark(
        title="XStoryCloze",
        languages=tuple("ar en es eu hi id my ru sw te zh".split()),
        splits=("eval",),
        columns={
            **{f"input_sentence_{i}": str for i in (1, 2, 3, 4)},
            "sentence_quiz1": str,
            "sentence_quiz2": str,
            "answer_right_ending": (1, 2),
        },
        rows=lambda language, split: 1511,
        mirror_file=lambda language, split: f"xstory_cloze/spring2016.val.{language}.tsv.split_20_80_{split}.tsv",
        hub_file=lambda language, split: (
            "juletxara/xstory_cloze",
            "55665be374fa074a3577eecbe6f1853a28639133",
            f"{language}/{split}/0000.parquet",
        ),
        parse=mirror.parse_xstorycloze,
    ),
    "xwinograd": Benchmark(
        title="XWinograd",
        languages=tuple(XWINOGRAD_ROWS),
        splits=("test",),
        columns={"sentence": str, "option1": str, "option2": str, "answer": ("1", "2")},
        rows=lambda language, split: XWINOGRAD_ROWS[language],
        mirror_file=lambda language, split: "xwinograd/dataset.tsv",
        hub_file=lambda language, split: (
            "Muennighoff/xwinograd",
            "5a7fb2ff13d5a74415b2abc4b876778cbe9c36ad",
            f"{language}/{split}/0000.parquet",
        ),
        parse=mirror.parse_xwinograd,
        file_rows=3961,  # its zh part has 16 items; the hub's has 504, from a later collection
    ),
}


def benchmark_of(name: str, language: str, split: str) -> Benchmark:
    """The benchmark called `name`; DataError, with the nearest known one, for an unknown name."""
    if name not in BENCHMARKS:
        raise DataError(_unknown("benchmark", name, BENCHMARKS))
    spec = BENCHMARKS[name]
    for what, value, known in (("language", language, spec.languages), ("split", split, spec.splits)):
        if value not in known:
            raise DataError(f"{spec.title}: {_unknown(what, value, known)}")
    return spec


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    from harness.suites import unknown

    return unknown(what, name, list(known))


def checked(document: Document, spec: Benchmark, where: str) -> Document:
    """Only the benchmark's columns, each with a text or one of the values that it may take."""
    missing = sorted(set(spec.columns) - set(document))
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; there are {', '.join(sorted(document))}.")
    for column, allowed in spec.columns.items():
        value = document[column]
        if allowed is str:
            fine, wanted = isinstance(value, str) and bool(value.strip()), "a text"
        else:
            fine, wanted = value in allowed, f"one of {', '.join(str(item) for item in allowed)}"
        if not fine:
            raise DataError(f"{where}: '{column}' should be {wanted}, got {str(value)[:60]!r}.")
    return {column: document[column] for column in spec.columns}
