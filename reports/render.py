"""A finished table as Markdown, tidy CSV (one line per cell, unrounded) and LaTeX (booktabs).

Text that comes from suites, recipes or models is escaped for each format; a table's own texts come from its
spec.
"""

from __future__ import annotations

import csv
import io
import re
import string
from collections.abc import Callable, Iterator, Sequence

from reports.cells import MISSING
from reports.tables import Table
from reports.terminal import display_width, pad

FACTS = [
    "stderr",
    "low",
    "high",
    "stderr_items",
    "low_items",
    "high_items",
    "freedom",
    "seed_sd",
    "seed_values",
    "n_items",
    "n_seeds",
    "chance",
    "p",
    "p_holm",
    "above_chance",
    "mark",
    "p_best",
    "detectable",
    "rank_flip",
    "estimator_error",
    "kind",
    "oracle_length",
    "approximate",
    "source",
    "measured",
]
CSV_COLUMNS = (
    "table",
    "row",
    "row_label",
    "column",
    "column_label",
    "text",
    "value",
    "unit",
    *FACTS,
    "runs",
)
MARKDOWN_SPECIAL = str.maketrans({c: "\\" + c for c in "\\`*_<>|#~"} | {"\n": " ", "\r": " "})
_LINK_END = re.compile(r"\](?=[(\[:])")  # a bracket alone is text, a bracket before these may be a link
LATEX_SPECIAL = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"}
    | {
        "[": "{[}",
        "]": "{]}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    | {
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "—": "---",
        "×": r"$\times$",
        "·": r"$\cdot$",
    }
    | {"†": r"$^{\dagger}$", "*": "$^{*}$", "≤": r"$\leq$", "≥": r"$\geq$", "²": "$^{2}$", "Σ": r"$\Sigma$"}
    | {"\n": " ", "\r": " "}
)

LATEX = string.Template(r"""% \usepackage{booktabs,graphicx}
\begin{table}[tb]
  \centering
  \caption{$caption}
  \label{tab:$label}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{@{}$align@{}}
    \toprule
    $header \\
    \midrule
$body
    \bottomrule
  \end{tabular}}
  $notes
\end{table}
""")


def markdown_escape(text: str) -> str:
    """Text that no Markdown reader takes for markup or HTML."""
    return _LINK_END.sub(r"\\]", text.translate(MARKDOWN_SPECIAL).replace("&", "&amp;"))


def latex_escape(text: str) -> str:
    """Text that LaTeX sets as typed (the signs our tables use become commands)."""
    return text.translate(LATEX_SPECIAL)


def grid(table: Table, escape: Callable[[str], str], best: str, tie: str) -> list[list[str]]:
    """Header and rows, escaped, stubs first; `best` and `tie` are formats around a marked cell's text."""
    dress = {"": "{}", "best": best, "tie": tie}
    lines = [[escape(text) for text in (*table.stubs, *(column.labels[0] for column in table.columns))]]
    for row in table.rows:
        stubs = [*row.labels, *[""] * (len(table.stubs) - len(row.labels))]
        found = (table.cells.get((row.key, column.key)) for column in table.columns)
        texts = ("" if cell is None else dress[cell.mark].replace("{}", escape(cell.text)) for cell in found)
        lines.append([*map(escape, stubs), *texts])
    return lines


def notes(table: Table, suite: str) -> list[str]:
    """Footnotes, the absent runs last with the command that fills them."""
    lines = list(table.footnotes)
    if any("†" in label for row in table.rows for label in row.labels):
        lines.append("† decoded with the reference answer's length (oracle): not comparable with the other rows.")
    if any("≈" in label for row in table.rows for label in row.labels):
        lines.append("≈ written with a block-wise cache of keys and values, which approximates the decoder without it.")
    if any(cell.text == "·" for cell in table.cells.values()):
        lines.append("· no items.")
    if table.missing:
        first = ", ".join(f"`{key.folder.removeprefix('runs/')}`" for key in table.missing[:3])
        more = f" and {len(table.missing) - 3} more" if len(table.missing) > 3 else ""
        lines.append(f"— not run yet ({first}{more}): `make tables SUITE={suite}` fills these cells.")
    return lines


def to_markdown(table: Table, suite: str, level: int = 2) -> str:
    """A pipe table with heading, caption and footnotes, its columns padded to read well as plain text."""
    cells = grid(table, markdown_escape, best="**{}**", tie="{} =")
    cells[1:] = [[text or " " for text in line] for line in cells[1:]]
    widths = [max(3, *(display_width(line[i]) for line in cells)) for i in range(len(cells[0]))]
    stubs = len(table.stubs)
    rule = ["-" * w if i < stubs else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [_padded(cells[0], widths, stubs), rule, *(_padded(line, widths, stubs) for line in cells[1:])]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    caption = f"{table.spec.caption.strip()}\n\n" if table.spec.caption else ""
    below = "".join(f"\n- {_markdown_note(note)}" for note in notes(table, suite))
    return f"{'#' * level} {table.spec.title}\n\n{caption}{body}\n" + (f"{below}\n" if below else "")


def _markdown_note(note: str) -> str:
    """A note may hold `code`; outside of it everything is escaped."""
    parts = note.split("`")
    return "".join(f"`{part}`" if i % 2 else markdown_escape(part) for i, part in enumerate(parts))


def _padded(line: Sequence[str], widths: Sequence[int], stubs: int) -> list[str]:
    return [pad(text, width, left=i < stubs) for i, (text, width) in enumerate(zip(line, widths, strict=True))]


def to_csv(table: Table) -> str:
    """One line per cell, values unrounded, in the unit of the `unit` column; absent numbers are empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_rows(table))
    return out.getvalue()


def csv_rows(table: Table) -> Iterator[dict[str, object]]:
    """The cells in reading order as CSV records."""
    for row in table.rows:
        for column in table.columns:
            cell = table.cells.get((row.key, column.key))
            if cell is None:
                continue
            record: dict[str, object] = {
                "table": table.name,
                "row": row.key,
                "row_label": " / ".join(row.labels),
                "column": column.key,
                "column_label": column.labels[0],
                "text": "" if cell.text == MISSING else cell.text,
                "value": "" if cell.value is None else repr(float(cell.value)),
                "unit": cell.unit,
                "runs": " ".join(cell.runs),
            }
            yield record | {name: _fact(cell.facts.get(name)) for name in FACTS}


def _fact(value: object) -> object:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else value


def to_latex(table: Table, suite: str) -> str:
    """A `table` float for booktabs and graphicx; wide tables are shrunk to the line."""
    rows = grid(table, latex_escape, best=r"\textbf{{}}", tie=r"\underline{{}}")
    header, *lines = [" & ".join(line) for line in rows]
    stubs = len(table.stubs)
    caption = latex_escape(_plain(f"{table.spec.title}. {table.spec.caption}"))
    notes_text = r" \\ ".join(latex_escape(_plain(note)) for note in notes(table, suite))
    return LATEX.substitute(
        caption=caption,
        label=f"{suite}-{table.name}".replace("_", "-"),
        align="l" * stubs + "r" * len(table.columns),
        header=header,
        body="\n".join(rf"    {line} \\" for line in lines),
        notes=rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {notes_text}\end{{minipage}}"
        if notes_text
        else "%",
    )


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())
