"""MGSM: the last number of an answer."""

from __future__ import annotations

from harness import metrics


def arithmetic(doc: dict, results: list[str]) -> dict[str, float]:
    """exact_match by the last number, exact_match_localized and exact_match_paper by two other rules for it."""
    scores = metrics.arithmetic({**doc, "targets": doc["answer"]}, results)
    return {name: scores[name] for name in ("exact_match", "exact_match_localized", "exact_match_paper")}
