"""Tables of scores: systems × groups, groups × systems × languages, and one spelled out cell by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reports import statistics
from reports.cells import (
    MISSING,
    Absent,
    Cell,
    Scores,
    big_number,
    column_spread,
    load_scores,
    mark_above_chance,
    marked,
    p_text,
    score_cell,
)
from reports.comparisons import estimator_error
from reports.frame import Results, reference
from reports.marks import BEST_NOTE, Rivals, mark_best
from reports.samples import SCORES_FILE, score_lines
from reports.tables import Extra, Group, Line, Table, TableSpec, groups_of, pairs_of


def scores_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Systems (× evaluations) in rows, extras and groups in columns."""
    groups, pairs = groups_of(results, spec), pairs_of(results, spec)
    if not groups or not pairs:
        return None
    several = len(spec.evaluations) > 1
    keys = {pair: f"{pair[0]}:{pair[1]}" if several else pair[0] for pair in pairs}
    by_group = {
        group.name: {
            pair: load_scores(
                results, *pair, group.tasks, group.metric, by_task=spec.aggregate == "tasks", parallel=group.parallel
            )
            for pair in pairs
        }
        for group in groups
    }
    cells = {
        (keys[p], extra): _extra(results, spec, groups, extra, p, by_group) for p in pairs for extra in spec.extras
    }
    for group in groups:
        spreads = {e: column_spread(results, e, group, None, spec.aggregate == "tasks") for e in {p[1] for p in pairs}}
        column = by_group[group.name]
        for pair in pairs:
            cell = score_cell(column[pair], spreads[pair[1]])
            cells[keys[pair], group.name] = replace(cell, facts={**cell.facts, **_estimator_facts(results, cell)})
    if spec.mark_best:
        cells |= mark_best({g.name: _rivals(results, by_group[g.name], keys, cells, g) for g in groups}, cells)
    tested = [(keys[p], g.name, by_group[g.name][p]) for g in groups if g.against_chance for p in pairs]
    cells = mark_above_chance(cells, {(row, col): _chance_p(s) for row, col, s in tested if isinstance(s, Scores)})
    rows = [Line(keys[pair], _row_labels(results, spec, pair, by_group)) for pair in pairs]
    rows += _summary_rows(groups, by_group, cells)
    columns = [Line(extra, (EXTRA_LABELS[extra],)) for extra in spec.extras]
    columns += [Line(group.name, (group.label,)) for group in groups]
    stubs = ("System", "Evaluation") if several else ("System",)
    notes = ((BEST_NOTE,) if spec.mark_best else ()) + ((CHANCE_NOTE,) if tested else ())
    return Table(name, spec, stubs, tuple(rows), tuple(columns), cells, (*spec.footnotes, *notes))


CHANCE_NOTE = (
    "* every seed's checkpoint is above chance (exact one-sided binomial test; where a question is asked in several languages "
    "or prompts, Student's t over questions; the worst seed counts; Holm-corrected over the table, 5 %)."
)
EXTRA_LABELS: dict[Extra, str] = {
    "kind": "Score kind",
    "parameters": "Parameters",
    "tokens": "Tokens",
    "rows_per_item": "Rows/item",
    "seconds": "s/1000 items",
    "agreement": "Agreement",
}


def _estimator_facts(results: Results, cell: Cell) -> dict[str, float]:
    """How much of a sampled score's error other masks alone would make (per cent), where runs say how sure they are."""
    errors = []
    for reference_ in cell.runs:
        folder = results.root / "runs" / reference_.partition("@")[0]
        if (folder / SCORES_FILE).is_file():
            errors.append(estimator_error(np.array([line["flip_probability"] for line in score_lines(folder)])))
    if not errors:
        return {}
    # masks of different runs are independent, a run whose scores are exact adds nothing
    return {"estimator_error": 100 * math.sqrt(sum(error**2 for error in errors)) / len(cell.runs)}


def _rivals(results: Results, column: Mapping, keys: Mapping, cells: Mapping, group: Group) -> Rivals:
    """What a column's rows are compared by: honest rows with scores (none with the reference's length)."""
    known = {keys[p]: s for p, s in column.items() if isinstance(s, Scores) and not s.oracle_length}
    spread = statistics.seed_spread([s.values_IS for s in known.values()], [s.strata for s in known.values()])
    return Rivals(known, spread, results.upward(group.tasks, group.metric))


def _chance_p(scores: Scores) -> float:
    return statistics.above_chance(scores.values_IS, scores.chance_I, scores.clusters)


def _row_labels(results: Results, spec: TableSpec, pair: tuple[str, str], by_group: Mapping) -> tuple[str, ...]:
    label = results.suite.system(pair[0]).label
    known = [column[pair] for column in by_group.values() if isinstance(column[pair], Scores)]
    marks = marked(any(s.oracle_length for s in known), any(s.approximate for s in known))
    if len(spec.evaluations) == 1:
        return (label + marks,)
    return (label, (spec.evaluations[pair[1]] or pair[1]) + marks)


def _summary_rows(groups: list[Group], by_group: Mapping, cells: dict[tuple[str, str], Cell]) -> list[Line]:
    """Adds chance level and number of items under each group; returns their rows (no chance, no row)."""
    any_chance = False
    for group in groups:
        known = [s for s in by_group[group.name].values() if isinstance(s, Scores)]
        if not known:
            cells[("chance", group.name)] = cells[("items", group.name)] = Cell(MISSING)
            continue
        chance, counts = known[0].chance, sorted({len(s.items) for s in known})
        any_chance |= not math.isnan(chance)
        cells[("chance", group.name)] = (
            Cell("none", runs=known[0].runs)
            if math.isnan(chance)
            else Cell(f"{100 * chance:.1f}", 100 * chance, "%", runs=known[0].runs)
        )
        text = "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        cells[("items", group.name)] = Cell(text, float(counts[0]), "items", runs=known[0].runs)
    items = [Line("items", ("Items",))]
    return [Line("chance", ("Chance",)), *items] if any_chance else items


def _extra(
    results: Results, spec: TableSpec, groups: list[Group], extra: Extra, pair: tuple[str, str], by_group
) -> Cell:
    """A column that describes a row rather than scores it."""
    system = pair[0]
    if extra in ("parameters", "tokens"):
        attribute = "parameters_without_embeddings" if extra == "parameters" else "tokens"
        known = [c for (name, _), c in results.checkpoints.items() if name == system]
        values = [getattr(checkpoint, attribute) for checkpoint in known]
        mean = float(np.mean(values)) if values else 0.0
        return Cell(big_number(mean), mean, extra) if values else Cell(MISSING)
    if extra == "agreement":
        return _agreement(results, spec, pair, by_group)
    tasks = {task for group in groups for task in group.tasks}
    found = {k: r for k, r in results.runs.items() if (k.system, k.evaluation) == pair and k.task in tasks}
    records, ids = list(found.values()), tuple(reference(*item) for item in found.items())
    if not records:
        return Cell(MISSING)
    if extra == "kind":
        kinds = sorted({record.kind for record in records if record.kind})
        return Cell("/".join(kinds) or "none", runs=ids)
    items = sum(record.n_items for record in records)
    if extra == "rows_per_item":
        value = sum(record.n_rows for record in records) / items
        return Cell(f"{value:.1f}", value, "rows per item", runs=ids)
    value = 1000 * sum(record.seconds for record in records) / items
    return Cell(f"{value:.1f}", value, "s per 1000 items", runs=ids)


def _agreement(results: Results, spec: TableSpec, pair: tuple[str, str], by_group: Mapping) -> Cell:
    """Share of (item, seed) pairs on which this evaluation picks the same choice as the table's first one."""
    first = (pair[0], next(iter(spec.evaluations)))
    if pair == first:
        return Cell("reference")
    same, total, ids = 0, 0, []
    for column in by_group.values():
        ours, theirs = column[pair], column.get(first, Absent())
        if isinstance(ours, Scores) and isinstance(theirs, Scores):
            both = ours.items.intersection(theirs.items)
            a = ours.predictions_IS[ours.items.get_indexer(both)]
            b = theirs.predictions_IS[theirs.items.get_indexer(both)]
            known = ~(np.isnan(a) | np.isnan(b))
            same, total = same + int((a == b)[known].sum()), total + int(known.sum())
            ids += [*ours.runs, *theirs.runs]
    if not total:
        return Cell(MISSING)
    return Cell(f"{100 * same / total:.1f}", 100 * same / total, "%", runs=tuple(dict.fromkeys(ids)))


def languages_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Groups × systems in rows, languages in columns."""
    groups, pairs = groups_of(results, spec), pairs_of(results, spec)
    languages = list(dict.fromkeys(results.items["language"].dropna()))
    if not groups or not languages:
        return None
    cells: dict[tuple[str, str], Cell] = {}
    rows: list[Line] = []
    for group in groups:
        keys = {pair: f"{group.name}:{pair[0]}" for pair in pairs}
        rows += [Line(keys[pair], (group.label, results.suite.system(pair[0]).label)) for pair in pairs]
        for language in languages:
            by_task = spec.aggregate == "tasks"
            spread = column_spread(results, pairs[0][1], group, language, by_task)
            for pair in pairs:
                scores = load_scores(results, *pair, group.tasks, group.metric, language, by_task)
                cells[(keys[pair], language)] = score_cell(scores, spread)
    columns = tuple(Line(language, (language,)) for language in languages)
    return Table(name, spec, ("Group", "System"), tuple(rows), columns, cells, spec.footnotes)


DETAIL = {
    "mean": "Mean",
    "stderr": "SE",
    "interval": "95 % interval",
    "interval_items": "95 %, these checkpoints",
    "seeds": "By seed",
    "seed_sd": "sd seeds",
    "items": "Items",
    "chance": "Chance",
    "p_holm": "p (Holm)",
}


def detail_table(name: str, spec: TableSpec, source: Table) -> Table:
    """Every score of another table spelled out: one row per cell."""
    cells: dict[tuple[str, str], Cell] = {}
    rows: list[Line] = []
    for row in source.rows:
        for column in source.columns:
            cell = source.cells.get((row.key, column.key))
            if cell is None or not (cell.missing or "n_items" in cell.facts):
                continue
            key = f"{row.key}:{column.key}"
            rows.append(Line(key, (" ".join(row.labels), column.labels[0])))
            cells |= {(key, k): c for k, c in _spelled_out(cell).items()}
    columns = tuple(Line(key, (label,)) for key, label in DETAIL.items())
    return Table(
        name,
        spec,
        ("System", "Group"),
        tuple(rows),
        columns,
        cells,
        (*spec.footnotes, *source.footnotes[-1:]),
    )


def _spelled_out(cell: Cell) -> dict[str, Cell]:
    if cell.missing:
        return {key: Cell(MISSING, missing=cell.missing) for key in DETAIL}
    f = cell.facts

    def number(value: float | None, unit: str = "%") -> Cell:
        return Cell("none" if value is None else f"{value:.1f}", value, unit, runs=cell.runs)

    seeds = [float(part.split("=")[1]) for part in str(f["seed_values"]).split(";")]
    p = f.get("p_holm")
    return {
        "mean": Cell(f"{cell.value:.1f}", cell.value, "%", f, cell.runs),
        "stderr": number(f["stderr"]),
        "interval": Cell(f"{f['low']:.1f} – {f['high']:.1f}", runs=cell.runs),
        "interval_items": Cell(f"{f['low_items']:.1f} – {f['high_items']:.1f}", runs=cell.runs),
        "seeds": Cell(" / ".join(f"{value:.1f}" for value in seeds), runs=cell.runs),
        "seed_sd": number(f["seed_sd"]),
        "items": Cell(str(f["n_items"]), float(f["n_items"]), "items", runs=cell.runs),
        "chance": number(f["chance"]),
        "p_holm": Cell("none" if p is None else p_text(p), p, "p", runs=cell.runs),
    }
