"""BIG-Bench Hard: prompts and the match of an answer."""

from __future__ import annotations

import functools
import re
from typing import Any

from harness.formats import direct_prompt as without_reasoning

_ANSWER = re.compile("the answer is", re.IGNORECASE)


@functools.cache
def _direct(cot_prompt: str) -> str:
    return without_reasoning(cot_prompt)


def direct_prompt(doc: dict) -> str:
    """The task's three examples with bare answers, then the question."""
    return f"{_direct(doc['cot_prompt'])}\n\nQ: {doc['input']}\nA:"


def answer_of(text: str) -> str:
    """The line after the last 'the answer is', or the whole text without one; no full stop or white space at the end."""
    said = _ANSWER.split(text)
    last = said[-1].strip().split("\n")[0] if len(said) > 1 else text
    return last.strip().removesuffix(".").strip()


def match(doc: dict, results: list[str]) -> dict[str, Any]:
    """exact_match of the answer, and the same for the mean over tasks."""
    right = float(answer_of(results[0]) == doc["target"].strip())
    return {"exact_match": right, "exact_match_mean": (doc["task"], "", right)}
