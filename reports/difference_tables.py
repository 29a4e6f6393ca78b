"""Paired comparison of systems that differ in one thing (a loss, say): scores, differences, p-values."""

from __future__ import annotations

from collections.abc import Mapping

from reports import statistics
from reports.cells import (
    Absent,
    Cell,
    Scores,
    Spread,
    column_spread,
    estimate_facts,
    load_scores,
    p_text,
    score_cell,
    signed,
)
from reports.frame import Results
from reports.tables import Group, Line, Table, TableSpec, groups_of


def differences_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Rows: a family of systems × groups. Columns: each variant's score and its difference to the first."""
    groups = groups_of(results, spec)
    families = _families(results, spec)
    if not groups or not families:
        return None
    cells: dict[tuple[str, str], Cell] = {}
    rows: list[Line] = []
    for family, members in families.items():
        for group in groups:
            row = f"{family}:{group.name}"
            rows.append(Line(row, (group.label,) if len(families) == 1 else (family, group.label)))
            cells |= {(row, column): cell for column, cell in _difference_row(results, spec, group, members).items()}
    cells = _correct_differences(cells)
    reference, *others = spec.variants
    columns = [Line(reference.suffix.strip("_"), (reference.label,))]
    for other in others:
        key, against = other.suffix.strip("_"), f"{other.label} − {reference.label}"
        columns += [Line(key, (other.label,)), Line(f"{key}_difference", (f"{against} [95 %]",))]
        columns += [
            Line(f"{key}_p", (f"p {other.label}",)),
            Line(f"{key}_p_items", (f"p {other.label} (these)",)),
        ]
    stubs = ("Group",) if len(families) == 1 else ("Family", "Group")
    return Table(name, spec, stubs, tuple(rows), tuple(columns), cells, spec.footnotes)


def _families(results: Results, spec: TableSpec) -> dict[str, dict[str, str]]:
    """Family name → suffix → system, for families with the reference and at least one other variant."""
    families: dict[str, dict[str, str]] = {}
    for system in results.suite.systems:
        for variant in spec.variants:
            if system.name.endswith(variant.suffix) and system.name != variant.suffix:
                families.setdefault(system.name.removesuffix(variant.suffix), {})[variant.suffix] = system.name
    reference = spec.variants[0].suffix
    return {name: members for name, members in families.items() if reference in members and len(members) > 1}


def _difference_row(results: Results, spec: TableSpec, group: Group, members: Mapping[str, str]) -> dict[str, Cell]:
    evaluation = next(iter(spec.evaluations))
    scores = {
        suffix: load_scores(
            results,
            system,
            evaluation,
            group.tasks,
            group.metric,
            by_task=spec.aggregate == "tasks",
            parallel=group.parallel,
        )
        for suffix, system in members.items()
    }
    spread = column_spread(results, evaluation, group, None, spec.aggregate == "tasks")
    cells = {suffix.strip("_"): score_cell(found, spread) for suffix, found in scores.items()}
    reference = scores[spec.variants[0].suffix]
    for suffix in (variant.suffix for variant in spec.variants[1:]):
        key, other = suffix.strip("_"), scores.get(suffix, Absent())
        absent = [s for s in (reference, other) if isinstance(s, Absent)]
        if absent:
            names = [key, f"{key}_difference", f"{key}_p", f"{key}_p_items"]
            cells = dict.fromkeys(names, absent[0].cell) | cells
            continue
        cells |= _difference_cells(key, other, reference, spread)  # type: ignore[arg-type]
    return cells


def _difference_cells(key: str, ours: Scores, theirs: Scores, spread: Spread) -> dict[str, Cell]:
    both = ours.items.intersection(theirs.items)
    a, b = ours.items.get_indexer(both), theirs.items.get_indexer(both)
    strata = None if ours.strata is None else [ours.strata[i] for i in a]
    clusters = None if ours.clusters is None else ours.clusters[a]
    got = statistics.paired_difference(ours.values_IS[a], theirs.values_IS[b], spread, strata, clusters)
    summary = got.estimate
    ids = (*ours.runs, *theirs.runs)
    text = f"{signed(100 * summary.value)} [{signed(100 * summary.low, '')}, {signed(100 * summary.high, '')}]"
    facts = estimate_facts(summary, ours.seeds)
    return {
        f"{key}_difference": Cell(text, 100 * summary.value, "%", facts | {"p": got.p}, ids),
        f"{key}_p": Cell("", got.p, "p", {"p": got.p}, ids),
        f"{key}_p_items": Cell("", got.p_items, "p", {"p": got.p_items}, ids),
    }


def _correct_differences(cells: dict[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Holm over all p-values of one kind in the table; the printed p is the corrected one."""
    done = dict(cells)
    for ending in ("_p", "_p_items"):
        keys = [key for key, cell in cells.items() if key[1].endswith(ending) and cell.value is not None]
        for key, p_holm in zip(keys, statistics.holm([cells[key].facts["p"] for key in keys]), strict=True):
            cell = cells[key]
            done[key] = Cell(p_text(p_holm), cell.value, "p", {**cell.facts, "p_holm": p_holm}, cell.runs)
    return done
