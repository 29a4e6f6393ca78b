"""A suite's numbers beside published ones, where it runs the same thing.

A cell of ours is compared with its published one only if the table's spec says that they measure the same; what stands
in the way is the verdict, never a silent comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from reports import statistics
from reports.cells import MISSING, Absent, Cell, Scores, column_spread, load_scores, signed
from reports.frame import Results
from reports.published import Match, PublishedSpec, combined, parameters, selected, slug, source_of
from reports.tables import Group, Line, Table, TableSpec


@dataclass(frozen=True)
class Beside:
    """One published number with ours: both in per cent, the interval ours (new items, new seeds)."""

    table: str
    row: str
    column: str
    published: float
    cell: Cell
    verdict: str
    source: str


def beside(results: Results, specs: Mapping[str, PublishedSpec]) -> Iterator[Beside]:
    """Every published cell that a match of its spec assigns runs of this suite to, with a verdict."""
    names = {system.name for system in results.suite.systems}
    for name, spec in specs.items():
        for match in spec.matches:
            for model, system in match.systems.items():
                if system in names and _asked(results, match):
                    yield from _beside(results, name, spec, match, model, system)


def _asked(results: Results, match: Match) -> bool:
    asked = {(key.evaluation, key.task) for key in (*results.expected, *results.runs)}
    return all((match.evaluation, task) in asked for task in match.tasks)


def _beside(
    results: Results, name: str, spec: PublishedSpec, match: Match, model: str, system: str
) -> Iterator[Beside]:
    frame = selected(spec)
    keep = frame["model"] == model
    for column, value in match.where.items():
        keep &= frame[column] == value
    group = Group(name="published", label="", tasks=match.tasks, metric=match.metric, parallel=match.parallel)
    for number in combined(pd.DataFrame(frame[keep]), spec).to_dict("records"):
        row, column = (slug([str(number[n]) for n in names]) for names in (spec.rows, spec.columns))
        source, published = source_of(number, spec), float(number["combined"])
        scores = load_scores(
            results, system, match.evaluation, match.tasks, match.metric, match.language, parallel=match.parallel
        )
        if isinstance(scores, Absent):
            yield Beside(name, row, column, published, scores.cell, MISSING, source)
            continue
        spread = column_spread(results, match.evaluation, group, match.language, False)
        got = statistics.estimate(scores.values_IS, spread, None, scores.clusters)
        low, high, value = 100 * got.low, 100 * got.high, 100 * got.value
        why = match.why or _obstacle(results, scores, system, str(number["params"]))
        verdict = f"not comparable: {why}" if why else "match" if low <= published <= high else "differs"
        cell = Cell(f"{value:.1f} [{low:.1f}, {high:.1f}]", value, "%", {"low": low, "high": high}, scores.runs)
        yield Beside(name, row, column, published, cell, verdict, source)


def _obstacle(results: Results, scores: Scores, system: str, params: str) -> str:
    """What forbids a comparison that the runs themselves show: an oracle length, a limit, another size of network."""
    if scores.oracle_length:
        return "ours was decoded with the reference's length"
    folders = {reference.partition("@")[0] for reference in scores.runs}
    limited = [
        record for key, record in results.runs.items() if key.folder.removeprefix("runs/") in folders and record.limit
    ]
    if limited:
        return f"ours was limited to {limited[0].n_items} items"
    ours = [c.parameters for (name, _), c in results.checkpoints.items() if name == system]
    theirs = parameters(params)
    if ours and theirs and not 0.8 < ours[0] / theirs < 1.25:
        return f"published {params} parameters, ours {ours[0] / 1e6:.2f}M"
    return ""


BESIDE_COLUMNS = {"published": "Published", "ours": "Ours [95 %]", "difference": "Δ", "verdict": "Verdict"}


def beside_table(results: Results, specs: Mapping[str, PublishedSpec]) -> Table | None:
    """All comparisons of a suite in one table; None where it runs nothing that was published."""
    found = list(beside(results, specs))
    if not found:
        return None
    rows, cells = [], {}
    for entry in found:
        row = f"{entry.table}:{entry.row}:{entry.column}"
        rows.append(Line(row, (specs[entry.table].title, entry.row, entry.column)))
        facts = {"source": entry.source}
        cells[row, "published"] = Cell(f"{entry.published:g}", entry.published, "published", facts)
        cells[row, "ours"] = entry.cell
        gap = None if entry.cell.value is None else entry.cell.value - entry.published
        absent = entry.cell if gap is None else None
        cells[row, "difference"] = absent or Cell(signed(gap or 0.0), gap, "points", facts, entry.cell.runs)
        cells[row, "verdict"] = absent or Cell(entry.verdict, facts=facts, runs=entry.cell.runs)
    spec = TableSpec(
        title="Published beside reproduced",
        caption="Match: the published number lies in our 95 % interval (other items and another training seed).",
        form="published",
        order=90,
    )
    columns = tuple(Line(key, (text,)) for key, text in BESIDE_COLUMNS.items())
    return Table("published", spec, ("Table", "Row", "Column"), tuple(rows), columns, cells)
