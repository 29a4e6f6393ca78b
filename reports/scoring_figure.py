"""Error against time of scoring: one panel per group of questions, ours at several budgets against the published way."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from harness.suites import Suite
from reports.figures import OKABE_ITO, STYLE, WIDTH, freeze
from reports.scoring_table import methods
from reports.tables import Table

FLOOR = 1e-3  # nats; an exact score has no place on a logarithmic axis and is drawn here, as a triangle


def scoring_figure(table: Table, suite: Suite) -> Figure | None:
    """None when scoring was not measured."""
    plan = suite.scoring
    if plan is None:
        return None
    points = {group.name: _points(table, group.name, list(methods(plan))) for group in plan.groups}
    if not all(points.values()):
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(points), squeeze=False, sharey=True)[0]
        for panel, group in zip(axes, plan.groups, strict=True):
            _panel(panel, points[group.name])
            panel.set_title(group.label, loc="left")
            panel.set_xlabel("ms per request")
        axes[0].set_ylabel("RMSE, nats")
        freeze(figure)
    return figure


def _points(table: Table, group: str, names: list[str]) -> list[tuple[str, float, float]]:
    cells = [
        (name, *(table.cells[f"{group}:{name}", key].value for key in ("ms_per_request", "rmse"))) for name in names
    ]
    return [(name, x, y) for name, x, y in cells if x is not None and y is not None]


def _panel(panel: Any, points: list[tuple[str, float, float]]) -> None:
    ours = [(x, max(y, FLOOR)) for name, x, y in points if name != "published"]
    panel.plot(*zip(*ours, strict=True), color=OKABE_ITO[0], linewidth=0.8)
    exact = [name for name, _, y in points if y < FLOOR]
    for name, x, y in points:
        published = name == "published"
        marker = "v" if y < FLOOR else "s" if published else "o"
        panel.plot(x, max(y, FLOOR), marker, color=OKABE_ITO[1 if published else 0], markersize=4.5)
        text = "published" if published else name.removeprefix("ours_")
        if name in exact:  # all in one place, whatever their budget: one word for them
            text = "exact" if name == exact[len(exact) // 2] else ""
        panel.annotate(text, (x, max(y, FLOOR)), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=6.5)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(0.15, 0.2)
    panel.grid(color="0.92", linewidth=0.5)
    panel.set_axisbelow(True)
