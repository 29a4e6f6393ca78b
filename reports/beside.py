"""A suite's numbers beside published ones, where it runs the same thing.

A cell of ours is compared with its published one only if the table's spec says that they measure the same; what stands
in the way is the verdict, never a silent comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
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
        for match in (one for several in spec.matches for one in several.single()):
            for model, system in _of_size(results, spec, match).items():
                if system in names and _asked(results, match):
                    yield from _beside(results, name, spec, match, model, system)


def _of_size(results: Results, spec: PublishedSpec, match: Match) -> dict[str, str]:
    """Published model → system, of each system the model nearest in size (the first one where a size is unknown)."""
    frame = selected(spec)
    sizes = dict(zip(frame["model"].astype(str), frame["params"].astype(str).map(parameters), strict=True))
    kept: dict[str, str] = {}
    for system in dict.fromkeys(match.systems.values()):
        models = [model for model, owner in match.systems.items() if owner == system]
        ours = [c.parameters for (name, _), c in results.checkpoints.items() if name == system]

        def distance(model: str, ours: list[int] = ours) -> float:
            theirs = sizes.get(model)
            return abs(math.log(ours[0] / theirs)) if ours and theirs else math.inf

        kept[min(models, key=distance)] = system
    return kept


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
        if match.over_prompts:
            value, low, high = (100 * x for x in median_over_prompts(scores))
        else:
            spread = column_spread(results, match.evaluation, group, match.language, False)
            got = statistics.estimate(scores.values_IS, spread, None, scores.clusters)
            low, high, value = 100 * got.low, 100 * got.high, 100 * got.value
        why = match.why or _wording(results, match) or _obstacle(results, scores, system, str(number["params"]))
        verdict = f"not comparable: {why}" if why else "match" if low <= published <= high else "differs"
        cell = Cell(f"{value:.1f} [{low:.1f}, {high:.1f}]", value, "%", {"low": low, "high": high}, scores.runs)
        yield Beside(name, row, column, published, cell, verdict, source)


def median_over_prompts(scores: Scores, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean over seeds of the median over prompts of the mean over questions, with its 95 % interval, as fractions.

    Bootstrap percentiles: questions (with all their prompts) and seeds drawn with replacement. A draw's median is over
    the prompts that its questions have.
    """
    _, prompt_I = np.unique(scores.prompts.astype(str), return_inverse=True)
    clusters = scores.items if scores.clusters is None else scores.clusters  # doc_ids repeat from task to task
    _, question_I = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    shape = (question_I.max() + 1, prompt_I.max() + 1, scores.values_IS.shape[1])
    sum_QPS, count_QP1 = np.zeros(shape), np.zeros((*shape[:2], 1))
    np.add.at(sum_QPS, (question_I, prompt_I), scores.values_IS)
    np.add.at(count_QP1, (question_I, prompt_I), 1.0)

    def median(weight_Q: np.ndarray, seeds: np.ndarray) -> float:
        sum_PS, count_P1 = np.tensordot(weight_Q, sum_QPS[:, :, seeds], 1), np.tensordot(weight_Q, count_QP1, 1)
        asked_P = count_P1[:, 0] > 0
        return float(np.median(sum_PS[asked_P] / count_P1[asked_P], axis=0).mean())

    rng, n_questions, n_seeds = np.random.default_rng(seed), shape[0], shape[2]
    drawn = [
        median(
            np.bincount(rng.integers(0, n_questions, n_questions), minlength=n_questions).astype(float),
            rng.integers(0, n_seeds, n_seeds),
        )
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return median(np.ones(n_questions), np.arange(n_seeds)), float(low), float(high)


def _wording(results: Results, match: Match) -> str:
    """What forbids comparing a median over prompts: another wording than the published one."""
    if not match.over_prompts:
        return ""
    asked = next((e for e in results.suite.evaluations if e.name == match.evaluation), None)
    published = asked is not None and str(asked.metadata.get("prompts", "")).startswith("promptsource:")
    return (
        "" if published else "five prompts of our wording, not the published ones (metadata: {prompts: promptsource:…})"
    )


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
