"""A Markdown report on a terminal: wide tables are split into panels that fit, escapes are undone."""

from __future__ import annotations

import itertools
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

GAP = "  "
_CELL = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\([\\`*_<>|#~\]\[])")
_BOLD = re.compile(r"(?<!\\)\*\*")
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)]*)\)")


def display_width(text: str) -> int:
    """Columns that a text takes on a terminal (East Asian wide signs take two)."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if not unicodedata.combining(c))


def pad(text: str, width: int, left: bool = True) -> str:
    """Text filled up to `width` terminal columns."""
    fill = " " * (width - display_width(text))
    return text + fill if left else fill + text


def plain(text: str) -> str:
    """Markdown text as plain text, with terminal control characters shown as ?."""
    text = _LINK.sub(r"\1 (\2)", _IMAGE.sub(r"\1: \2", text))
    text = _ESCAPE.sub(r"\1", _BOLD.sub("", text)).replace("&amp;", "&")
    return "".join("?" if unicodedata.category(c) == "Cc" else c for c in text)


def render(markdown: str, width: int) -> str:
    """A report for a terminal of `width` columns."""
    blocks = itertools.groupby(markdown.splitlines(), key=lambda line: line.startswith("|"))
    lines: list[str] = []
    for is_table, block in blocks:
        lines += _table(list(block), width) if is_table else _prose(list(block), width)
    return "\n".join(lines) + "\n"


def _prose(lines: Sequence[str], width: int) -> Iterator[str]:
    for line in lines:
        title = re.match(r"(#+) (.*)", line)
        if title:
            text = plain(title[2])
            yield from (text, ("=" if len(title[1]) == 1 else "-") * display_width(text))
            continue
        indent = "  " if line.startswith("- ") else ""
        yield from textwrap.wrap(plain(line), max(40, width), subsequent_indent=indent) or [""]


def _table(lines: Sequence[str], width: int) -> Iterator[str]:
    """Columns in panels no wider than the terminal; the left-aligned ones (row labels) open every panel."""
    rows = [[plain(cell.strip()) for cell in _CELL.split(line)[1:-1]] for line in lines]
    header, rule, *body = rows
    stubs = [i for i, mark in enumerate(rule) if not mark.endswith(":")]
    others = [i for i in range(len(header)) if i not in stubs]
    widths = [max(display_width(row[i]) for row in (header, *body)) for i in range(len(header))]
    for number, panel in enumerate(_panels(stubs, others, widths, width)):
        if number:
            yield ""
        for index, row in enumerate((header, *body)):
            yield GAP.join(pad(row[i], widths[i], left=i in stubs) for i in panel).rstrip()
            if index == 0:
                yield GAP.join("-" * widths[i] for i in panel)


def _panels(stubs: list[int], others: list[int], widths: list[int], width: int) -> Iterator[list[int]]:
    start = sum(widths[i] + len(GAP) for i in stubs)
    panel, used = list(stubs), start
    for i in others:
        if len(panel) > len(stubs) and used + widths[i] > width:
            yield panel
            panel, used = list(stubs), start
        panel.append(i)
        used += widths[i] + len(GAP)
    yield panel
