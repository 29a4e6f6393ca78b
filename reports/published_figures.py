"""Figures like the papers', drawn from published tables: bars, boxes over prompts, lines over sizes or steps.

The same numbers as the tables beside them; colour-blind safe, sized for print, as all figures of `reports.figures`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.records import write_atomically
from reports.figures import MARKERS, OKABE_ITO, STYLE, WIDTH, encode, freeze
from reports.locations import write_bytes
from reports.published import PublishedSpec, load_published, load_published_specs, parameters, published_table, selected
from reports.render import to_csv, to_latex, to_markdown
from reports.render_html import to_html


def write_published(out: Path) -> Iterator[Path]:
    """All published tables (Markdown, CSV, LaTeX, HTML) and figures (PNG, PDF) below `out`; yields the files."""
    for name, spec in load_published_specs().items():
        table = published_table(name, spec)
        texts = {"md": to_markdown(table, "published", level=1), "csv": to_csv(table), "tex": to_latex(table, "published"), "html": to_html(table, "published")}  # fmt: skip
        for ending, text in texts.items():
            write_atomically(out / f"{name}.{ending}", text)
            yield out / f"{name}.{ending}"
        yield from _write(out, name, published_figure(spec))
    yield from _write(out, "im_ratio_and_size", ratio_figure())


def _write(out: Path, name: str, figure: Figure | None) -> Iterator[Path]:
    for kind, data in encode(figure).items() if figure else ():
        write_bytes(out / f"{name}.{kind}", data)
        yield out / f"{name}.{kind}"


def published_figure(spec: PublishedSpec) -> Figure | None:
    """The figure of a published table; None where its spec asks for none."""
    drawers = {"bars": _bars, "boxes": _boxes, "lines": _lines, "shares": _shares}
    if spec.figure not in drawers:
        return None
    frame = selected(spec)
    with matplotlib.rc_context(STYLE):
        figure = drawers[spec.figure](spec, frame)
        freeze(figure)
    return figure


def _colours(names: list[str]) -> dict[str, str]:
    return {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(names)}


def _panels(count: int, columns: int, height: float, **more: Any) -> tuple[Figure, list[Any]]:
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, rows * height + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False, **more).flat)
    for panel in axes[count:]:
        panel.set_visible(False)
    return figure, axes[:count]


def _bars(spec: PublishedSpec, frame: pd.DataFrame) -> Figure:
    """One panel per row of the table, one bar per column, its value above."""
    wide = frame.pivot_table(values="value", index=spec.rows[0], columns=spec.columns[0], aggfunc="mean", sort=False)
    asked = spec.where.get(spec.columns[0], tuple(wide.columns))
    wide = wide.reindex(columns=[name for name in asked if name in wide.columns])
    colours = _colours(list(wide.columns))
    figure, axes = _panels(len(wide), len(wide), 2.0, sharey=True)
    for panel, (row, values) in zip(axes, wide.iterrows(), strict=True):
        bars = panel.bar(range(len(values)), values, color=[colours[str(name)] for name in values.index], width=0.8)
        panel.bar_label(bars, fmt="%.0f", fontsize=6, padding=1)
        panel.set_title(str(row), loc="left")
        panel.set_xticks([])
    axes[0].set_ylabel("Accuracy, %")
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _boxes(spec: PublishedSpec, frame: pd.DataFrame) -> Figure:
    """One panel per row of the table, one box over prompts per column, every prompt a dot."""
    columns = [v for v in spec.where.get(spec.columns[0], ()) if v in set(frame[spec.columns[0]])]
    columns = columns or list(dict.fromkeys(frame[spec.columns[0]]))
    colours = _colours(columns)
    groups = list(frame.groupby(list(spec.rows), sort=False))
    figure, axes = _panels(len(groups), 6 if len(groups) > 12 else 5, 1.35)
    for panel, (key, part) in zip(axes, groups, strict=True):
        for place, name in enumerate(columns):
            values = part.loc[part[spec.columns[0]] == name, "value"].to_numpy()
            if not len(values):
                continue
            panel.boxplot(
                [values], positions=[place], widths=0.6, showfliers=False, patch_artist=True,
                boxprops={"facecolor": colours[name], "alpha": 0.35, "linewidth": 0.5}, medianprops={"color": "black"},
                whiskerprops={"linewidth": 0.5}, capprops={"linewidth": 0.5},
            )  # fmt: skip
            panel.plot([place] * len(values), values, ".", color=colours[name], markersize=3)
        panel.set_title(" ".join(str(k) for k in (key if isinstance(key, tuple) else (key,))), loc="left", fontsize=7)
        panel.set_xticks([])
        panel.set_xlim(-0.7, len(columns) - 0.3)
        panel.grid(axis="y", color="0.92", linewidth=0.5)
    figure.supylabel("Accuracy, %", fontsize=7.5)
    handles = [Patch(facecolor=colour, alpha=0.5, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _lines(spec: PublishedSpec, frame: pd.DataFrame) -> Figure:
    """One panel per task or metric, one line per system, the x axis from `spec.x` (sizes or steps)."""
    series, panel_by = ("system", "task") if spec.x == "params" else ("model", "metric")
    tasks = list(dict.fromkeys(frame[panel_by]))
    names = list(dict.fromkeys(frame[series]))
    colours = _colours(names)
    figure, axes = _panels(len(tasks), 2, 1.9, sharex=spec.x == "params")
    for panel, task in zip(axes, tasks, strict=True):
        for place, name in enumerate(names):
            part = frame[(frame[panel_by] == task) & (frame[series] == name)].assign(
                at=lambda f: f[spec.x].map(_number)
            )
            means = part.groupby("at")["value"].mean()
            panel.plot(means.index, means, marker=MARKERS[place], color=colours[name], markersize=4, linewidth=1.2)
        panel.set_title(str(task).replace("_", " "), loc="left")
        panel.set_ylabel("%")
        panel.grid(color="0.92", linewidth=0.5)
        if spec.x == "params":
            panel.set_xscale("log")
    for panel in axes[-2:]:
        panel.set_xlabel("Parameters" if spec.x == "params" else "Step")
    handles = [Line2D([], [], color=colours[n], marker=MARKERS[i], markersize=4, label=n) for i, n in enumerate(names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    return figure


def language_shares() -> dict[str, float]:
    """Language → its share of xP3's training examples, per cent (from the data set's card)."""
    frame = load_published("xmtf")
    found = frame[(frame["table"] == "xP3 data") & (frame["metric"] == "samples")]
    counts = dict(zip(found["lang"].astype(str), found["value"].astype(float), strict=True))
    total = counts.pop("total")
    return {language: 100 * count / total for language, count in counts.items()}


def _shares(spec: PublishedSpec, frame: pd.DataFrame) -> Figure:
    """One panel per task, one point per language and system: accuracy against the language's share of xP3 (log)."""
    from reports.labels import place_labels

    shares = language_shares()
    frame = frame[frame["lang"].isin(list(shares))].assign(share=lambda f: f["lang"].map(shares))
    tasks, names = list(dict.fromkeys(frame["task"])), list(spec.where["model"])
    colours = _colours(names)
    figure, axes = _panels(len(tasks), 2, 2.3, sharex=True)
    for panel, task in zip(axes, tasks, strict=True):
        for place, name in enumerate(names):
            part = frame[(frame["task"] == task) & (frame["model"] == name)]
            panel.plot(part["share"], part["value"], MARKERS[place], color=colours[name], markersize=4, alpha=0.85)
        panel.set_xscale("log")
        panel.set_title(task, loc="left")
        panel.set_ylabel("Accuracy, %")
        panel.grid(color="0.92", linewidth=0.5)
        panel.margins(x=0.08, y=0.16)
    for panel in axes[-2:]:
        panel.set_xlabel("Share of xP3's examples, %")
    handles = [Line2D([], [], color=colours[n], marker=MARKERS[i], linestyle="", markersize=4, label=n) for i, n in enumerate(names)]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    freeze(figure)
    for panel, task in zip(axes, tasks, strict=True):
        best = frame[(frame["task"] == task)].groupby("lang", sort=False)["value"].max()
        others = frame[frame["task"] == task]
        marks = [[(float(x), float(y))] * 2 for x, y in zip(others["share"], others["value"], strict=True)]
        labels = [(float(shares[str(lang)]), float(value), str(lang), "0.3") for lang, value in best.items()]
        place_labels(panel, labels, marks)
    return figure


def _number(text: str) -> float:
    """`7.1B` → 7.1e9, `step 498` → 498."""
    size = parameters(text)
    found = re.search(r"([\d.]+)", text)
    return size if size is not None else float(found[1]) if found else 0.0


def gains() -> pd.DataFrame:
    """Per training set: relative gain of IM over IT on AlpacaEval 1.0 (per cent), length ratio and number of examples."""
    frame = load_published("instruction_modelling")
    table = frame[(frame["table"] == "Table 1") & (frame["task"] == "AlpacaEval 1.0")]
    wide = table.pivot(index="model", columns="system", values="value")[["IM", "IT"]].dropna()
    facts = frame[frame["table"] == "Table 5"].pivot(index="subset", columns="metric", values="value")
    sets = [str(name).rpartition(" + ")[2] for name in wide.index]
    data = [max((str(s) for s in facts.index if name.startswith(str(s))), key=len) for name in sets]
    gain = 100 * (np.asarray(wide["IM"]) / np.asarray(wide["IT"]) - 1)
    return pd.DataFrame(
        {"gain": gain, "ratio": facts.loc[data, "instruction_over_output"].to_numpy(), "examples": facts.loc[data, "n_examples"].to_numpy()},
        index=pd.Index(data, name="data"),
    )  # fmt: skip


def ratio_figure() -> Figure:
    """Like Instruction Modelling's Figure 2, from its Tables 1 and 5: gain against length ratio and data size."""
    from reports.labels import place_labels

    table = gains()
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(2, 2, 2.4, sharey=True)
        for panel, (column, title) in zip(axes, {"ratio": "Instruction length / output length", "examples": "Training examples"}.items(), strict=True):  # fmt: skip
            panel.set_xscale("log")
            panel.plot(table[column], table["gain"], "o", color=OKABE_ITO[0], markersize=4)
            slope, start = np.polyfit(np.log10(table[column]), table["gain"], 1)
            ends = np.array([table[column].min(), table[column].max()])
            panel.plot(ends, slope * np.log10(ends) + start, color="0.5", linewidth=0.8)
            panel.set_title(
                f"{slope:.1f} per factor of ten (least squares, {len(table)} data sets)", loc="left", fontsize=7
            )
            panel.set_xlabel(title)
            panel.margins(0.18)
            panel.grid(color="0.92", linewidth=0.5)
        axes[0].set_ylabel("Gain of IM over IT, AlpacaEval 1.0, %")
        freeze(figure)
        for panel, column in zip(axes, ("ratio", "examples"), strict=True):
            place_labels(
                panel, [(float(r[column]), float(r["gain"]), str(name), "0.2") for name, r in table.iterrows()]
            )
    return figure
