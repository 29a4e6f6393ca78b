"""Figures: same bytes for same numbers, labels apart, the frontier right, nothing drawn from nothing."""

from __future__ import annotations

import itertools
import re
import struct
from typing import Any

import pytest
import synthetic_results as synthetic

from reports.figures import encode, frontier, main_figure, pareto_figure
from reports.frame import load_results
from reports.labels import overlap
from reports.tables import build_tables, load_specs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("figures")
    suite = synthetic.make_suite(systems=("decoder_it", "mt0", "instruct_xmlr", "diffusionllm"))
    tasks = synthetic.write_groups(base / "tasks")
    root = synthetic.write_results(base / suite.name, suite, per_language=2)
    specs = {name: spec for name, spec in load_specs().items() if name in ("main", "speed")}
    return suite, build_tables(load_results(suite, root, tasks), specs), tasks


@pytest.mark.parametrize(("draw", "table"), [(main_figure, "main"), (pareto_figure, "speed")])
def test_bytes_depend_on_the_numbers_only(made, draw, table):
    suite, tables, _ = made
    first, second = (encode(draw(tables[table], suite)) for _ in range(2))
    assert first == second
    assert first["png"].startswith(b"\x89PNG") and first["pdf"].startswith(b"%PDF")
    width, height = struct.unpack(">II", first["png"][16:24])
    assert width == 1420 and 400 < height < 2000  # 7.1 inches at 200 dpi
    assert b"CreationDate" not in first["pdf"] and b"Software" not in first["png"]


def test_main_figure_has_a_panel_per_group_and_a_chance_line_where_there_is_one(made):
    suite, tables, _ = made
    figure: Any = main_figure(tables["main"], suite)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    titles = {axes.get_title(loc="left"): axes for axes in panels}
    assert len(titles) == 12
    dashed = {title for title, axes in titles.items() if any(line.get_linestyle() == "--" for line in axes.lines)}
    assert dashed == {
        "Held-in cls",
        "New prompt cls",
        "New language cls",
        "NLI",
        "Completion",
        "Story",
        "Coreference",
    }
    ticks = [label.get_text() for label in titles["NLI"].get_yticklabels()]
    assert ticks == [system.label for system in suite.systems]


def test_pareto_labels_hide_neither_each_other_nor_points(made):
    suite, tables, _ = made
    figure: Any = pareto_figure(tables["speed"], suite)
    renderer = figure.canvas.get_renderer()
    for panel in figure.axes:
        boxes = [text.get_window_extent(renderer).extents for text in panel.texts]
        assert len(boxes) == 7
        assert all(overlap(a, b) == 0 for a, b in itertools.combinations(boxes, 2))
        area = panel.get_window_extent(renderer).extents
        assert all(overlap(box, area) == pytest.approx((box[2] - box[0]) * (box[3] - box[1])) for box in boxes)
        markers = [line for line in panel.lines if line.get_marker() not in ("None", None, "")]
        points = [panel.transData.transform(line.get_xydata()[0]) for line in markers]
        assert len(points) == 7
        assert not any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes for x, y in points)
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == {mode[1] for mode in synthetic.MODES.values()}


def test_frontier_keeps_what_nothing_beats():
    points = [{"x": x, "y": y} for x, y in ((10, 80), (10, 70), (20, 75), (30, 75), (40, 10))]
    assert [(p["x"], p["y"]) for p in frontier(points)] == [(10, 80), (30, 75), (40, 10)]


def test_nothing_is_drawn_from_nothing(made, tmp_path):
    suite, _, tasks = made
    tables = build_tables(load_results(suite, tmp_path, tasks), load_specs())
    assert main_figure(tables["main"], suite) is None
    assert pareto_figure(tables["speed"], suite) is None


def test_colours_and_markers_tell_paradigms_apart(made):
    from reports.figures import paradigm_styles

    styles = paradigm_styles(made[0])
    assert len({colour for colour, _ in styles.values()}) == len({marker for _, marker in styles.values()}) == 4
    assert all(re.fullmatch(r"#[0-9A-F]{6}", colour) for colour, _ in styles.values())
