"""Scores of DiffusionLLM's prompted files, whose reference is called `targets`."""

from __future__ import annotations

from typing import Any

from harness import metrics
from harness.extraction import bag_f1, mlqa_words
from harness.languages import TYDIQA_CODES, first_guess


def answer(doc: dict, results: list[str]) -> dict[str, Any]:
    """Lower-cased exact match, F1 by MLQA's words and ROUGE-L, also by language; agreement of language with the reference.

    language_agreement_paper is the script's: every pair counts, those without letters too.
    """
    said, right = results[0].strip(), doc["targets"].strip()
    rouge_l = metrics.rouge(said, right)["rouge_l"]
    f1 = bag_f1(*(mlqa_words(text, TYDIQA_CODES[doc["subset"]]) for text in (said, right)))
    return {
        **metrics.lowered_match(doc, results),
        "f1": f1,
        "f1_mean": (doc["subset"], "", f1),
        "rouge_l": rouge_l,
        "rouge_l_mean": (doc["subset"], "", rouge_l),
        **metrics.language_scores(said, right),
        "language_agreement_paper": float(first_guess(said) == first_guess(right)),
    }


def translation(doc: dict, results: list[str]) -> dict[str, Any]:
    """BLEU and chrF of the whole task; the files are lower-cased already."""
    return metrics.translation({"reference": doc["targets"]}, results)
