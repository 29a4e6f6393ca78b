"""The two figures of a report, drawn from finished tables so that figure and table cannot disagree.

Colour-blind safe (Okabe & Ito 2008) and told apart by marker shape, too; sized for print (inches, 7–8 pt).
The bytes depend on the numbers only: no time stamps, no program versions in the files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.suites import Suite
from reports.cells import Cell, marked
from reports.labels import place_labels
from reports.tables import Table

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPXh"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,
    "svg.hashsalt": "anyorder",
}
METADATA = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
WIDTH = 7.1


def paradigm_styles(suite: Suite) -> dict[str, tuple[str, str]]:
    """Paradigm → (colour, marker), in the order the suite names them."""
    paradigms = list(dict.fromkeys(system.paradigm for system in suite.systems))
    return {p: (OKABE_ITO[i % len(OKABE_ITO)], MARKERS[i % len(MARKERS)]) for i, p in enumerate(paradigms)}


def encode(figure: Figure) -> dict[str, bytes]:
    """A figure as PNG (200 dpi) and PDF bytes, the same for the same numbers."""
    files = {}
    for kind, metadata in METADATA.items():
        out = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(out, format=kind, dpi=200, metadata=metadata)
        files[kind] = out.getvalue()
    return files


def freeze(figure: Figure) -> None:
    """Lay the figure out once and keep it so, the same for PNG and PDF."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def main_figure(table: Table, suite: Suite) -> Figure | None:
    """One panel per group: mean, item interval (thick), full interval (thin), seeds (small), chance (dashed).

    None when no score of the table is there yet.
    """
    groups = [c for c in table.columns if any("n_items" in _cell(table, s.name, c.key).facts for s in suite.systems)]
    if not groups:
        return None
    styles = paradigm_styles(suite)
    columns = min(4, len(groups))
    rows = math.ceil(len(groups) / columns)
    with matplotlib.rc_context(STYLE):
        height = rows * (0.16 * len(suite.systems) + 0.55) + 0.55
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
        for index, panel in enumerate(axes.flat):
            if index >= len(groups):
                panel.set_visible(False)
                continue
            _dots(panel, table, suite, groups[index].key, styles)
            panel.set_title(groups[index].labels[0], loc="left")
            if index + columns >= len(groups):
                panel.set_xlabel("%")
                panel.tick_params(labelbottom=True)
        _legend(figure, styles, chance=True)
        freeze(figure)
    return figure


def _cell(table: Table, row: str, column: str) -> Cell:
    return table.cells.get((row, column), Cell(""))


def _dots(panel: Any, table: Table, suite: Suite, group: str, styles: Mapping[str, tuple[str, str]]) -> None:
    chance = _cell(table, "chance", group).value
    if chance is not None:
        panel.axvline(chance, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    for y, system in enumerate(suite.systems):
        cell = _cell(table, system.name, group)
        if cell.value is None:
            continue
        colour, marker = styles[system.paradigm]
        facts = cell.facts
        panel.plot([facts["low"], facts["high"]], [y, y], color=colour, linewidth=0.7, solid_capstyle="butt")
        panel.plot([facts["low_items"], facts["high_items"]], [y, y], color=colour, linewidth=2.6, alpha=0.45)
        seeds = [float(part.split("=")[1]) for part in facts["seed_values"].split(";")]
        panel.plot(seeds, [y + 0.28] * len(seeds), ".", color=colour, markersize=2.6, alpha=0.9)
        panel.plot(cell.value, y, marker, color=colour, markersize=4, markeredgecolor="white", markeredgewidth=0.4)
    panel.set_yticks(range(len(suite.systems)), [system.label for system in suite.systems])
    panel.set_ylim(len(suite.systems) - 0.4, -0.6)
    panel.set_xlim(0, 102)
    panel.set_xticks([0, 25, 50, 75, 100])
    panel.grid(axis="x", color="0.9", linewidth=0.5)
    panel.set_axisbelow(True)


def _legend(figure: Figure, styles: Mapping[str, tuple[str, str]], chance: bool) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4.5, label=paradigm)
        for paradigm, (colour, marker) in styles.items()
    ]
    if chance:
        handles += [
            Line2D([], [], color="0.3", linewidth=2.6, alpha=0.45, label="95 %, these checkpoints"),
            Line2D([], [], color="0.3", linewidth=0.7, label="95 %, new seeds"),
            Line2D([], [], color="0.3", marker=".", linestyle="", markersize=2.6, label="one seed"),
            Line2D([], [], color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), label="chance"),
        ]
    else:
        handles.append(Line2D([], [], color="0.4", linewidth=0.8, label="frontier"))
    columns = 4 if chance else len(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handletextpad=0.5)


def pareto_figure(table: Table, suite: Suite) -> Figure | None:
    """Quality against decoding speed, one panel per batch size; None when speed was not measured."""
    plan = suite.speed
    if plan is None:
        return None
    panels = {batch: _points(table, suite, batch) for batch in plan.batch_sizes}
    panels = {batch: points for batch, points in panels.items() if points}
    if not panels:
        return None
    styles = paradigm_styles(suite)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.35 * len(panels) + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(panels), 1, squeeze=False, sharey=True)[:, 0]
        for panel, (batch, points) in zip(axes, panels.items(), strict=True):
            _scatter(panel, points, styles)
            panel.set_title(f"Batch size {batch}", loc="left")
            panel.set_ylabel("Token F1, %")
        axes[-1].set_xlabel("Tokens per second (log scale)")
        used = {
            style: styles[style] for style in styles if any(p["paradigm"] == style for v in panels.values() for p in v)
        }
        _legend(figure, used, chance=False)
        freeze(figure)
        for panel, points in zip(axes, panels.values(), strict=True):
            lines = [[(p["x"], p["y"]) for p in frontier(points)]]
            lines += [[(end, p["y"]) for end in p["range"]] for p in points]
            place_labels(panel, [(p["x"], p["y"], p["label"], styles[p["paradigm"]][0]) for p in points], lines)
    return figure


def _points(table: Table, suite: Suite, batch: int) -> list[dict[str, Any]]:
    points = []
    for mode in suite.speed.modes if suite.speed else ():
        if mode.shots:  # other prompts than the rest: their place is the table
            continue
        speed, quality = (_cell(table, f"{mode.name}:{batch}", key) for key in ("tokens_per_second", "token_f1"))
        # a system that wrote nothing has no place on a logarithmic axis; its row of zeros stays in the table
        if speed.value and speed.facts["low"] > 0 and quality.value is not None:
            points.append(
                {
                    "x": speed.value,
                    "y": quality.value,
                    "range": (speed.facts["low"], speed.facts["high"]),
                    "approximate": bool(speed.facts["approximate"]),
                    "label": mode.label + marked(False, bool(speed.facts["approximate"])),
                    "paradigm": suite.system(mode.system).paradigm,
                }
            )
    return points


def frontier(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Points that no other beats in both speed and quality, fastest last."""
    best: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda p: (-p["x"], -p["y"])):
        if not best or point["y"] > best[-1]["y"]:
            best.append(point)
    return best[::-1]


def _scatter(panel: Any, points: Sequence[Mapping[str, Any]], styles: Mapping[str, tuple[str, str]]) -> None:
    edge = frontier(points)
    panel.plot([p["x"] for p in edge], [p["y"] for p in edge], color="0.4", linewidth=0.8, zorder=1)
    for point in points:
        colour, marker = styles[point["paradigm"]]
        panel.plot(point["range"], [point["y"]] * 2, color=colour, linewidth=0.8, zorder=2)
        face = "white" if point["approximate"] else colour
        panel.plot(point["x"], point["y"], marker, color=colour, markerfacecolor=face, markersize=5, zorder=3)
    panel.set_xscale("log")
    low, high = min(p["range"][0] for p in points), max(p["range"][1] for p in points)
    margin = max(1.35, (high / low) ** 0.16)
    panel.set_xlim(low / margin, high * margin)
    values = [p["y"] for p in points]
    pad = max(4.0, 0.12 * (max(values) - min(values)))
    below, above = panel.get_ylim() if panel.get_ylim() != (0.0, 1.0) else (math.inf, -math.inf)
    panel.set_ylim(min(below, max(-2.0, min(values) - pad)), max(above, max(values) + pad))
    panel.grid(color="0.92", linewidth=0.5)
    panel.set_axisbelow(True)
