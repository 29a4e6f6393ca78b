"""The gain of IM over IT against ratio and size, as in Shi et al. 2024, Figure 2: every seed a dot, least squares, its interval."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.suites import Suite
from reports.figures import OKABE_ITO, STYLE, WIDTH, freeze
from reports.sweep_table import AXES
from reports.tables import Table


def sweep_figure(table: Table, suite: Suite) -> Figure | None:
    """One panel per sweep of the table; None where it has no fit yet."""
    del suite
    fits = [row for row in table.rows if row.key.endswith(":fit") and table.cells[row.key, "gain"].value is not None]
    if not fits:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4 * -(-len(fits) // 2) + 0.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(-(-len(fits) // 2), min(2, len(fits)), squeeze=False, sharey=True).flat)
        for panel in axes[len(fits) :]:
            panel.set_visible(False)
        for panel, fit in zip(axes, fits, strict=False):
            x, gain = points(table, fit.labels[0])
            slope = table.cells[fit.key, "gain"]
            _panel(panel, x, gain, float(slope.value or 0.0))
            panel.set_title(f"{slope.text} points per factor of ten", loc="left")
            panel.set_xlabel(fit.labels[0])
        axes[0].set_ylabel("Gain of IM over IT,\n% of the test loss")
        freeze(figure)
    return figure


def points(table: Table, sweep: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, gain) of every seed of a sweep, which is named by its label."""
    column = next(column for column, label in AXES.items() if sweep.startswith(label))
    x, gain = [], []
    for row in table.rows:
        seeds = table.cells[row.key, "gain"].facts.get("seed_values")
        if row.labels[0] == sweep and seeds:
            values = [float(part.split("=")[1]) for part in seeds.split(";")]
            x += [table.cells[row.key, column].value] * len(values)
            gain += values
    return np.array(x, dtype=float), np.array(gain)


def band(x: np.ndarray, gain: np.ndarray, slope: float, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(line, half-width of its 95 % interval) at `at`, for a least-squares line of this slope on log10 x.

    t · s · √(1/n + (u − ū)² / Σ(uᵢ − ū)²) with u = log10 x and n − 2 degrees of freedom: the interval of the mean gain.
    """
    from scipy import stats

    u, place = np.log10(x), np.log10(at)
    middle, spread, freedom = u.mean(), float(((u - u.mean()) ** 2).sum()), len(u) - 2
    residual = gain - gain.mean() - slope * (u - middle)
    deviation = np.sqrt(float((residual**2).sum()) / freedom)
    reach = float(stats.t.ppf(0.975, freedom)) * deviation * np.sqrt(1 / len(u) + (place - middle) ** 2 / spread)
    return gain.mean() + slope * (place - middle), reach


def _panel(panel: Any, x: np.ndarray, gain: np.ndarray, slope: float) -> None:
    at = np.geomspace(x.min(), x.max(), 60)
    line, reach = band(x, gain, slope, at)
    panel.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    panel.fill_between(at, line - reach, line + reach, color=OKABE_ITO[0], alpha=0.15, linewidth=0)
    panel.plot(at, line, color="0.4", linewidth=0.9)
    panel.plot(x, gain, "o", color=OKABE_ITO[0], markersize=4, markeredgecolor="white", markeredgewidth=0.4)
    panel.set_xscale("log")
    ticks = sorted({float(f"{value:.2g}") for value in x})
    panel.set_xticks(ticks, [f"{tick:g}" if tick < 1000 else f"{tick:,.0f}" for tick in ticks])
    panel.minorticks_off()
    panel.margins(0.1, 0.15)
    panel.grid(color="0.92", linewidth=0.5)
    panel.set_axisbelow(True)
