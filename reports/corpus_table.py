"""BLEU and chrF of written answers: corpus metrics by sacreBLEU, compared by its own paired bootstrap.

A corpus metric is no mean over items, so it has no place among the other scores: each is computed per seed from the
run's answers and references, and a system ties with the best one unless sacreBLEU tells them apart for every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports import statistics
from reports.cells import Absent, Cell, TableError
from reports.comparisons import corpus_scores, sacrebleu_paired
from reports.expected import RunKey
from reports.frame import Results, reference
from reports.samples import SAMPLES_FILE, sample_lines
from reports.tables import Group, Line, Table, TableSpec, groups_of, pairs_of

LEVEL = 0.05
METRICS = {"bleu": "BLEU", "chrf": "chrF"}
NOTE = (
    "Bold: better than every other row (sacreBLEU's paired bootstrap, 1000 draws, the worst seed counts; Holm-corrected "
    "over the column, 5 %). Underlined (=): not told apart from the best."
)


@dataclass(frozen=True)
class Written:
    """A system's answers per seed, the references of the same documents, and the runs they come from."""

    texts: tuple[tuple[str, ...], ...]
    references: tuple[str, ...]
    runs: tuple[str, ...]


def corpus_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Systems in rows, groups × metrics in columns; `metric` of a group is bleu or chrf."""
    groups, pairs = groups_of(results, spec), pairs_of(results, spec)
    if not groups or not pairs:
        return None
    cells: dict[tuple[str, str], Cell] = {}
    for group in groups:
        column = {pair[0]: written(results, *pair, group) for pair in pairs}
        known = {system: found for system, found in column.items() if isinstance(found, Written)}
        cells |= {(s, group.name): found.cell for s, found in column.items() if isinstance(found, Absent)}
        cells |= {(s, group.name): cell for s, cell in compared(known, group.metric).items()}
    rows = tuple(Line(system, (results.suite.system(system).label,)) for system, _ in pairs)
    columns = tuple(Line(group.name, (f"{group.label}, {METRICS[group.metric]}",)) for group in groups)
    return Table(name, spec, ("System",), rows, columns, cells, (*spec.footnotes, NOTE))


def written(results: Results, system: str, evaluation: str, group: Group) -> Written | Absent:
    """Answers of all seeds on the group's tasks, in document order."""
    keys = [[RunKey(system, seed, evaluation, task) for task in group.tasks] for seed in results.suite.seeds]
    flat = [key for row in keys for key in row]
    missing = tuple(key for key in flat if key not in results.runs)
    if missing:
        return Absent(missing)
    lines = [[line for key in row for line in _documents(results, key)] for row in keys]
    texts = tuple(tuple(str((line["filtered_resps"] or [""])[0]) for line in row) for row in lines)
    runs = tuple(reference(key, results.runs[key]) for key in flat)
    return Written(texts, tuple(str(line["target"]) for line in lines[0]), runs)


def _documents(results: Results, key: RunKey) -> list[dict]:
    first: dict[int, dict] = {}
    for line in sample_lines(results.root / key.folder / SAMPLES_FILE):
        first.setdefault(line["doc_id"], line)
    return [first[doc_id] for doc_id in sorted(first)]


def compared(known: Mapping[str, Written], metric: str) -> dict[str, Cell]:
    """Cells of one column: mean over seeds of the corpus score (points, 0–100), marked."""
    if not known:
        return {}
    counts = {name: len(found.references) for name, found in known.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise TableError(f"corpus metrics need the same documents for every system, these have: {said}.")
    names = list(known)
    first = known[names[0]]
    seeds = range(len(first.texts))
    values = [corpus_scores({n: known[n].texts[seed] for n in names}, first.references, metric) for seed in seeds]
    means = {name: sum(of_seed[name] for of_seed in values) / len(values) for name in names}
    best = max(names, key=lambda name: means[name])
    cells = {name: Cell(f"{means[name]:.1f}", means[name], METRICS[metric], {}, known[name].runs) for name in names}
    others = [name for name in names if name != best]
    if not others:
        return cells
    tested = [_p_values(known, [best, *others], seed, metric) for seed in seeds]
    worst = {name: max(of_seed[name] for of_seed in tested) for name in others}
    adjusted = dict(zip(others, statistics.holm([worst[name] for name in others]), strict=True))
    ties = [name for name in others if adjusted[name] > LEVEL]
    facts = {"mark": "tie" if ties else "best", "p_best": max(adjusted.values())}
    cells[best] = replace(cells[best], mark=facts["mark"], facts=facts)
    return cells | {name: replace(cells[name], mark="tie", facts={"mark": "tie", "p": adjusted[name]}) for name in ties}


def _p_values(known: Mapping[str, Written], names: Sequence[str], seed: int, metric: str) -> dict[str, float]:
    """p of each system against the first name, on the answers of one seed."""
    systems = {name: known[name].texts[seed] for name in names}
    tested = sacrebleu_paired(systems, known[names[0]].references, metric)
    return {name: 1.0 if tested[name].p is None else float(tested[name].p or 0.0) for name in names}
