"""Tables of judged benchmarks, from the summaries that `python -m harness judge` writes (results/README.md).

A table's spec says which files and where in them each number stands; an estimate there is {value, low, high, n} with a
95 % interval over items, or null where there is none. One row per judge and model: two judges are never averaged.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reports.cells import MISSING, NO_ITEMS, Cell, TableError
from reports.frame import Results
from reports.published import slug
from reports.tables import JudgedColumn, Line, Table, TableSpec

SCRIPTED = "scripted"
SCRIPTED_NOTE = "The judge called scripted counts words in common with a key; it is no language model."


def judged_table(results: Results, name: str, spec: TableSpec) -> Table | None:
    """Judges × models in rows; None where nobody has judged yet."""
    found = list(_summaries(results, spec))
    if not found:
        return None
    cells: dict[tuple[str, str], Cell] = {}
    rows = []
    lacking: list[str] = []
    for path, judge, setting, summary in found:
        models = _models(summary, spec)
        expected = [f"{s.name}-{seed}" for s in results.suite.systems for seed in results.suite.seeds] if models else []
        for model in dict.fromkeys([*models, *expected]) or [""]:
            key = slug([part for part in (judge, setting, model) if part]).replace("/", "_")
            labels = [judge] + [setting] * any(spec.sources.values()) + [_label(results, model)] * bool(model)
            rows.append(Line(key, tuple(labels)))
            absent = bool(model) and model not in models
            lacking += [model] * absent
            place = Path(os.path.relpath(path, results.root)).as_posix()
            for column in spec.judged:
                cells[key, column.name] = Cell(MISSING) if absent else _cell(summary, column, model, place, path)
    stubs = ("Judge",) + ("Setting",) * any(spec.sources.values()) + ("Model",) * any("*" in c.at for c in spec.judged)
    columns = tuple(Line(column.name, (column.label,)) for column in spec.judged)
    notes = spec.footnotes + (SCRIPTED_NOTE,) * any(judge.startswith(SCRIPTED) for _, judge, _, _ in found)
    if lacking:
        notes += (f"— not judged ({', '.join(dict.fromkeys(lacking))}): `{spec.command} --suite {results.suite.name}` fills these cells.",)  # fmt: skip
    return Table(name, spec, stubs, tuple(rows), columns, cells, notes)


def _summaries(results: Results, spec: TableSpec) -> Iterator[tuple[Path, str, str, dict[str, Any]]]:
    """(file, judge, setting, summary) of every summary that the spec's sources name."""
    for pattern, setting in spec.sources.items():
        before, after = pattern.split("{judge}")
        place = results.root / before
        for path in sorted(place.parent.glob(f"{place.name}*{after}")):
            judge = path.name[len(place.name) : len(path.name) - len(after)]
            try:
                summary = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(summary, dict):
                    raise TypeError(f"expected a mapping, got {type(summary).__name__}")
            except (OSError, ValueError, TypeError) as error:
                raise TableError(f"{path} is no summary of judgments ({error}); judge again.") from error
            yield path, judge, setting, summary


def _models(summary: dict[str, Any], spec: TableSpec) -> list[str]:
    """Every model that the summary knows, in its order."""
    found: dict[str, None] = {}
    for column in spec.judged:
        before, star, _ = column.at.partition("*")
        inner = _at(summary, before.rstrip(".")) if star else None
        found |= dict.fromkeys(inner or ())
    return list(found)


def _at(value: Any, place: str) -> Any:
    """What stands at `a.b.c`, None where the way breaks off."""
    for part in place.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _label(results: Results, model: str) -> str:
    """`mt0-1` as the suite calls the system, with its seed; other models by their own name."""
    system, _, seed = model.rpartition("-")
    labels = {s.name: s.label for s in results.suite.systems}
    return f"{labels[system]}, seed {seed}" if system in labels and re.fullmatch(r"\d+", seed) else model


def _cell(summary: dict[str, Any], column: JudgedColumn, model: str, place: str, path: Path) -> Cell:
    """A number with its interval; a dot where the summary has none."""
    before, star, after = column.at.partition("*")
    found = (
        _at((_at(summary, before.rstrip(".")) or {}).get(model), after.lstrip(".")) if star else _at(summary, before)
    )
    if found is None:
        return Cell(NO_ITEMS)
    try:
        value, low, high, count = (
            (found[k] for k in ("value", "low", "high", "n")) if isinstance(found, dict) else (found, None, None, None)
        )
        numbers = [None if number is None else column.scale * float(number) for number in (value, low, high)]
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path}: {column.at} is no estimate ({error!r}); judge again.") from error
    facts = {"measured": place, "n_items": count, "low": numbers[1], "high": numbers[2]}
    text = f"{numbers[0]:.{column.digits}f}"
    if numbers[1] is not None and numbers[2] is not None:
        text += f" [{numbers[1]:.{column.digits}f}, {numbers[2]:.{column.digits}f}]"
    return Cell(text, numbers[0], column.unit, {k: v for k, v in facts.items() if v is not None})
