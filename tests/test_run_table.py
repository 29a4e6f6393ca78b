"""The table that `python -m harness run` prints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness import registration
from harness.group_means import GroupValue, group_values
from harness.run_summary import WHAT_ITEMS_ARE, WHAT_VALUES_ARE, summary
from harness.scales import is_share, shown
from harness.task_files import read_task


def record(task: str, value: float, items: int = 500, **more: float) -> Any:
    values = {"acc,none": value, "acc_stderr,none": 0.1, "sample_len": 500}
    values |= {f"{metric},none": number for metric, number in more.items()}
    return SimpleNamespace(task=task, values=values, n_items=items, kind="exact", n_truncated=0, seconds=1.25)


def test_runs_groups_and_what_a_value_and_an_item_are():
    of_groups = [GroupValue("both", "acc", "mean of 2", 0.375), GroupValue("both", "n_skipped", "sum of 2", 96)]
    lines = summary([record("a", 0.5), record("b", 0.25)], of_groups).split("\n")
    assert [line.split() for line in lines[:-2]] == [
        ["task", "metric", "value", "items", "kind", "cut", "seconds"],
        ["a", "acc", "50.0", "500", "exact", "1.2"],
        ["b", "acc", "25.0", "500", "exact", "1.2"],
        ["both", "acc", "(mean", "of", "2)", "37.5"],
        ["both", "n_skipped", "(sum", "of", "2)", "96"],
    ]
    assert lines[-2:] == [WHAT_VALUES_ARE, WHAT_ITEMS_ARE]
    assert lines[-2].startswith("values: shares (") and lines[-1].startswith("items: documents × prompts")


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("acc", 0.5, "50.0"), ("acc_median", 1.0, "100.0"), ("pass@1", 0.125, "12.5"), ("rouge_l", 0.031, "3.1"),
        ("bleu", 0.7, "0.70"), ("bleu_lower_intl", 0.0, "0.00"), ("bleu_median", 1.0, "1.00"), ("bleu_acc", 0.5, "50.0"),
        ("chrf", 0.94, "0.94"), ("ter", 1.0, "1.00"), ("characters", 0.6, "0.60"), ("n_unidentified", 1.0, "1"),
        ("n_skipped", 0.0, "0"), ("perplexity", 1.0, "1.00"), ("word_perplexity", 12.0, "12.00"), ("bits_per_byte", 0.5, "0.50"),
        ("rouge1_diff", -0.5, "-0.50"), ("terse_match", 0.5, "50.0"), ("f1", 45.3, "45.30"), ("bleurt", -0.3, "-0.30"),
    ],
)  # fmt: skip
def test_the_metric_says_whether_a_value_is_a_share_not_the_value(metric, value, expected):
    assert shown(value, metric) == expected


def test_every_metric_of_our_tasks_is_a_share_or_known_not_to_be():
    """A new metric must be put on one of both lists, so that nobody forgets to think of its scale."""
    shares = """acc acc_norm acc_median acc_mean acc_max acc_min adjacent_repeat answered em exact_match exact_match_mean
        exact_match_localized exact_match_paper exact_match_squad f1 f1_mean f1_squad language_agreement language_agreement_gold
        language_agreement_paper pass@1 pass@10 pass@100 rouge_1 rouge_2 rouge_l rouge_l_mean timeout token_f1 valid""".split()
    others = "bleu bleu_lower bleu_lower_intl bleu_median bleu_mean bleu_max bleu_min chrf characters n_skipped n_unidentified".split()
    files = [read_task(path) for folder in registration.task_paths() for path in folder.glob("**/*.yaml")]
    named = {entry["metric"] for config in files for entry in config.get("metric_list", [])}
    assert named == {*shares, *others}
    assert all(map(is_share, shares)) and not any(map(is_share, others))


# -- groups


@pytest.fixture(scope="module")
def index():
    return registration.task_manager(["xp3_heldout"]).task_index


def values_of(index, group: str, records: list[Any]) -> list[tuple]:
    return [tuple(one) for one in group_values(index, {group: [one.task for one in records]}, records)]


def test_a_group_has_the_means_that_its_yaml_asks_for_and_sums_of_counts(index):
    records = [
        record("xp3_xnli_en", 0.5, acc_median=0.5, acc_max=0.9, n_skipped=1),
        record("xp3_xnli_sw", 0.25, items=100, acc_median=0.3, acc_max=0.9, n_skipped=2),
        record("xp3_xcopa_et", 1.0, acc_median=0.8, acc_max=0.9, n_skipped=0),
    ]
    assert values_of(index, "xp3_heldout", records) == [
        ("xp3_heldout", "n_skipped", "sum of 3", 3),  # its YAML refuses a mean over benchmarks
        ("xp3_xnli", "acc_median", "mean of 2", pytest.approx(0.4)),
        ("xp3_xnli", "acc", "mean of 2", 0.375),  # languages, not items
        ("xp3_xnli", "n_skipped", "sum of 2", 3),
        ("xp3_xcopa", "acc_median", "mean of 1", 0.8),
        ("xp3_xcopa", "acc", "mean of 1", 1.0),
        ("xp3_xcopa", "n_skipped", "sum of 1", 0),
    ]


@pytest.mark.parametrize("group", ["xp3_contrast", "im_world_knowledge", "xp3_heldout_english"])
def test_a_group_without_a_list_has_no_mean(index, group):
    tasks = {"xp3_contrast": ["xp3_rte_permuted", "xp3_rte_ablated"], "im_world_knowledge": ["im_piqa", "im_hellaswag"]}
    records = [record(task, 0.5, acc_median=0.5) for task in tasks.get(group, ["xp3_rte", "xp3_cb"])]
    assert values_of(index, group, records) == []


def test_lm_eval_weighs_by_items_unless_told_otherwise_and_filters_can_be_named():
    inner = {"group": "inner", "task": ["b", "c"], "aggregate_metric_list": {"metric": "acc", "filter_list": "kept"}}
    listed = {"task": ["a", inner], "aggregate_metric_list": [{"metric": "acc"}]}
    tasks = {name: SimpleNamespace(cfg={"task": name}, tags=set()) for name in "abc"}
    index = {"outer": SimpleNamespace(cfg=listed, tags=set()), **tasks}
    records = [record("a", 1.0, items=100), record("b", 0.0, items=300), record("c", 0.0, items=0)]
    records[2].values |= {"acc,kept": 0.5}
    assert values_of(index, "outer", records[:2]) == [("outer", "acc", "mean of 2, by items", 0.25)]
    del records[2].values["acc,none"]
    records[2].n_items = 4
    assert ("inner", "acc", "mean of 1, by items", 0.5) in values_of(index, "outer", records)
