"""A finished table as HTML: sortable by the page's script, plain and complete without it.

Every text is escaped here; numbers to sort by stand in `data-value`. A cell with facts is a button that opens them.
"""

from __future__ import annotations

from html import escape

from reports.cells import MISSING, Cell
from reports.render import notes
from reports.tables import Line, Table

SUMMARY_ROWS = ("chance", "items")  # describe the columns, so they stay below however the rows are sorted


def to_html(table: Table, suite: str) -> str:
    """A `<table>` with a sticky first column between its caption and its footnotes; keys as in the table's CSV."""
    heads = [*table.stubs, *(column.labels[0] for column in table.columns)]
    measured = {column for (_, column), cell in table.cells.items() if cell.value is not None or cell.text == MISSING}
    numbers = {len(table.stubs) + i for i, column in enumerate(table.columns) if column.key in measured}
    head = "".join(
        f'<th scope="col"{" class=number" if i in numbers else ""}><button type="button">{escape(text)}</button></th>'
        for i, text in enumerate(heads)
    )
    rows = [row for row in table.rows if row.key not in SUMMARY_ROWS]
    last = [row for row in table.rows if row.key in SUMMARY_ROWS]
    foot = f"<tfoot>{_rows(table, last)}</tfoot>" if last else ""
    below = "".join(f"<li>{note_html(note)}</li>" for note in notes(table, suite))
    about = f'<p class="caption">{escape(table.spec.caption.strip())}</p>' if table.spec.caption else ""
    return (
        f'{about}<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.spec.title)}">'
        f'<table class="sortable" data-table="{escape(table.name)}">'
        f"<thead><tr>{head}</tr></thead><tbody>{_rows(table, rows)}</tbody>{foot}</table></div>"
        + (f'<ul class="notes">{below}</ul>' if below else "")
    )


def note_html(note: str) -> str:
    """A footnote, its `code` set as code."""
    parts = note.split("`")
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in enumerate(parts))


def _rows(table: Table, rows: list[Line]) -> str:
    return "".join(f"<tr>{_stubs(table, row)}{_cells(table, row)}</tr>" for row in rows)


def _stubs(table: Table, row: Line) -> str:
    labels = [*row.labels, *[""] * (len(table.stubs) - len(row.labels))]
    return "".join(f'<th scope="row">{escape(label)}</th>' for label in labels)


def _cells(table: Table, row: Line) -> str:
    found = (table.cells.get((row.key, column.key)) for column in table.columns)
    return "".join(_cell(row.key, column.key, cell) for column, cell in zip(table.columns, found, strict=True))


def _cell(row: str, column: str, cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    text = escape(cell.text)
    if cell.mark:
        text = f"<b>{text}</b>" if cell.mark == "best" else f'<span class="tie">{text}</span>'
    if "n_items" in cell.facts or cell.missing:
        text = f'<button type="button" class="cell" data-row="{escape(row)}" data-column="{escape(column)}">{text}</button>'
    kind = (
        ' class="missing"'
        if cell.text == MISSING
        else ' class="text"'
        if cell.value is None and len(cell.text) > 24
        else ""
    )
    return f"<td{kind}{value}>{text}</td>"
