"""One cell: the item scores behind it (items × seeds), its estimate, and how it is written.

Every run a cell is made of must be sealed: a missing one makes the cell absent (—), never a mean over fewer
seeds. A value is a fraction here and in the arithmetic; text and CSV show per cent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from reports import statistics
from reports.expected import RunKey
from reports.frame import Results, reference
from reports.locations import ReportsError

MISSING = "—"
NO_ITEMS = "·"
Spread = statistics.SeedSpread | None


class TableError(ReportsError):
    """A table asks for something that the runs do not have; the message names both."""


@dataclass(frozen=True)
class Cell:
    """What a table shows and what its CSV says of it; `facts` keys are CSV columns, numbers in `unit`.

    `runs` are references (folder below runs/, `@`, run id): equal weights and settings give equal run ids.
    `mark`: `best` = significantly better than every other row of its column, `tie` = not told apart from the best.
    """

    text: str
    value: float | None = None
    unit: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    missing: tuple[RunKey, ...] = ()
    mark: Literal["", "best", "tie"] = ""


@dataclass(frozen=True)
class Scores:
    """Item scores of one system under one evaluation: `values_IS`, chance, stratum (task), doc_id and prompt per item."""

    items: pd.Index
    values_IS: np.ndarray
    predictions_IS: np.ndarray
    chance_I: np.ndarray
    strata: tuple[str, ...] | None
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    kinds: tuple[str, ...]
    oracle_length: bool
    approximate: bool
    clusters: np.ndarray | None = None
    documents: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    prompts: np.ndarray = field(default_factory=lambda: np.empty(0, object))

    @property
    def chance(self) -> float:
        """Expected score of guessing, weighted as the mean is; NaN where there is no chance level."""
        return float(statistics.seed_means(self.chance_I[:, None], self.strata)[0])


def marked(oracle_length: bool, approximate: bool) -> str:
    """What a row's label ends with: † for the reference's length, ≈ for an approximate decoder."""
    return " †" * oracle_length + " ≈" * approximate


@dataclass(frozen=True)
class Absent:
    """Why there are no scores: runs that are not there, or none (the task has no such items)."""

    missing: tuple[RunKey, ...] = ()

    @property
    def cell(self) -> Cell:
        """The cell that says so."""
        return Cell(MISSING, missing=self.missing) if self.missing else Cell(NO_ITEMS)


def load_scores(
    results: Results,
    system: str,
    evaluation: str,
    tasks: Sequence[str],
    metric: str,
    language: str | None = None,
    by_task: bool = False,
    parallel: bool = False,
) -> Scores | Absent:
    """Scores of all seeds on those of `tasks` that the evaluation asks for, without items that a seed lacks.

    Raises:
        TableError: a sealed run lacks the metric.
    """
    asked = {
        key.task for key in (*results.expected, *results.runs) if (key.system, key.evaluation) == (system, evaluation)
    }
    tasks = [task for task in tasks if task in asked]
    keys = [RunKey(system, seed, evaluation, task) for task in tasks for seed in results.suite.seeds]
    results.upward(tasks, metric)
    missing = tuple(key for key in keys if key not in results.runs)
    if missing or not keys:
        return Absent(missing)
    layouts = [_layout(results, (system, evaluation, task, metric)) for task in tasks]
    rows = [np.ones(len(x.items), bool) if language is None else x.languages == language for x in layouts]
    if not any(mask.any() for mask in rows):
        return Absent()
    records = [results.runs[key] for key in keys]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(layout, name)[mask] for layout, mask in zip(layouts, rows, strict=True)])

    return Scores(
        items=pd.Index(joined("items")),
        values_IS=joined("values_IS"),
        predictions_IS=joined("predictions_IS"),
        chance_I=joined("chance_I"),
        strata=tuple(t for t, mask in zip(tasks, rows, strict=True) for _ in range(mask.sum())) if by_task else None,
        seeds=results.suite.seeds,
        runs=tuple(reference(key, results.runs[key]) for key in keys),
        kinds=tuple(sorted({record.kind for record in records if record.kind})),
        oracle_length=any(record.oracle_length for record in records),
        approximate=any(record.approximate for record in records if record.kind is None),
        clusters=joined("clusters") if parallel else _repeated(tasks, layouts, rows) if not by_task else None,
        documents=joined("documents"),
        prompts=joined("prompts"),
    )


def _repeated(tasks: Sequence[str], layouts: Sequence[Layout], rows: Sequence[np.ndarray]) -> np.ndarray | None:
    """Documents that are asked more than once (five prompts, several answers) as clusters; None where none is.

    Documents of different tasks or languages stay apart: only `parallel` says that equal ones are translations.
    """
    labels = [
        np.array(
            [f"{task}/{language}/{cluster}" for language, cluster in zip(x.languages[m], x.clusters[m], strict=True)]
        )
        for task, x, m in zip(tasks, layouts, rows, strict=True)
    ]
    found = np.concatenate(labels)
    return found.astype(object) if len(set(found.tolist())) < len(found) else None


@dataclass(frozen=True)
class Layout:
    """One task's items × seeds: names, doc_id, language, chance per item, scores and predicted choices."""

    items: np.ndarray
    documents: np.ndarray
    prompts: np.ndarray
    clusters: np.ndarray
    languages: np.ndarray
    chance_I: np.ndarray
    values_IS: np.ndarray
    predictions_IS: np.ndarray


def _layout(results: Results, key: tuple[str, str, str, str]) -> Layout:
    """Items of (system, evaluation, task, metric) that every seed has a score for."""
    if key in results.layouts:
        return results.layouts[key]
    rows = results.of(*key)
    if rows is None:
        known = sorted(set(results.items.loc[results.items["task"] == key[2], "metric"]))
        raise TableError(f"{'/'.join(key[:3])} has no metric '{key[3]}'; it has: {', '.join(known) or 'none'}.")
    seeds = list(results.suite.seeds)
    rows = rows.astype({"item": str})
    wide = rows.pivot(index="item", columns="seed", values=["value", "prediction"])
    value = pd.DataFrame(wide["value"]).reindex(columns=seeds).dropna()
    prediction = pd.DataFrame(wide["prediction"]).reindex(columns=seeds).loc[value.index]
    about = rows.drop_duplicates("item").set_index("item").loc[value.index]
    results.layouts[key] = Layout(
        items=np.array([f"{key[2]}/{item}" for item in value.index], dtype=object),
        documents=about["document"].to_numpy(int),
        prompts=about["template"].astype(object).to_numpy(),
        clusters=about["cluster"].astype(object).to_numpy(),
        languages=about["language"].astype(object).to_numpy(),
        chance_I=about["chance"].to_numpy(float),
        values_IS=value.to_numpy(float),
        predictions_IS=prediction.to_numpy(float),
    )
    return results.layouts[key]


def column_spread(results: Results, evaluation: str, group: Any, language: str | None, by_task: bool) -> Spread:
    """Seed variance of a group under an evaluation, pooled over every system of the suite that has it.

    Always the whole suite, whatever rows a table shows: the same cell has the same error in every table.
    """
    found = [
        load_scores(results, system.name, evaluation, group.tasks, group.metric, language, by_task)
        for system in results.suite.systems
    ]
    known = [scores for scores in found if isinstance(scores, Scores)]
    return statistics.seed_spread([s.values_IS for s in known], [s.strata for s in known])


def score_cell(scores: Scores | Absent, spread: Spread) -> Cell:
    """A score as "mean ± standard error (sd over seeds)", in per cent; absent where its runs are absent."""
    if isinstance(scores, Absent):
        return scores.cell
    got = statistics.estimate(scores.values_IS, spread, scores.strata, scores.clusters)
    facts = estimate_facts(got, scores.seeds) | {
        "chance": percent(scores.chance),
        "kind": "/".join(scores.kinds),
        "oracle_length": scores.oracle_length,
        "approximate": scores.approximate,
    }
    return Cell(score_text(got), 100 * got.value, "%", facts, scores.runs)


def estimate_facts(got: statistics.Estimate, seeds: Sequence[int]) -> dict[str, Any]:
    """An estimate as CSV columns, in per cent."""
    return {
        "stderr": percent(got.stderr),
        "low": percent(got.low),
        "high": percent(got.high),
        "stderr_items": percent(got.stderr_items),
        "low_items": percent(got.low_items),
        "high_items": percent(got.high_items),
        "freedom": None if math.isnan(got.freedom) else got.freedom,
        "seed_sd": percent(got.seed_deviation),
        "seed_values": ";".join(f"{s}={100 * v!r}" for s, v in zip(seeds, got.seed_values, strict=True)),
        "n_items": got.n_items,
        "n_seeds": len(got.seed_values),
    }


def score_text(got: statistics.Estimate) -> str:
    """`87.0 ± 1.2 (0.8)`; the sd over seeds only where there are two."""
    text = f"{100 * got.value:.1f}"
    if not math.isnan(got.stderr):
        text += f" ± {100 * got.stderr:.1f}"
    return text if got.seed_deviation is None else f"{text} ({100 * got.seed_deviation:.1f})"


def percent(value: float | None) -> float | None:
    """A fraction in per cent; None where there is none."""
    return None if value is None or math.isnan(value) else 100 * value


def mark_above_chance(cells: dict[Any, Cell], p_values: Mapping[Any, float], level: float = 0.05) -> dict[Any, Cell]:
    """Cells with `p`, `p_holm` and `above_chance` added (Holm over all tested cells); * marks those below."""
    adjusted = dict(zip(p_values, statistics.holm(list(p_values.values())), strict=True))
    marked = dict(cells)
    for key, p_holm in adjusted.items():
        cell = cells[key]
        facts = {**cell.facts, "p": p_values[key], "p_holm": p_holm, "above_chance": p_holm <= level}
        text = cell.text + ("*" if p_holm <= level else "")
        marked[key] = replace(cell, facts=facts, text=text)
    return marked


def p_text(p: float) -> str:
    """A p-value with three decimals, never 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float, sign: str = "+") -> str:
    """One decimal with a real minus sign; `sign=""` leaves out the plus."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def big_number(value: float) -> str:
    """201000 → `0.20 M`."""
    return f"{value / 1e9:.2f} B" if value >= 1e9 else f"{value / 1e6:.2f} M"
