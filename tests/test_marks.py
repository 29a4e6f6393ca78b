"""Bold and ties: right on clear cases, and on simulated equal systems rarely bold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from reports import statistics
from reports.cells import Cell, Scores
from reports.marks import Rivals, compare, mark_best


def scores(values_IS: np.ndarray, strata: tuple[str, ...] | None = None, clusters: np.ndarray | None = None) -> Scores:
    count = len(values_IS)
    return Scores(
        items=pd.Index([f"i{k}" for k in range(count)]), values_IS=values_IS.astype(float),
        predictions_IS=np.full(values_IS.shape, np.nan), chance_I=np.full(count, np.nan), strata=strata,
        seeds=tuple(range(values_IS.shape[1])), runs=(), kinds=("exact",), oracle_length=False, approximate=False, clusters=clusters,
    )  # fmt: skip


def rivals(upward: bool | None = True, /, **systems: np.ndarray) -> Rivals:
    spread = statistics.seed_spread(list(systems.values()))
    return Rivals({name: scores(values) for name, values in systems.items()}, spread, upward)


def right(share: float, n: int = 200, seeds: int = 1) -> np.ndarray:
    return np.repeat((np.arange(n) < share * n)[:, None], seeds, axis=1)


def test_a_clear_winner_is_bold_and_nothing_else_marked():
    column = rivals(a=right(0.9), b=right(0.6), c=right(0.5))
    cells = {(name, "x"): Cell("") for name in "abc"}
    got = mark_best({"x": column}, cells)
    assert {key: cell.mark for key, cell in got.items()} == {("a", "x"): "best"}
    facts = got["a", "x"].facts
    assert facts["p_best"] <= 0.05 and facts["rank_flip"] < 0.01 and 0 < facts["detectable"] < 30


def test_of_a_metric_without_direction_no_row_is_the_best():
    cells = {(name, "x"): Cell("") for name in "ab"}
    assert mark_best({"x": rivals(None, a=right(0.9), b=right(0.1))}, cells) == {}


def test_rows_that_cannot_be_told_apart_are_ties():
    column = rivals(a=right(0.70), b=right(0.69), c=right(0.2))
    marks = {key[0]: cell.mark for key, cell in mark_best({"x": column}, {(n, "x"): Cell("") for n in "abc"}).items()}
    assert marks == {"a": "tie", "b": "tie"}


def test_where_lower_is_better_the_lowest_wins():
    verdict = compare(rivals(False, a=right(0.9), b=right(0.1)))
    assert verdict is not None and verdict.best == "b"
    assert compare(rivals(a=right(0.5))) is None


def test_two_seeds_that_scatter_more_than_systems_differ_are_no_win():
    rng = np.random.default_rng(0)
    a = np.column_stack([rng.random(400) < p for p in (0.9, 0.5)])
    b = np.column_stack([rng.random(400) < p for p in (0.4, 0.8)])
    got = mark_best({"x": rivals(a=a, b=b)}, {("a", "x"): Cell(""), ("b", "x"): Cell("")})
    assert {cell.mark for cell in got.values()} == {"tie"}


def test_copies_of_a_question_in_other_languages_are_no_new_evidence():
    few = np.array([1.0] * 6 + [0.0] * 4)[:, None], np.array([0.0] * 6 + [1.0] * 4)[:, None]
    copied = [np.repeat(values, 30, axis=0) for values in few]
    clusters = np.repeat(np.arange(10).astype(str), 30)
    plain = compare(Rivals({n: scores(v) for n, v in zip("ab", copied, strict=True)}, None, True))
    clustered = compare(
        Rivals({n: scores(v, clusters=clusters) for n, v in zip("ab", copied, strict=True)}, None, True)
    )
    assert plain is not None and clustered is not None
    assert plain.p["b"] < 0.01 and clustered.p["b"] > 0.3


@pytest.mark.parametrize("systems", [2, 4])
def test_false_bold_rate_of_equal_systems(systems):
    """Null data: every system has the same chances on every item; bold in at most 5 % of tables (3 columns)."""
    rng, tables, bold = np.random.default_rng(systems), 250, 0
    for _ in range(tables):
        columns = {}
        for name in "xyz":
            hard = rng.normal(size=80) * 1.5
            drawn = {f"s{k}": (hard + rng.normal(size=80) > 0)[:, None] for k in range(systems)}
            columns[name] = rivals(True, **drawn)
        cells = {(f"s{k}", name): Cell("") for k in range(systems) for name in columns}
        bold += any(cell.mark == "best" for cell in mark_best(columns, cells).values())
    assert bold / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)
