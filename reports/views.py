"""What the page shows of a run's items, made while its samples are read for the frame, so that they are read once.

One text (JSON) per run and one per task: prompts, choices and references of the task's documents; each run's scores per
choice (nats, rounded to 0.01) or answer, and its value. At most ITEMS_PER_TASK documents, evenly spread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.samples import is_choice

ITEMS_PER_TASK = 2000
Line = Mapping[str, Any]


def task_view(lines: Sequence[Line]) -> dict[str, Any]:
    """The documents of a task, from the samples of any of its runs: `total` there are, `items` shown."""
    docs = _by_document(lines)
    ids = sorted(docs)
    shown = [ids[i] for i in evenly(len(ids), ITEMS_PER_TASK)]
    metric = docs[ids[0]]["metrics"][0] if ids else ""
    return {"total": len(ids), "metric": metric, "items": [_item(docs[doc_id]) for doc_id in shown]}


def run_view(lines: Sequence[Line], shown: Sequence[int]) -> dict[str, list[Any]]:
    """A run's answers to the documents `shown`: `x` scores per choice or a text, `v` value; null where it has none."""
    docs = _by_document(lines)
    known = [docs.get(doc_id) for doc_id in shown]
    return {
        "x": [None if line is None else _response(line) for line in known],
        "v": [None if line is None else _value(line) for line in known],
    }


def as_text(view: Mapping[str, Any]) -> str:
    """A view as JSON."""
    return json.dumps(view, ensure_ascii=False, separators=(",", ":"))


def evenly(n: int, count: int) -> list[int]:
    """`count` of 0 … n − 1, first and last among them, evenly spread."""
    if count >= n:
        return list(range(n))
    return sorted({round(i * (n - 1) / max(count - 1, 1)) for i in range(count)})


def short(value: float) -> float | int | None:
    """Two decimals; whole numbers without a point; None for what is no finite number (JSON has no word for it)."""
    if not math.isfinite(value):
        return None
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _by_document(lines: Sequence[Line]) -> dict[int, Line]:
    """The first line of each document (others are of other filters)."""
    docs: dict[int, Line] = {}
    for line in lines:
        docs.setdefault(line["doc_id"], line)
    return docs


def _item(line: Line) -> dict[str, Any]:
    doc, arguments = line["doc"], line.get("arguments") or {}
    first = arguments.get("gen_args_0") or {}
    item = {
        "id": str(doc.get("id", line["doc_id"])),
        "n": line["doc_id"],
        "l": doc.get("language"),
        "p": str(first.get("arg_0", doc.get("inputs", ""))),
        "t": str(doc.get("targets", line.get("target", ""))),
    }
    if is_choice(line):
        texts = [
            str((arguments.get(f"gen_args_{k}") or {}).get("arg_1", k)).strip()
            for k in range(len(line["filtered_resps"]))
        ]
        gold = str(line.get("target", ""))
        item |= {"c": texts, "g": int(gold) if gold.isdigit() and int(gold) < len(texts) else None}
        item.pop("t")
    return item


def _response(line: Line) -> Any:
    if is_choice(line):
        return [short(float(score)) for score, _ in line["filtered_resps"]]
    responses = line.get("filtered_resps") or [""]
    return str(responses[0])


def _value(line: Line) -> float | None:
    value = line.get(line["metrics"][0])
    return short(float(value)) if isinstance(value, (bool, int, float)) else None
