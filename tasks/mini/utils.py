"""Scores of the embedded suite's generation tasks, one dictionary of numbers per document."""

from __future__ import annotations

from harness.extraction import words
from harness.metrics import token_f1


def exact(doc: dict, results: list[str]) -> dict[str, float]:
    """exact_match: 1 if the answer is the target, white space at both ends apart, else 0."""
    return {"exact_match": float(results[0].strip() == doc["targets"].strip())}


def retell(doc: dict, results: list[str]) -> dict[str, float]:
    """exact_match and token_f1 of a long answer."""
    return {**exact(doc, results), "token_f1": token_f1(results[0], doc["targets"])}


def describe(doc: dict, results: list[str]) -> dict[str, float]:
    """valid: 1 if the answer is any of the right ones, else 0; adjacent_repeat: lower is better."""
    answer = results[0].strip()
    valid = any(answer == right.strip() for right in doc["valid"])
    return {"valid": float(valid), "adjacent_repeat": adjacent_repeat(answer)}


def adjacent_repeat(answer: str) -> float:
    """Share of neighbouring token pairs that are the same token twice, in 0..1.

    The typical fault of tokens that were chosen in parallel, without seeing each other; lower is better. An
    answer of fewer than two tokens has no pair, hence no repetition.
    """
    found = words(answer)
    pairs = list(zip(found, found[1:], strict=False))
    return sum(left == right for left, right in pairs) / len(pairs) if pairs else 0.0
