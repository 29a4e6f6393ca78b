"""Aggregates over prompts and answers, against hand-made numbers, brute force and the published table."""

from __future__ import annotations

import csv
import itertools
import math
from collections import defaultdict

import pytest
from shared_files import PUBLISHED, needs_real

from harness import aggregates
from harness.runs import _numbers

SCORES = [  # two languages, three prompts; language b has twice the items
    *(("a", prompt, value) for prompt, value in (("p", 1.0), ("q", 0.0), ("r", 1.0))),
    *(("a", prompt, value) for prompt, value in (("p", 0.0), ("q", 0.0), ("r", 1.0))),
    *(("b", prompt, value) for prompt in "pqr" for value in (1.0, 1.0, 1.0, 0.0)),
]


def test_by_prompt():
    assert aggregates.by_prompt(SCORES) == {"a": {"p": 0.5, "q": 0.0, "r": 1.0}, "b": dict.fromkeys("pqr", 0.75)}


def test_each_prompt_and_each_language_counts_once():
    assert aggregates.median_over_prompts(SCORES) == (0.5 + 0.75) / 2
    assert aggregates.mean_over_prompts(SCORES) == (0.5 + 0.75) / 2
    assert aggregates.best_prompt(SCORES) == (1.0 + 0.75) / 2
    assert aggregates.worst_prompt(SCORES) == (0.0 + 0.75) / 2
    assert aggregates.median_over_prompts(SCORES[:6] + [("a", "s", 1.0)]) == 0.75  # of four: the middle two's mean
    assert aggregates.total([0, 3, 1]) == 4 and aggregates.mean([1.0, 0.0]) == 0.5


@needs_real
def test_the_published_medians_come_from_the_published_prompts():
    """xMTF's Table 9 (two decimals) against the per-prompt accuracies decoded from its figures."""
    spelt = {"storycloze": "2016", "winogrande": "xl"}
    singles, medians = defaultdict(list), {}
    with open(PUBLISHED / "xmtf.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            value = float(row["value"]) if row["metric"].endswith(("single_prompt", "acc_5prompts")) else 0.0
            if row["metric"] == "acc_single_prompt":
                key = (row["model"], row["task"], spelt.get(row["subset"], row["subset"]))
                singles[key].append((row["lang"], row["prompt"], value))
            elif row["metric"] == "median_acc_5prompts" and row["prompt"] == "EN":
                medians[row["model"], row["task"], row["subset"].split("|")[0]] = value
    assert len(singles) == 332 and all(len(scores) == 5 for scores in singles.values())
    off = {key: aggregates.median_over_prompts(scores) - medians[key] for key, scores in singles.items()}
    assert {key: gap for key, gap in off.items() if abs(gap) > 0.00501} == {}


# -- pass@k


@pytest.mark.parametrize(("n", "passed"), [(1, 0), (1, 1), (4, 0), (4, 1), (5, 3), (6, 6)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(n, passed):
    answers = [1.0] * passed + [0.0] * (n - passed)
    for k in range(1, n + 1):
        draws = list(itertools.combinations(answers, k))
        share = sum(max(draw) for draw in draws) / len(draws)
        assert aggregates.pass_at_k([("p", answer) for answer in answers], k) == pytest.approx(share)


def test_pass_at_k_is_a_mean_over_problems_and_needs_k_answers():
    scores = [("a", 1.0), ("a", 0.0), ("b", 0.0), ("b", 0.0)]
    assert aggregates.pass_at_1(scores) == 0.25 and aggregates.pass_at_k(scores, 2) == 0.5
    with pytest.raises(ValueError, match="pass@10 needs 10 answers per problem; one problem has 2"):
        aggregates.pass_at_10(scores)


def test_items_without_a_value_are_left_out_and_counts_are_added():
    assert aggregates.mean_of_known([1.0, None, 0.0, 1.0]) == pytest.approx(2 / 3)
    nothing = aggregates.mean_of_known([None, None])
    assert math.isnan(nothing)
    assert _numbers({"language_agreement,none": nothing, "n_unidentified,none": 2.0}) == {"n_unidentified,none": 2.0}
    assert aggregates.total([1.0, 0.0, 1.0]) == 2.0
