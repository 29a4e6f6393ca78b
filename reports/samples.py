"""lm-eval's `samples.jsonl`: one line per document and filter; metric values are keys, `metrics` names them.

Every reader of samples goes through here, so that all agree on what an item is called, what its chance level is and
which choice was picked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson

from reports.locations import ReportsError

SAMPLES_FILE = "samples.jsonl"
SCORES_FILE = "scores.jsonl"
SAMPLE_COLUMNS = [
    "language",
    "world_task",
    "template",
    "item",
    "document",
    "cluster",
    "metric",
    "value",
    "chance",
    "prediction",
]
_DOC_ID = re.compile(rb'\{"doc_id": (\d+),')


class FrameError(ReportsError):
    """Result files contradict each other or the suite; the message names the file and what to do."""


def sample_lines(path: Path, wanted: Collection[int] | None = None) -> Iterator[dict[str, Any]]:
    """Lines of a samples file; with `wanted`, only those documents are parsed.

    Raises:
        FrameError: a line is none of lm-eval's samples; file and line are named.
    """
    with open(path, "rb") as file:
        for number, text in enumerate(file, 1):
            if wanted is not None and (start := _DOC_ID.match(text)) and int(start[1]) not in wanted:
                continue
            try:
                line = _parsed(text)
                if not isinstance(line["doc"], dict) or not isinstance(line["metrics"], list):
                    raise TypeError("`doc` must be a mapping and `metrics` a list")
            except (ValueError, KeyError, TypeError) as error:
                raise FrameError(f"{path}, line {number}: not one of lm-eval's samples ({error!r}).") from error
            yield line


def _parsed(text: bytes) -> dict[str, Any]:
    """A line of JSON; lm-eval writes NaN and Infinity, too, which only the slower reader takes."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def item_rows(path: Path) -> list[tuple]:
    """One tuple of SAMPLE_COLUMNS per line and metric, named `metric`, or `metric,filter` where there are several."""
    lines = list(sample_lines(path))
    several = len({line.get("filter") for line in lines}) > 1
    rows = []
    for line in lines:
        doc = line["doc"]
        count = n_choices(line)
        about = tuple(None if doc.get(name) is None else str(doc[name]) for name in ("language", "task", "template"))
        item = str(doc.get("id", line["doc_id"]))
        cluster = str(doc.get("source_id", line["doc_id"]))
        chance = 1 / count if count else math.nan
        prediction = chosen(line.get("filtered_resps"), count) if count else math.nan
        for metric in line["metrics"]:
            name = f"{metric},{line['filter']}" if several else metric
            value = line.get(metric)
            if isinstance(value, (bool, int, float)):
                rows.append((*about, item, line["doc_id"], cluster, name, float(value), chance, prediction))
    return rows


def is_choice(line: dict[str, Any]) -> bool:
    """Whether a sample scores several continuations (multiple choice) rather than holding a written answer."""
    responses = line.get("filtered_resps") or []
    return len(responses) > 1 and all(isinstance(r, list) and len(r) == 2 for r in responses)


def n_choices(line: dict[str, Any]) -> int:
    """Number of choices of a question, 0 where it has none: the document's own, else the continuations scored."""
    choices = line["doc"].get("choices")
    if isinstance(choices, list) and len(choices) > 1:
        return len(choices)
    return len(line["filtered_resps"]) if is_choice(line) else 0


def chosen(responses: Any, n_choices: int) -> float:
    """Index of the choice with the highest log-probability (stored as text); NaN when not recorded.

    The first of equals, as numpy's argmax in lm-eval's multiple_choice.
    """
    try:
        scores = [float(response[0]) for response in responses[:n_choices]]
    except (TypeError, ValueError, IndexError):
        return math.nan
    return float(scores.index(max(scores))) if len(scores) == n_choices else math.nan


def score_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Per question: scores, their standard errors (nats), the probability of a flipped answer; where they were sampled."""
    with open(folder / SCORES_FILE, "rb") as file:
        yield from map(orjson.loads, file)
