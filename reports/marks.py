"""Which cell of a column is bold: only one that is significantly better than every other row.

1. A column's best row is compared with every other row, paired by item (clusters of one source item together): the
   larger of the permutation p (other items) and of the model-based p that covers another training seed, too.
2. The column's p is the largest of these: bold says "better than all", so all must be told apart (Berger 1982).
3. Holm over the columns of the table. What is not told apart from the best is a tie and shown as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from reports import statistics
from reports.cells import Cell, Scores
from reports.comparisons import minimum_detectable_difference, permutation_p, rank_flip_probability

LEVEL = 0.05
BEST_NOTE = (
    "Bold: significantly better than every other row (paired by item: permutation test and, over seeds, Student's t; "
    "Holm-corrected over the columns, 5 %). Underlined (=): not told apart from the best of its column."
)
Key = tuple[str, str]


@dataclass(frozen=True)
class Rivals:
    """The rows of one column that may be compared, the column's seed variance, and which way is better (None: neither)."""

    scores: Mapping[str, Scores]
    spread: statistics.SeedSpread | None
    upward: bool | None


@dataclass(frozen=True)
class Verdict:
    """The best row of a column; p, smallest detectable difference and rank-flip probability against each other row."""

    best: str
    p: Mapping[str, float]
    detectable: Mapping[str, float]
    flip: Mapping[str, float]


def compare(rivals: Rivals) -> Verdict | None:
    """The best row against each other one; None where there is nothing to compare."""
    if len(rivals.scores) < 2 or rivals.upward is None:
        return None
    means = {row: statistics.seed_means(s.values_IS, s.strata).mean() for row, s in rivals.scores.items()}
    best = max(means, key=lambda row: means[row] if rivals.upward else -means[row])
    found = {row: _against(rivals.scores[best], s, rivals.spread) for row, s in rivals.scores.items() if row != best}
    p, detectable, flip = ({row: values[i] for row, values in found.items()} for i in range(3))
    return Verdict(best, p, detectable, flip)


def _against(best: Scores, other: Scores, spread: statistics.SeedSpread | None) -> tuple[float, float, float]:
    """(p, smallest detectable difference, rank-flip probability) of two rows on the items that both have."""
    both = best.items.intersection(other.items)
    if len(both) < 2:
        return 1.0, float("nan"), 0.5
    a, b = best.items.get_indexer(both), other.items.get_indexer(both)
    strata = None if best.strata is None else [best.strata[i] for i in a]
    ours_IS, theirs_IS = best.values_IS[a], other.values_IS[b]
    clusters = None if best.clusters is None else best.clusters[a].tolist()
    got = statistics.paired_difference(ours_IS, theirs_IS, spread, strata, clusters)
    weight_I = np.ones(len(both)) if strata is None else _equal_weights(strata)
    by_items = permutation_p((ours_IS.mean(1) - theirs_IS.mean(1)) * weight_I, clusters)
    summary = got.estimate
    detectable = minimum_detectable_difference(summary.stderr, summary.freedom)
    return max(by_items, got.p), detectable, rank_flip_probability(summary.value, summary.stderr)


def _equal_weights(strata: list[str]) -> np.ndarray:
    """Weights under which every stratum counts the same, whatever its size."""
    labels, place_I, count = np.unique(strata, return_inverse=True, return_counts=True)
    return (len(strata) / len(labels)) / count[place_I]


def mark_best(columns: Mapping[str, Rivals], cells: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """The cells of the best rows and of those tied with them, with `mark` and the figures behind it."""
    found = {column: compare(rivals) for column, rivals in columns.items()}
    verdicts = {column: verdict for column, verdict in found.items() if verdict is not None}
    worst = {column: max(verdict.p.values()) for column, verdict in verdicts.items()}
    adjusted = dict(zip(worst, statistics.holm(list(worst.values())), strict=True))
    done: dict[Key, Cell] = {}
    for column, verdict in verdicts.items():
        alone = adjusted[column] <= LEVEL
        factor = adjusted[column] / worst[column] if worst[column] > 0 else 1.0
        ties = [] if alone else [row for row, p in verdict.p.items() if min(1.0, p * factor) > LEVEL]
        nearest = max(verdict.p, key=lambda row: verdict.p[row])
        facts = {
            "p_best": adjusted[column],
            "detectable": 100 * verdict.detectable[nearest],
            "rank_flip": verdict.flip[nearest],
        }
        done[verdict.best, column] = _mark(cells[verdict.best, column], "best" if alone else "tie", facts)
        for row in ties:
            more = {"detectable": 100 * verdict.detectable[row], "rank_flip": verdict.flip[row]}
            done[row, column] = _mark(cells[row, column], "tie", more)
    return done


def _mark(cell: Cell, mark: str, facts: dict[str, float]) -> Cell:
    return replace(cell, mark=mark, facts={**cell.facts, "mark": mark, **facts})  # type: ignore[arg-type]
