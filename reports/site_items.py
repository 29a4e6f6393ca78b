"""What the page's item view holds: prompts, choices, every system's scores or answer, for all items that fit.

Read from the sealed samples (and scores.jsonl for error bars) of each run. Scores in nats, rounded to 0.01.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

from harness.records import RunRecord
from reports.expected import RunKey
from reports.frame import Results
from reports.samples import SAMPLES_FILE, SCORES_FILE, is_choice, sample_lines, score_lines

ITEMS_PER_TASK = 2000
BYTES = 3_400_000  # of the packed items; the page is to stay below 5 MB
TaskItems = dict[str, Any]


def pack(value: Any) -> str:
    """JSON, gzip, base64: small, safe inside HTML whatever a model wrote, and the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def unpack(packed: str) -> Any:
    """What `pack` was given."""
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def packed_items(results: Results, size: int = BYTES) -> dict[str, str]:
    """Task → packed items; thinned evenly over all tasks until they fit into `size` bytes."""
    tasks = list(dict.fromkeys(key.task for key in results.runs))
    items = {task: task_items(results, task) for task in tasks}
    packed = {task: pack(value) for task, value in items.items()}
    while (total := sum(map(len, packed.values()))) > size and any(len(value["items"]) > 1 for value in items.values()):
        items = {task: thinned(value, 0.9 * size / total) for task, value in items.items()}
        packed = {task: pack(value) for task, value in items.items()}
    return packed


def thinned(items: TaskItems, share: float) -> TaskItems:
    """About `share` of a task's items (at least one), evenly spread; `total` still says how many there are."""
    count = max(1, int(share * len(items["items"])))
    kept = evenly(len(items["items"]), count)
    runs = [
        run | {name: [run[name][i] for i in kept] for name in ("x", "v", "se") if name in run} for run in items["runs"]
    ]
    return items | {"items": [items["items"][i] for i in kept], "runs": runs}


def evenly(n: int, count: int) -> list[int]:
    """`count` of 0 … n − 1, first and last among them, evenly spread."""
    if count >= n:
        return list(range(n))
    return sorted({round(i * (n - 1) / max(count - 1, 1)) for i in range(count)})


def task_items(results: Results, task: str, limit: int = ITEMS_PER_TASK) -> TaskItems:
    """Items of a task with the answers of every run: `x` scores per choice or a text, `v` value, `se` standard errors."""
    runs = {key: record for key, record in results.runs.items() if key.task == task}
    docs: dict[int, dict[str, Any]] = {}
    for key in runs:
        for line in sample_lines(results.root / key.folder / SAMPLES_FILE):
            docs.setdefault(line["doc_id"], line)
        break
    ids = sorted(docs)
    wanted = [ids[i] for i in evenly(len(ids), limit)]
    return {
        "total": len(ids),
        "metric": docs[ids[0]]["metrics"][0] if ids else "",
        "items": [_item(docs[doc_id]) for doc_id in wanted],
        "runs": [_answers(results, key, record, wanted) for key, record in runs.items()],
    }


def _item(line: dict[str, Any]) -> dict[str, Any]:
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


def _answers(results: Results, key: RunKey, record: RunRecord, wanted: Sequence[int]) -> dict[str, Any]:
    """One run's answers, in the order of `wanted`; null where the run lacks the item."""
    folder, ids = results.root / key.folder, set(wanted)
    lines: dict[int, dict[str, Any]] = {}
    for line in sample_lines(folder / SAMPLES_FILE, ids):
        lines.setdefault(line["doc_id"], line)
    known = [lines.get(doc_id) for doc_id in wanted]
    answers = {
        "s": key.system,
        "d": key.seed,
        "e": key.evaluation,
        "k": record.kind,
        "o": record.oracle_length,
        "x": [None if line is None else _response(line) for line in known],
        "v": [None if line is None else _value(line) for line in known],
    }
    if (folder / SCORES_FILE).is_file():
        errors = {line["doc_id"]: [_short(c["stderr"]) for c in line["choices"]] for line in score_lines(folder)}
        answers["se"] = [errors.get(doc_id) for doc_id in wanted]
    return answers


def _response(line: dict[str, Any]) -> Any:
    if is_choice(line):
        return [_short(float(score)) for score, _ in line["filtered_resps"]]
    responses = line.get("filtered_resps") or [""]
    return str(responses[0])


def _value(line: dict[str, Any]) -> float | None:
    value = line.get(line["metrics"][0])
    return _short(float(value)) if isinstance(value, (bool, int, float)) else None


def _short(value: float) -> float | int | None:
    """Two decimals; whole numbers without a point; None for what is no finite number (JSON has no word for it)."""
    if not math.isfinite(value):
        return None
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded
