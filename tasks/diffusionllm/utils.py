"""Scores of DiffusionLLM's prompted files, whose reference is called `targets`."""

from __future__ import annotations

from typing import Any

from harness import metrics


def answer(doc: dict, results: list[str]) -> dict[str, Any]:
    """Lower-cased exact match, ROUGE-L and agreement of language with the reference, each also by language."""
    said, right = results[0].strip(), doc["targets"].strip()
    rouge_l = metrics.rouge(said, right)["rouge_l"]
    return {
        **metrics.lowered_match(doc, results),
        "rouge_l": rouge_l,
        "rouge_l_mean": (doc["subset"], "", rouge_l),
        "language_agreement": float(metrics.language_of(said) == metrics.language_of(right)),
    }


def translation(doc: dict, results: list[str]) -> dict[str, Any]:
    """BLEU and chrF of the whole task; the files are lower-cased already."""
    return metrics.translation({"reference": doc["targets"]}, results)
