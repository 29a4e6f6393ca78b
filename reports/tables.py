"""Tables as data: a strict YAML spec (reports/tables/*.yaml) and the runs of a suite make a grid of cells.

A spec names groups of tasks, never systems: rows are the suite's systems that take part in the evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harness.config import Frozen, read_yaml
from reports.cells import Cell, TableError
from reports.expected import RunKey
from reports.frame import Results

Form = Literal[
    "scores",
    "languages",
    "differences",
    "detail",
    "speed",
    "scoring",
    "lengths",
    "variance",
    "corpus",
    "published",
    "judge",
    "contamination",
    "judged",
    "sweeps",
]
Extra = Literal["kind", "parameters", "tokens", "rows_per_item", "seconds", "agreement"]


class Group(Frozen):
    """A column of scores: tasks of one kind and the metric read from their samples.

    parallel: the tasks hold the same items in several languages, so that a document number is one source item
    everywhere and the unit of every test and error. files (contamination tables): task → the file of its documents.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    label: str
    tasks: tuple[str, ...] = Field(min_length=1)
    metric: str
    against_chance: bool = False
    parallel: bool = False
    files: dict[str, str] = {}


class Variant(Frozen):
    """Systems whose names end in `suffix` differ from their siblings in one thing, which `label` names."""

    suffix: str
    label: str


class JudgedColumn(Frozen):
    """A number of a judge's summary: `at` is the way to it, keys joined by dots, * for the model's name."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    label: str
    at: str
    digits: int = 2
    scale: float = 1.0
    unit: str = ""


class TableSpec(Frozen):
    """One table file. `evaluations`: evaluation of the suite → label (shown when there are several).

    Judged tables: `sources` are files below the results folder, {judge} for the judge's name → setting (shown where there
    is any); `command` is what makes them.
    """

    title: str
    caption: str = ""
    form: Form
    order: int = 0
    evaluations: dict[str, str] = {"main": ""}
    aggregate: Literal["items", "tasks"] = "items"
    extras: tuple[Extra, ...] = ()
    groups: tuple[Group, ...] = ()
    variants: tuple[Variant, ...] = ()
    sources: dict[str, str] = {}
    judged: tuple[JudgedColumn, ...] = ()
    command: str = ""
    of: str | None = None
    mark_best: bool = False
    in_report: bool = True
    footnotes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> TableSpec:
        if (
            self.form in ("scores", "languages", "differences", "variance", "corpus", "contamination")
            and not self.groups
        ):
            raise ValueError(f"groups: a table of form '{self.form}' needs at least one")
        if self.form == "differences" and len(self.variants) < 2:
            raise ValueError("variants: the first is the reference, at least one more is compared with it")
        if (self.form == "judged") != bool(self.judged and self.sources and self.command):
            raise ValueError("sources, judged and command: a 'judged' table needs them, and no other has them")
        if any(source.count("{judge}") != 1 for source in self.sources):
            raise ValueError("sources: each file's name needs {judge} once, where the judge's name stands")
        wrong = [
            group.metric for group in self.groups if self.form == "corpus" and group.metric not in ("bleu", "chrf")
        ]
        if wrong:
            raise ValueError(f"groups.metric: a table of form 'corpus' knows bleu and chrf, not {wrong[0]}")
        if (self.form == "detail") != (self.of is not None):
            raise ValueError("of: names the table that a 'detail' table spells out, and belongs to that form only")
        return self


OTHER_TASKS = "other_tasks"


@dataclass(frozen=True)
class Line:
    """A row or a column: the key that `explain` takes and the labels that are printed."""

    key: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A finished grid; `cells` is keyed by (row key, column key)."""

    name: str
    spec: TableSpec
    stubs: tuple[str, ...]
    rows: tuple[Line, ...]
    columns: tuple[Line, ...]
    cells: Mapping[tuple[str, str], Cell]
    footnotes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[RunKey, ...]:
        """Runs that would fill this table's absent cells."""
        return tuple(dict.fromkeys(key for cell in self.cells.values() for key in cell.missing))


def specs_folder() -> Path:
    """reports/tables/, the shipped tables."""
    return Path(__file__).resolve().parent / "tables"


def load_specs(folder: Path | None = None) -> dict[str, TableSpec]:
    """Every table spec by name, in report order; ConfigError names a wrong file and key."""
    specs = {path.stem: read_yaml(path, TableSpec) for path in sorted((folder or specs_folder()).glob("*.yaml"))}
    return dict(sorted(specs.items(), key=lambda item: (item[1].order, item[0])))


def build_tables(results: Results, specs: Mapping[str, TableSpec]) -> dict[str, Table]:
    """All tables that apply to the suite: those with a task that it runs (or a speed file)."""
    from reports.contamination_table import contamination_table
    from reports.corpus_table import corpus_table
    from reports.difference_tables import differences_table
    from reports.judge_table import judge_table
    from reports.judged_table import judged_table
    from reports.length_table import length_table
    from reports.score_tables import detail_table, languages_table, scores_table
    from reports.scoring_table import scoring_table
    from reports.speed_table import speed_table
    from reports.sweep_table import sweep_table
    from reports.variance import variance_table

    makers: dict[str, Callable[..., Table | None]] = {
        "scores": scores_table,
        "languages": languages_table,
        "differences": differences_table,
        "speed": speed_table,
        "scoring": scoring_table,
        "judge": judge_table,
        "variance": variance_table,
        "corpus": corpus_table,
        "lengths": length_table,
        "contamination": contamination_table,
        "judged": judged_table,
        "sweeps": sweep_table,
    }
    tables: dict[str, Table] = {}
    for name, spec in specs.items():
        if spec.form == "detail":
            source = tables.get(str(spec.of))
            if str(spec.of) not in specs:
                raise TableError(f"table '{name}': of names '{spec.of}', which is no table.")
            made = detail_table(name, spec, source) if source else None
        else:
            made = makers[spec.form](results, name, spec)
        if made is not None:
            tables[name] = made
    other = other_tasks(results, specs)
    made = scores_table(results, OTHER_TASKS, other) if other else None
    return tables | ({OTHER_TASKS: made} if made else {})


def other_tasks(results: Results, specs: Mapping[str, TableSpec]) -> TableSpec | None:
    """A table of the tasks that no shipped table names (imported results, tasks of one's own); None where there are none.

    One column per task with the first of its metrics that lies in [0, 1] on every item; others have no interval here.
    """
    named = {task for spec in specs.values() for group in spec.groups for task in group.tasks}
    ranges = results.items[~results.items["task"].isin(sorted(named))].groupby(
        ["task", "metric"], observed=True, sort=False
    )
    metrics: dict[str, str] = {}
    for (task, metric), values in ranges["value"]:  # type: ignore[misc]
        if values.between(0, 1).all():
            metrics.setdefault(str(task), str(metric))
    groups = tuple(
        Group(name=re.sub(r"[^a-z0-9]+", "_", task.lower()), label=task, tasks=(task,), metric=metric)
        for task, metric in metrics.items()
    )
    caption = "Per cent. Mean over seeds ± standard error; each task with its own first metric."
    return (
        TableSpec(title="Other tasks", caption=caption, form="scores", groups=groups, mark_best=True)
        if groups
        else None
    )


def groups_of(results: Results, spec: TableSpec) -> list[Group]:
    """Groups with a task that the suite runs under one of the table's evaluations."""
    asked = {key.task for key in (*results.expected, *results.runs) if key.evaluation in spec.evaluations}
    return [group for group in spec.groups if asked & set(group.tasks)]


def pairs_of(results: Results, spec: TableSpec) -> list[tuple[str, str]]:
    """(system, evaluation) rows: systems that take part in several evaluations, if several are asked."""
    pairs = []
    for system in results.suite.systems:
        theirs = [e.name for e in results.suite.evaluations_of(system.name)]
        names = [name for name in spec.evaluations if name in theirs]
        if len(names) >= min(2, len(spec.evaluations)):
            pairs += [(system.name, name) for name in names]
    return pairs
