"""BIG-Bench Hard's contrast tasks: options in another order, options without their question."""

from __future__ import annotations

from collections import Counter

import pytest
from shared_files import REAL, needs_real
from task_code import task_utils

from harness import data
from harness.documents import Documents
from harness.prompts import HIDDEN

QUESTION = "Which is red?\nIt has a colour."
DOC = {"id": "b/0", "input": f"{QUESTION}\nOptions:\n(A) sky\n(B) rose\n(C) grass", "target": "(B)", "task": "t"}
utils = task_utils("bbh")


def test_options_and_the_right_letter_move_together():
    seen = set()
    for number in range(30):
        (made,) = list(utils.permuted(Documents([{**DOC, "id": f"b/{number}"}])))
        question, options, gold = utils.lettered(made)
        assert question == QUESTION and sorted(options) == ["grass", "rose", "sky"] and options[gold] == "rose"
        assert made["target"] in ("(A)", "(C)") and made["task"] == "t"  # every option moves
        seen.add(tuple(options))
    assert seen == {("rose", "grass", "sky"), ("grass", "sky", "rose")}


def test_the_ablated_task_shows_the_options_alone():
    (made,) = list(utils.ablated(Documents([DOC])))
    assert made["input"] == f"{HIDDEN}\nOptions:\n(A) sky\n(B) rose\n(C) grass" and made["target"] == "(B)"


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "rose"},
        {"target": "Yes", "input": "Is it?\nOptions:\n- Yes\n- No"},
        {"input": "not ( True ) is", "target": "False"},
    ],
)
def test_questions_without_lettered_options_are_left_out(changes):
    assert len(utils.permuted(Documents([{**DOC, **changes}]))) == 0


@needs_real
def test_the_real_questions(monkeypatch):
    """17 of the 27 tasks have lettered options; three of their questions have a text as target in the published files."""
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    documents = data.documents_of("bbh", "all", "test")
    made = list(utils.permuted(Documents(documents)))
    assert len(made) == 4071 and len(utils.ablated(Documents(documents))) == 4071
    assert Counter(Counter(doc["task"] for doc in made).values()) == {250: 13, 249: 1, 248: 1, 178: 1, 146: 1}
    plain = {doc["id"]: utils.lettered(doc) for doc in documents}
    for doc in made:
        question, options, gold = utils.lettered(doc)
        before, published, right = plain[doc["id"]]
        assert (question, sorted(options), options[gold]) == (before, sorted(published), published[right])
        assert gold != right or len(options) == 1  # one published question has a single option
