"""The page: results/<suite>/report/index.html, one file that opens from disk and asks for nothing else.

Text of models and data never becomes markup: the template escapes, and what the script shows is packed as base64
JSON and set as text. Without a script the tables, figures and recipes can still be read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.suites import Suite
from reports import statistics
from reports.cells import Absent, Scores, load_scores
from reports.frame import Results
from reports.locations import checkpoint_folder
from reports.render import to_csv, to_latex
from reports.render_html import to_html
from reports.samples import FrameError
from reports.site_items import pack, packed_items
from reports.tables import Table, groups_of

PAGE = Path("report") / "index.html"
TRACES_FILE = Path("speed") / "traces.jsonl"
TRACE_FIELDS = (
    "label",
    "system",
    "seed",
    "task",
    "doc_id",
    "prompt",
    "reference",
    "answer",
    "decoder",
    "settings",
    "passes",
)


def page(
    results: Results,
    tables: Mapping[str, Table],
    papers: Mapping[str, Table],
    figures: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> str:
    """The page's HTML; `papers`: the published tables; `figures`: table name → name, title, caption; `facts`: what the report's header says."""
    folder = Path(__file__).resolve().parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["raw_file"] = lambda name: Markup((folder / name).read_text(encoding="utf-8"))
    suite = results.suite
    packed = packed_items(results)
    return environment.get_template("page.html.j2").render(
        **facts,
        tables=[_table(results, table, figures.get(name), suite) for name, table in tables.items()],
        papers=[_table(results, table, None, suite) for table in papers.values()],
        compared="published" in tables,
        checkpoints=_checkpoints(results),
        data={
            "meta": pack(_meta(results)),
            "cells": pack({name: _cell_facts(results, table) for name, table in tables.items()}),
            "traces": pack(traces(results)),
        }
        | {f"items-{task}": text for task, text in packed.items()},
        tasks=list(packed),
    )


def _meta(results: Results) -> dict[str, Any]:
    suite = results.suite
    return {
        "suite": suite.name,
        "systems": {s.name: {"label": s.label, "paradigm": s.paradigm} for s in suite.systems},
        "evaluations": [evaluation.name for evaluation in suite.evaluations],
    }


def _table(results: Results, table: Table, figure: Mapping[str, Any] | None, suite: Suite) -> dict[str, Any]:
    texts = {"csv": to_csv(table), "tex": to_latex(table, suite.name)}
    if table.spec.form == "published":
        texts = {}  # they lie in results/published and would be a third of the page
    return {
        "name": table.name,
        "title": table.spec.title,
        "open": table.spec.in_report,
        "html": Markup(to_html(table, suite.name)),
        "files": {f"{table.name}.{kind}": data_uri(text.encode(), "text/plain") for kind, text in texts.items()},
        "figure": None if figure is None else dict(figure) | {"image": _image(results.root, str(figure["name"]))},
    }


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a `data:` address, so that the page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _image(root: Path, name: str) -> str:
    return data_uri((root / "figures" / f"{name}.png").read_bytes(), "image/png")


def _cell_facts(results: Results, table: Table) -> dict[str, dict[str, Any]]:
    """`row|column` → what a cell's panel shows, scores by language among it."""
    languages = _by_language(results, table) if table.spec.form == "scores" else {}
    found: dict[str, dict[str, Any]] = {}
    for (row, column), cell in table.cells.items():
        if "n_items" not in cell.facts and not cell.missing:
            continue
        facts = {name: _number(value) for name, value in cell.facts.items() if value not in (None, "")}
        found[f"{row}|{column}"] = {
            "facts": facts,
            "runs": list(cell.runs),
            "missing": [key.folder for key in cell.missing],
            "languages": languages.get((row, column), []),
        }
    return found


def _number(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _by_language(results: Results, table: Table) -> dict[tuple[str, str], list[list[Any]]]:
    """(row, column) → [language, per cent, standard error over items, items] of a score table's cells."""
    found: dict[tuple[str, str], list[list[Any]]] = {}
    names = list(dict.fromkeys(results.items["language"].dropna()))
    evaluations = list(table.spec.evaluations)
    for row in table.rows:
        system, _, evaluation = row.key.partition(":")
        for group in groups_of(results, table.spec):
            for name in names:
                scores = load_scores(results, system, evaluation or evaluations[0], group.tasks, group.metric, name)
                if not isinstance(scores, Absent):
                    found.setdefault((row.key, group.name), []).append(_language_line(name, scores))
    return found


def _language_line(name: str, scores: Scores) -> list[Any]:
    value = float(statistics.seed_means(scores.values_IS).mean())
    error = statistics.item_variance(scores.values_IS) ** 0.5 if len(scores.items) > 1 else None
    return [name, round(100 * value, 1), None if error is None else round(100 * error, 1), len(scores.items)]


def _checkpoints(results: Results) -> list[dict[str, Any]]:
    """One entry per system and seed: record and recipe as text."""
    entries = []
    for (system, seed), record in results.checkpoints.items():
        folder = checkpoint_folder(results.suite, results.root, system, seed)
        recipe = folder / "recipe.yaml" if folder else None
        entries.append(
            {
                "label": results.suite.system(system).label,
                "seed": seed,
                "record": record,
                "recipe": recipe.read_text(encoding="utf-8") if recipe and recipe.is_file() else "no recipe.yaml",
            }
        )
    return entries


def traces(results: Results) -> list[dict[str, Any]]:
    """Every recorded denoising trace of the suite's systems (speed/traces.jsonl, see harness/traces.py).

    Raises:
        FrameError: a line is no trace.
    """
    path = results.root / TRACES_FILE
    names = {system.name for system in results.suite.systems}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        found = [{name: json.loads(line)[name] for name in TRACE_FIELDS} for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise FrameError(f"{path} holds a line that is no trace ({error!r}); measure traces again.") from error
    return [trace for trace in found if trace["system"] in names]
