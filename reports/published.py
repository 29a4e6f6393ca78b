"""Published numbers (results/published/*.csv) as tables.

Each number carries paper, version, table and (where needed) a note; nothing here is measured by us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from harness.config import Frozen, read_yaml, unknown
from reports.cells import Cell
from reports.locations import ReportsError
from reports.tables import Line, Table, TableSpec

COLUMNS = ["paper", "version", "table", "system", "model", "params", "task", "subset", "lang", "prompt", "metric", "value", "note"]  # fmt: skip
L1 = (
    "ar bn ca en es eu fr gu hi id mr pt sw ta te ur vi zh".split()
)  # languages of BLOOM's pretraining among xMTF's tasks
PARAMETERS = {"K": 1e3, "M": 1e6, "B": 1e9}


class PublishedError(ReportsError):
    """Published numbers are missing or a spec asks for some that are not there; the message names file and key."""


class Match(Frozen):
    """Which published cells a suite's runs may stand beside.

    where: columns of the published file → value; systems: published model → system of the suite; tasks and metric:
    what is read from the runs; language: only items of it; why: a reason that forbids comparison (shown as verdict).
    each: value of the column `subset` → task, for one match per subset; over_prompts: ours is the median over the prompts
    of a question, and comparable only under the published wording. Of several models of a system, the one of its size counts.
    """

    where: dict[str, str]
    systems: dict[str, str]
    tasks: tuple[str, ...] = ()
    each: dict[str, str] = {}
    metric: str
    over_prompts: bool = False
    evaluation: str = "main"
    language: str | None = None
    parallel: bool = False
    why: str = ""

    @model_validator(mode="after")
    def _tasks_or_each(self) -> Match:
        if bool(self.tasks) == bool(self.each):
            raise ValueError("tasks, each: a match needs one of them")
        return self

    def single(self) -> tuple[Match, ...]:
        """This match, or one for each subset."""
        if not self.each:
            return (self,)
        return tuple(
            self.model_copy(update={"where": self.where | {"subset": subset}, "tasks": (task,), "each": {}})
            for subset, task in self.each.items()
        )


class PublishedSpec(Frozen):
    """One published table: rows and columns are columns of the CSV file, several numbers of a cell are combined.

    decimals: null prints each number as short as it is. figure `shares`: against the language's share of the training data.
    """

    title: str
    caption: str = ""
    order: int = 0
    paper: str
    tables: tuple[str, ...] = Field(min_length=1)
    where: dict[str, tuple[str, ...]] = {}
    languages: Literal["all", "L1", "L2"] = "all"
    rows: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = Field(min_length=1)
    combine: Literal["one", "median", "mean"] = "one"
    decimals: int | None = 2
    figure: Literal["none", "bars", "boxes", "lines", "shares"] = "none"
    x: str = ""
    matches: tuple[Match, ...] = ()
    footnotes: tuple[str, ...] = ()


def published_folder() -> Path:
    """results/published of the checkout."""
    return Path(__file__).resolve().parents[1] / "results" / "published"


@lru_cache(maxsize=8)
def load_published(paper: str, folder: Path | None = None) -> pd.DataFrame:
    """All numbers of a file, `value` as float, empty texts as "".

    Two derived columns: `prompt_language` (EN, MT, HT: the part of xMTF's prompt names before the colon) and
    `dataset` (the part of `subset` before the bar).

    Raises:
        PublishedError: no such file, or one without the columns of results/README.md.
    """
    path = (folder or published_folder()) / f"{paper}.csv"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.csv"))
        raise PublishedError(unknown("published file", paper, known))
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    lacking = [name for name in COLUMNS if name not in frame.columns]
    if lacking:
        raise PublishedError(f"{path} lacks the columns {', '.join(lacking)}; see results/README.md.")
    frame["value"] = pd.to_numeric(frame["value"])
    frame["prompt_language"] = frame["prompt"].str.split(":").str[0]
    frame["dataset"] = frame["subset"].str.split("|").str[0].replace({"2016": "storycloze", "xl": "winogrande"})
    return frame


def specs_folder() -> Path:
    """reports/tables/published/, the shipped tables of the papers."""
    return Path(__file__).resolve().parent / "tables" / "published"


def load_published_specs(folder: Path | None = None) -> dict[str, PublishedSpec]:
    """Every published table by name, in order; ConfigError names a wrong file and key."""
    specs = {path.stem: read_yaml(path, PublishedSpec) for path in sorted((folder or specs_folder()).glob("*.yaml"))}
    return dict(sorted(specs.items(), key=lambda item: (item[1].order, item[0])))


def selected(spec: PublishedSpec) -> pd.DataFrame:
    """The numbers that a spec asks for.

    Raises:
        PublishedError: none at all, or an unknown column.
    """
    frame = load_published(spec.paper)
    for name in (*spec.rows, *spec.columns, *spec.where):
        if name not in frame.columns:
            raise PublishedError(f"'{spec.title}': " + unknown("column", name, list(frame.columns)))
    keep = frame["table"].isin(spec.tables)
    for name, values in spec.where.items():
        keep &= frame[name].isin(values)
    if spec.languages != "all":
        keep &= frame["lang"].isin(L1) == (spec.languages == "L1")
    if not bool(keep.to_numpy().any()):
        raise PublishedError(f"'{spec.title}': {spec.paper}.csv has no number for it; see its tables and where.")
    return pd.DataFrame(frame[keep])


def published_table(name: str, spec: PublishedSpec) -> Table:
    """The table as printed: one cell per row and column; several numbers are combined as the spec says.

    Raises:
        PublishedError: a cell has several numbers and the spec says `combine: one`; row and column are named.
    """
    frame = selected(spec)
    rows, columns = _lines(frame, spec.rows), _lines(frame, spec.columns)
    cells: dict[tuple[str, str], Cell] = {}
    for first in combined(frame, spec).to_dict("records"):
        row, column = (slug([str(first[name]) for name in names]) for names in (spec.rows, spec.columns))
        if first["count"] > 1 and spec.combine == "one":
            raise PublishedError(
                f"'{spec.title}': {first['count']} numbers for {row}/{column}; name more columns, or combine."
            )
        note = " ?" if first["note"].startswith("suspect") else ""
        facts = {"source": source_of(first, spec), "published": first["combined"]}
        text = f"{first['combined']:g}" if spec.decimals is None else f"{first['combined']:.{spec.decimals}f}"
        cells[row, column] = Cell(text + note, first["combined"], "published", facts)
    notes = (*spec.footnotes, f"Published: {_versions(frame)}; numbers in results/published/{spec.paper}.csv.")
    if any(cell.text.endswith("?") for cell in cells.values()):
        notes += (
            "? suspect in the paper: " + "; ".join(sorted({n for n in frame["note"] if n.startswith("suspect")})) + ".",
        )
    stubs = tuple(label(column) for column in spec.rows)
    return Table(name, table_spec(spec), stubs, rows, columns, cells, notes)


def table_spec(spec: PublishedSpec) -> TableSpec:
    """What renderers need to know of a published table."""
    return TableSpec(title=spec.title, caption=spec.caption, form="published", order=spec.order, in_report=False)


def _versions(frame: pd.DataFrame) -> str:
    pairs = frame[["paper", "version"]].drop_duplicates().itertuples(index=False)
    return "; ".join(f"{paper}, {version}" for paper, version in pairs)


def combined(frame: pd.DataFrame, spec: PublishedSpec) -> pd.DataFrame:
    """One row per cell: the first of its numbers' rows, with `combined` (their median or mean) and `count`."""
    names = [*spec.rows, *spec.columns]
    groups = frame.groupby(names, sort=False)["value"]
    how = "median" if spec.combine == "median" else "mean"
    found = frame.assign(combined=groups.transform(how), count=groups.transform("size"))
    return found.drop_duplicates(names)


def source_of(first: Mapping[str, Any], spec: PublishedSpec) -> str:
    """Where a cell's number stands: paper, version, table, note."""
    combined = f"{spec.combine} of {first['count']} numbers of " if spec.combine != "one" else ""
    note = f" ({first['note']})" if first["note"] else ""
    return f"{combined}{first['paper']} {first['table']}, {first['version']}{note}"


def _lines(frame: pd.DataFrame, names: tuple[str, ...]) -> tuple[Line, ...]:
    found = frame[list(names)].drop_duplicates().itertuples(index=False)
    return tuple(Line(slug([str(v) for v in values]), tuple(str(v) or "none" for v in values)) for values in found)


def slug(labels: list[str]) -> str:
    """A key for `explain` from printed labels: lower case, words joined by _, labels by a dot."""
    return ".".join(re.sub(r"[^a-z0-9+.-]+", "_", text.lower()).strip("_") or "none" for text in labels)


def label(column: str) -> str:
    """A CSV column's name as a heading."""
    return {"lang": "Language", "params": "Parameters"}.get(column, column.replace("_", " ").capitalize())


def parameters(text: str) -> float | None:
    """`560M` → 5.6e8; None for a range or nothing."""
    found = re.fullmatch(r"([\d.]+)([KMB])", text)
    return float(found[1]) * PARAMETERS[found[2]] if found else None
