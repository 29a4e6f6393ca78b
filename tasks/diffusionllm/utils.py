"""Documents and scores of DiffusionLLM's prompted files, whose reference is called `targets`.

Every score has `n_skipped` beside it: how many rows of the task's files have no target and are left out.
"""

from __future__ import annotations

from typing import Any

from harness import metrics
from harness.documents import Documents
from harness.extraction import bag_f1, mlqa_words
from harness.languages import TYDIQA_CODES, first_guess
from harness.mirror import DataError
from harness.prompts import without_skipped


def labelled(documents: Documents) -> Documents:
    """The rows that have a target; `n_skipped` counts the others (see `without_skipped`).

    Raises:
        DataError: no row has one.
    """
    kept = without_skipped([{**doc} if doc["targets"].strip() else None for doc in documents])
    if not kept:
        raise DataError(
            f"none of the {len(documents)} rows has a target: these are unlabelled rows, which cannot be scored."
        )
    return Documents(kept, [*documents.column_names, "n_skipped"], documents.data)


def match(doc: dict, results: list[str]) -> dict[str, Any]:
    """Lower-cased exact match, also by subject or task."""
    return {**metrics.lowered_match(doc, results), "n_skipped": doc["n_skipped"]}


def arithmetic(doc: dict, results: list[str]) -> dict[str, Any]:
    """Exact match of the number, by three rules for it."""
    return {**metrics.arithmetic(doc, results), "n_skipped": doc["n_skipped"]}


def answer(doc: dict, results: list[str]) -> dict[str, Any]:
    """Lower-cased exact match, F1 by MLQA's words and ROUGE-L, also by language; agreement of language with the reference.

    language_agreement_paper is the script's: every pair counts, those without letters too.
    """
    said, right = results[0].strip(), doc["targets"].strip()
    rouge_l = metrics.rouge(said, right)["rouge_l"]
    f1 = bag_f1(*(mlqa_words(text, TYDIQA_CODES[doc["subset"]]) for text in (said, right)))
    return {
        **match(doc, results),
        "f1": f1,
        "f1_mean": (doc["subset"], "", f1),
        "rouge_l": rouge_l,
        "rouge_l_mean": (doc["subset"], "", rouge_l),
        **metrics.language_scores(said, right),
        "language_agreement_paper": float(first_guess(said) == first_guess(right)),
    }


def translation(doc: dict, results: list[str]) -> dict[str, Any]:
    """BLEU and chrF of the whole task; the files are lower-cased already."""
    return {**metrics.translation({"reference": doc["targets"]}, results), "n_skipped": doc["n_skipped"]}
