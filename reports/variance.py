"""Where the spread of a score comes from: system, training seed, language, prompt, item, and the rest.

Variance components by the method of moments (Henderson 1953, method I), negative estimates cut at 0. Design: systems
× seeds nested in systems, crossed with items, which are nested in prompts, which are nested in languages; languages
and prompts may differ in size. The rest holds what no margin explains: systems being good at different items, and
noise. Scores in any unit, components in its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from reports.cells import Cell, Scores, load_scores
from reports.frame import Results
from reports.tables import Line, Table, TableSpec, groups_of


@dataclass(frozen=True)
class Components:
    """Variance of one score of one system, seed and item, split by its sources."""

    system: float
    seed: float
    language: float
    prompt: float
    item: float
    rest: float

    def shares(self) -> dict[str, float]:
        """Each source's share of the total, in order; all 0 where nothing varies."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        total = sum(values.values())
        return {name: value / total if total else 0.0 for name, value in values.items()}


def components(values_MSI: np.ndarray, languages: Sequence[str], prompts: Sequence[str]) -> Components:
    """Components of scores of M systems × S seeds × I items; language and prompt of each item.

    Raises:
        ValueError: fewer than two systems or items.
    """
    n_systems, n_seeds, n_items = values_MSI.shape
    if n_systems < 2 or n_items < 2:
        raise ValueError(f"a split needs at least two systems and two items, got {values_MSI.shape}.")
    flat_RI = values_MSI.reshape(n_systems * n_seeds, n_items)
    rest_RI = flat_RI - flat_RI.mean(1, keepdims=True) - flat_RI.mean(0) + flat_RI.mean()
    rest = float((rest_RI**2).sum()) / ((len(flat_RI) - 1) * (n_items - 1))
    means_MS = values_MSI.mean(2)
    between_seeds = float(means_MS.var(axis=1, ddof=1).mean()) if n_seeds > 1 else 0.0
    seed = max(between_seeds - rest / n_items, 0.0) if n_seeds > 1 else 0.0
    system = max(float(means_MS.mean(1).var(ddof=1)) - (seed + rest / n_items) / n_seeds, 0.0)
    language, prompt, item = nested(flat_RI.mean(0), languages, prompts)
    return Components(system, seed, language, prompt, max(item - rest / len(flat_RI), 0.0), rest)


def nested(values_I: np.ndarray, outer: Sequence[str], inner: Sequence[str]) -> tuple[float, float, float]:
    """(outer, inner within outer, rest) variance components of a nested layout of unequal sizes.

    Expected mean squares as in Searle, Casella & McCulloch (1992), §5.3: coefficients from the group sizes.
    """
    frame = pd.DataFrame({"y": values_I, "a": list(outer), "b": list(inner)})
    cells = frame.groupby(["a", "b"], sort=False)["y"].agg(["size", "mean"])
    tops = frame.groupby("a", sort=False)["y"].agg(["size", "mean"])
    total, n_cells, n_tops = len(frame), len(cells), len(tops)
    within = frame["y"] - frame.groupby(["a", "b"])["y"].transform("mean")
    rest = float((within**2).sum()) / (total - n_cells) if total > n_cells else 0.0
    owner = cells.index.get_level_values("a")
    sizes, cell_means = np.asarray(cells["size"], dtype=float), np.asarray(cells["mean"], dtype=float)
    top_sizes, top_means = np.asarray(tops["size"], dtype=float), np.asarray(tops["mean"], dtype=float)
    place = pd.Index(tops.index).get_indexer(owner)
    owner_size, owner_mean = top_sizes[place], top_means[place]
    share = float((sizes**2 / owner_size).sum())
    inside = 0.0
    if n_cells > n_tops:
        square = float((sizes * (cell_means - owner_mean) ** 2).sum()) / (n_cells - n_tops)
        inside = max((square - rest) * (n_cells - n_tops) / (total - share), 0.0)
    if n_tops < 2:
        return 0.0, inside, rest
    square = float((top_sizes * (top_means - values_I.mean()) ** 2).sum()) / (n_tops - 1)
    of_inner = (share - float((sizes**2).sum()) / total) / (n_tops - 1)
    of_outer = (total - float((top_sizes**2).sum()) / total) / (n_tops - 1)
    return max((square - rest - of_inner * inside) / of_outer, 0.0), inside, rest


def variance_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """One row per group, one column per source: its share of the variance of a single score, per cent."""
    evaluation = next(iter(spec.evaluations))
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    for group in groups_of(results, spec):
        found = [load_scores(results, s.name, evaluation, group.tasks, group.metric) for s in results.suite.systems]
        known = [scores for scores in found if isinstance(scores, Scores)]
        if len(known) < 2:
            continue
        rows.append(Line(group.name, (group.label,)))
        split = _split(results, known, group.tasks)
        runs = tuple(dict.fromkeys(run for scores in known for run in scores.runs))
        for source, share in split.shares().items():
            cells[group.name, source] = Cell(f"{100 * share:.1f}", 100 * share, "%", runs=runs)
    columns = tuple(Line(field.name, (field.name.capitalize(),)) for field in fields(Components))
    return Table(name, spec, ("Group",), tuple(rows), columns, cells, spec.footnotes) if rows else None


def _split(results: Results, known: Sequence[Scores], tasks: Sequence[str]) -> Components:
    """Components over the items that every system has."""
    items = known[0].items
    for scores in known[1:]:
        items = items.intersection(scores.items, sort=False)
    values_MSI = np.stack([s.values_IS[s.items.get_indexer(items)].T for s in known])
    about = pd.DataFrame(results.items[results.items["task"].isin(list(tasks))]).drop_duplicates(["task", "item"])
    keys = about["task"].astype(str) + "/" + about["item"].astype(str)
    named = about.set_index(keys)[["language", "template"]].astype(object).reindex(items).fillna("").astype(str)
    return components(values_MSI, named["language"].tolist(), (named["language"] + named["template"]).tolist())
