"""BIG-Bench Hard's contrast tasks: options in another order, options without their question."""

from __future__ import annotations

from collections import Counter

import pytest
from shared_files import REAL, needs_real
from task_code import task_utils

from harness import data
from harness.documents import Documents
from harness.mirror import DataError
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


@pytest.mark.parametrize("options", ["(A) sky", "(A) sky\n(B) sky", "(A) sky\n(B) rose\n(C) both A and B"])
def test_questions_whose_options_have_no_other_order_are_left_out_and_counted(options):
    still = {**DOC, "id": "b/1", "input": f"{QUESTION}\nOptions:\n{options}", "target": "(A)"}
    (made,) = utils.permuted(Documents([still, DOC, {**DOC, "id": "b/2", "target": "rose"}]))
    assert (
        made["id"] == DOC["id"] and made["n_skipped"] == 1
    )  # one without lettered options is no question of this task
    assert utils.match(made, ["no"])["n_skipped"] == 1
    assert len(utils.ablated(Documents([still, DOC]))) == 2


def test_a_right_answer_that_no_option_has_is_named():
    with pytest.raises(DataError, match=r"b/0: the target is \(D\), and there are 3 options"):
        utils.permuted(Documents([{**DOC, "target": "(D)"}]))


@needs_real
def test_the_real_questions(monkeypatch):
    """17 of the 27 tasks have lettered options; three of their questions have a text as target in the published files.

    Two of snarks have one option, or two equal ones: nothing would move.
    """
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    documents = data.documents_of("bbh", "all", "test")
    made = list(utils.permuted(Documents(documents)))
    assert len(made) == 4069 and len(utils.ablated(Documents(documents))) == 4071
    assert sum(doc["n_skipped"] for doc in made) == 2
    assert {doc["id"] for doc in documents if utils.lettered(doc)} - {doc["id"] for doc in made} == {
        "bbh/snarks/test/86",
        "bbh/snarks/test/88",
    }
    assert Counter(Counter(doc["task"] for doc in made).values()) == {250: 13, 249: 1, 248: 1, 176: 1, 146: 1}
    plain = {doc["id"]: utils.lettered(doc) for doc in documents}
    for doc in made:
        question, options, gold = utils.lettered(doc)
        before, published, right = plain[doc["id"]]
        assert (question, sorted(options), options[gold]) == (before, sorted(published), published[right])
        assert gold != right
