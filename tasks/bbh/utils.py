"""BIG-Bench Hard: prompts and the match of an answer."""

from __future__ import annotations

import functools
import re
from typing import Any

from harness.documents import Documents
from harness.formats import direct_prompt as without_reasoning
from harness.mirror import DataError
from harness.prompts import HIDDEN, LETTERS, has_other_order, permutation, without_skipped

_OPTIONS = re.compile(r"^(.*)\nOptions:\n((?:\([A-Z]\) [^\n]*\n?)+)$", re.DOTALL)
_ANSWER = re.compile("the answer is", re.IGNORECASE)


@functools.cache
def _direct(cot_prompt: str) -> str:
    return without_reasoning(cot_prompt)


def direct_prompt(doc: dict) -> str:
    """The task's three examples with bare answers, then the question."""
    return f"{_direct(doc['cot_prompt'])}\n\nQ: {doc['input']}\nA:"


def permuted(documents: Documents) -> Documents:
    """The questions with lettered options, these in another order (fixed by the question's id).

    Those that have no other order are left out, and counted (`n_skipped`).
    """
    parts = [(doc, lettered(doc)) for doc in documents]
    kept = without_skipped([{**doc} if has_other_order(found[1]) else None for doc, found in parts if found])
    return _contrasted(Documents(kept, [*documents.column_names, "n_skipped"]), _in_other_order)


def ablated(documents: Documents) -> Documents:
    """The questions with lettered options, without what stands before the options."""
    return _contrasted(documents, lambda question, options, gold, key: (HIDDEN, options, gold))


def _in_other_order(question: str, options: list[str], gold: int, key: str) -> tuple[str, list[str], int]:
    order = permutation(len(options), key)
    return question, [options[index] for index in order], order.index(gold)


def _contrasted(documents: Documents, change: Any) -> Documents:
    made = []
    for doc in documents:
        if parts := lettered(doc):
            question, options, gold = change(*parts, doc["id"])
            listed = "\n".join(f"({LETTERS[place]}) {option}" for place, option in enumerate(options))
            shown = f"{question}\nOptions:\n{listed}"
            made.append({**doc, "input": shown, "target": f"({LETTERS[gold]})"})
    return Documents(made, documents.column_names)


def lettered(doc: dict) -> tuple[str, list[str], int] | None:
    """(question, options, index of the right one) where options (A), (B), … end the input; else None.

    Raises:
        DataError: the right answer is a letter that no option has.
    """
    found = _OPTIONS.match(doc["input"].rstrip())
    gold = re.fullmatch(r"\(([A-Z])\)", doc["target"].strip())
    if not found or not gold:
        return None
    options = [line[4:] for line in found[2].strip("\n").split("\n")]
    right = LETTERS.index(gold[1])
    if right >= len(options):
        raise DataError(f"{doc['id']}: the target is {gold[0]}, and there are {len(options)} options.")
    return found[1], options, right


def answer_of(text: str) -> str:
    """The line after the last 'the answer is', or the whole text without one; no full stop or white space at the end."""
    said = _ANSWER.split(text)
    last = said[-1].strip().split("\n")[0] if len(said) > 1 else text
    return last.strip().removesuffix(".").strip()


def match(doc: dict, results: list[str]) -> dict[str, Any]:
    """exact_match of the answer, and the same for the mean over tasks; n_skipped where questions were left out for it."""
    right = float(answer_of(results[0]) == doc["target"].strip())
    skipped = {"n_skipped": doc["n_skipped"]} if "n_skipped" in doc else {}
    return {"exact_match": right, "exact_match_mean": (doc["task"], "", right), **skipped}
