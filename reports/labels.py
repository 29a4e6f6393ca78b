"""Labels of scattered points without overlap: a greedy choice among places around each point.

Everything is in pixels of the drawn canvas; boxes are (left, bottom, right, top). Deterministic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

Box = tuple[float, float, float, float]
SIZE = 6.4
SWEEPS = 4
RADII = (6.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0)
ANGLES = tuple(math.radians(a) for a in (0, 180, 90, 270, 35, 145, 215, 325, 65, 115, 245, 295))


def overlap(a: Box, b: Box) -> float:
    """Common area of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def candidates(x: float, y: float, width: float, height: float, scale: float) -> Iterator[tuple[float, Box]]:
    """(distance, box) of places around a point, near ones first."""
    for radius, angle in itertools.product(RADII, ANGLES):
        dx, dy = radius * scale * math.cos(angle), radius * scale * math.sin(angle)
        left = x + dx - (0 if dx > 1 else width if dx < -1 else width / 2)
        bottom = y + dy - (0 if dy > 1 and abs(dx) <= 1 else height if dy < -1 and abs(dx) <= 1 else height / 2)
        yield radius, (left, bottom, left + width, bottom + height)


def place_labels(
    panel: Any, points: Sequence[tuple[float, float, str, str]], lines: Sequence[Sequence[tuple[float, float]]] = ()
) -> None:
    """Draw labels (x, y, text, colour) inside the panel where they hide no point, no label and none of the lines.

    The panel must have been drawn once and its layout be fixed. Crowded points first.
    """
    figure = panel.figure
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    area = panel.get_window_extent(renderer)
    pixels = [tuple(panel.transData.transform((x, y))) for x, y, *_ in points]
    mark = 4.5 * scale
    marks: list[Box] = [(x - mark, y - mark, x + mark, y + mark) for x, y in pixels]
    drawn = [[tuple(panel.transData.transform(p)) for p in line] for line in lines]
    thin = [_dot(x, y, scale) for line in drawn for x, y in _along(line, 4 * scale)]
    crowd = [sum(math.dist(a, b) < 80 * scale for b in pixels) for a in pixels]
    texts = [
        panel.text(0, 0, label, color=colour, fontsize=SIZE, transform=None, va="bottom", ha="left", zorder=4)
        for _, _, label, colour in points
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    boxes: dict[int, Box] = {}
    for _ in range(SWEEPS):  # later ones place each label again, knowing where the others went
        for index in sorted(range(len(points)), key=lambda i: (-crowd[i], pixels[i])):
            others = {i: box for i, box in boxes.items() if i != index}
            leaders = [_dot(*p, scale) for i, box in others.items() for p in _along(_leader(pixels[i], box, scale), 4 * scale)]  # fmt: skip
            width, height = extents[index].width + 2 * scale, extents[index].height + scale
            boxes[index] = _cheapest(
                pixels[index], (width, height), scale, marks, [*thin, *leaders], list(others.values()),
                (area.x0, area.y0, area.x1, area.y1),
            )  # fmt: skip
    back = panel.transAxes.inverted()
    for index, text in enumerate(texts):
        text.set_transform(panel.transAxes)
        text.set_position(back.transform((boxes[index][0] + scale, boxes[index][1] + scale / 2)))
        if leader := _leader(pixels[index], boxes[index], scale):
            ends = back.transform(leader)
            panel.plot(ends[:, 0], ends[:, 1], transform=panel.transAxes, color="0.55", linewidth=0.5, zorder=2)


def _cheapest(
    point: tuple[float, float],
    size: tuple[float, float],
    scale: float,
    marks: list[Box],
    thin: list[Box],
    labels: list[Box],
    area: Box,
) -> Box:
    """The place with the least cost: overlaps and leaving the panel first, then lines through labels, distance."""

    def cost(candidate: tuple[float, Box]) -> float:
        radius, box = candidate
        outside = (box[2] - box[0]) * (box[3] - box[1]) - overlap(box, area)
        hidden = sum(overlap(box, other) for other in (*marks, *labels))
        leader = [_dot(*place, scale) for place in _along(_leader(point, box, scale), 4 * scale)]
        crossed = sum(overlap(box, other) > 0 for other in thin)
        crossed += sum(overlap(dot, label) > 0 for dot in leader for label in labels)
        return 1e3 * (hidden + outside) + 10 * crossed + radius

    return min(candidates(*point, *size, scale), key=cost)[1]


def _leader(point: tuple[float, float], box: Box, scale: float) -> list[tuple[float, float]]:
    """Ends of the thin line from a label to its point; nothing where they are close."""
    near = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
    return [point, near] if math.dist(point, near) > 7 * scale else []


def _dot(x: float, y: float, scale: float) -> Box:
    return (x - scale / 2, y - scale / 2, x + scale / 2, y + scale / 2)


def _along(line: Sequence[tuple[float, float]], step: float) -> Iterator[tuple[float, float]]:
    """Points every `step` pixels along a polyline."""
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        count = max(1, int(math.dist((x0, y0), (x1, y1)) / step))
        for k in range(count + 1):
            yield x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count
