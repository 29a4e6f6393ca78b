"""lm-eval's `samples.jsonl`: one line per document and filter; metric values are keys, `metrics` names them.

Every reader of samples goes through here, so that all agree on what an item is called, what its chance level is and
which choice was picked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

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
SAMPLE_TEXTS = ("language", "world_task", "template", "item", "cluster")
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


def item_rows(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row of SAMPLE_COLUMNS per line and metric, texts as categories, one metric after the other.

    A metric is called `metric`, or `metric,filter` where there are several filters; values that are no numbers are left out.
    """
    several = len({line.get("filter") for line in lines}) > 1
    texts: dict[str, list[str | None]] = {name: [] for name in SAMPLE_TEXTS}
    documents, chances, predictions = [], [], []
    found: dict[str, tuple[list[int], list[float]]] = {}  # metric → places of its lines, values
    for place, line in enumerate(lines):
        doc, number = line["doc"], line["doc_id"]
        count = n_choices(line)
        for name, key in (("language", "language"), ("world_task", "task"), ("template", "template")):
            value = doc.get(key)
            texts[name].append(None if value is None else str(value))
        texts["item"].append(str(doc.get("id", number)))
        texts["cluster"].append(str(doc.get("source_id", number)))
        documents.append(number)
        chances.append(1 / count if count else math.nan)
        predictions.append(chosen(line.get("filtered_resps"), count) if count else math.nan)
        for metric in line["metrics"]:
            value = line.get(metric)
            if isinstance(value, (bool, int, float)):
                places, values = found.setdefault(f"{metric},{line['filter']}" if several else metric, ([], []))
                places.append(place)
                values.append(float(value))
    place_R = np.concatenate([np.array(places, int) for places, _ in found.values()] or [np.empty(0, int)])
    metric_R = np.repeat(np.arange(len(found)), [len(places) for places, _ in found.values()])
    columns: dict[str, Any] = {name: _categories(values, place_R) for name, values in texts.items()}
    columns |= {
        "document": np.array(documents, int)[place_R],
        "metric": pd.Categorical.from_codes(metric_R, categories=pd.Index(list(found), dtype=object)),
        "value": np.concatenate([np.array(values, float) for _, values in found.values()] or [np.empty(0)]),
        "chance": np.array(chances, float)[place_R],
        "prediction": np.array(predictions, float)[place_R],
    }
    return pd.DataFrame({name: columns[name] for name in SAMPLE_COLUMNS})


def _categories(values: Sequence[str | None], place_R: np.ndarray) -> pd.Categorical:
    """The texts at those places, in the order in which they first appear."""
    codes, names = pd.factorize(np.array(values, dtype=object))
    return pd.Categorical.from_codes(codes[place_R], categories=pd.Index(names, dtype=object))


def is_choice(line: Mapping[str, Any]) -> bool:
    """Whether a sample scores several continuations (multiple choice) rather than holding a written answer."""
    responses = line.get("filtered_resps") or []
    return len(responses) > 1 and all(isinstance(r, list) and len(r) == 2 for r in responses)


def n_choices(line: Mapping[str, Any]) -> int:
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
