"""What the page's item view holds: prompts, choices, every system's scores or answer, for all items that fit.

From the views kept beside the item frame (reports/views.py), and scores.jsonl for error bars.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from harness.records import RunRecord
from reports.expected import RunKey
from reports.frame import Results
from reports.samples import SCORES_FILE, score_lines
from reports.views import evenly, short

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


def task_items(results: Results, task: str) -> TaskItems:
    """Items of a task with the answers of every run: `x` scores per choice or a text, `v` value, `se` standard errors."""
    items = json.loads(results.views[task])
    shown = [item["n"] for item in items["items"]]
    runs = {key: record for key, record in results.runs.items() if key.task == task}
    return items | {"runs": [_answers(results, key, record, shown) for key, record in runs.items()]}


def _answers(results: Results, key: RunKey, record: RunRecord, shown: list[int]) -> dict[str, Any]:
    """One run's answers, in the order of `shown`; null where the run lacks the item."""
    about = {"s": key.system, "d": key.seed, "e": key.evaluation, "k": record.kind, "o": record.oracle_length}
    answers = about | json.loads(results.views[key.folder])
    folder = results.root / key.folder
    if (folder / SCORES_FILE).is_file():
        errors = {line["doc_id"]: [short(c["stderr"]) for c in line["choices"]] for line in score_lines(folder)}
        answers["se"] = [errors.get(doc_id) for doc_id in shown]
    return answers
