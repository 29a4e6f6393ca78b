"""im_benchmarks: lm-eval's own tasks with the paper's shots and metrics, and the paper's means."""

from __future__ import annotations

import csv
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from shared_files import PUBLISHED, needs_real
from task_code import task_utils

from harness import evaluate, registration
from harness.__main__ import parser
from harness.im_benchmarks import GROUPS, group_means, means_shown, overall, part_scores
from harness.mirror import DataError
from harness.selection import leaf_tasks
from harness.stock_tasks import stock_config

PARTS = [part for parts in GROUPS.values() for part in parts]
SHOTS = {
    "im_piqa": 10,
    "im_hellaswag": 10,
    "im_winogrande": 5,
    "im_arc_easy": 25,
    "im_arc_challenge": 25,
    "im_gsm8k_cot": 8,
}


@pytest.fixture(scope="module")
def configs() -> dict[str, dict[str, Any]]:
    """The merged configuration of every task of ours that starts from one of lm-eval's."""
    manager = registration.task_manager(["mini_nli"])
    ours = {name: manager.task_index[name].cfg for name in manager.all_subtasks if name.startswith("im_")}
    del ours["im_humaneval"]  # starts from a neighbour of ours
    return {name: stock_config(config) for name, config in ours.items() if not name.endswith("_ablated")}


def test_eighteen_benchmarks_in_six_groups(configs):
    assert len(PARTS) == 17 and len(GROUPS) == 6  # what the released script averages; the paper speaks of 18
    assert {*configs, "im_humaneval"} == {task for part in PARTS for task in part.tasks if task.startswith("im_")}
    groups = registration.task_manager(["mini_nli"]).task_index
    for name, parts in GROUPS.items():
        assert groups[f"im_{name}"].cfg["task"] == [task for part in parts for task in part.tasks]


def test_shots_and_metrics_are_the_paper_s(configs):
    for part in PARTS:
        for task in part.tasks:
            if task in configs:
                names = {metric["metric"] for metric in configs[task]["metric_list"]}
                assert part.metric.split(",")[0] in names, task
                assert configs[task]["num_fewshot"] == SHOTS.get(task, 0) and configs[task]["task"] == task
    assert {entry["name"] for entry in configs["im_gsm8k_cot"]["filter_list"]} >= {"strict-match"}


def test_a_mirror_is_no_source_for_them(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    with pytest.raises(DataError, match="im_piqa is lm-eval's own task.*: unset ANYORDER_DATA to read from the hub"):
        registration.task_manager(["im_piqa"]).load(["im_piqa"])
    with pytest.raises(DataError, match="this lm-eval has no tasks/none.yaml"):
        stock_config({"task": "im_x", "stock": "none.yaml"})


ABLATED = {"piqa": "goal", "hellaswag": "query", "arc_easy": "question", "arc_challenge": "question", "openbookqa": "question_stem"}  # fmt: skip
ROW = {
    "goal": "Find it", "sol1": "this", "sol2": "that", "label": 0, "answerKey": "A", "question": "Find it", "question_stem": "Find it",
    "choices": {"label": ["A", "B"], "text": ["this", "that"]},
    "ctx_a": "Find it", "ctx_b": "now", "activity_label": "Seeking", "endings": ["this", "that"],
}  # fmt: skip


@pytest.mark.parametrize("name", ABLATED)
def test_ablated_questions_have_no_text_and_their_examples_have(monkeypatch, name):
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    rows = [{**ROW, "number": number} for number in range(40)]
    table = datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split in ("train", "validation", "test")})
    monkeypatch.setattr(datasets, "load_dataset", lambda **arguments: table)
    tasks = registration.task_manager(["im_contrast"]).load([f"im_{name}", f"im_{name}_ablated"])["tasks"]
    whole, ablated = tasks[f"im_{name}"], tasks[f"im_{name}_ablated"]
    shots = whole.config.num_fewshot
    assert ablated.config.num_fewshot == shots
    seen = {}
    for task in (whole, ablated):
        task.set_fewshot_seed(0)
        question = next(iter(task.eval_docs))
        assert task.doc_to_choice(question) == ["this", "that"] and int(task.doc_to_target(question)) == 0
        seen[task] = task.fewshot_context(question, 0), task.fewshot_context(question, shots).count("Find it")
    assert "Find it" in seen[whole][0] and "Find it" not in seen[ablated][0]
    assert (seen[whole][1], seen[ablated][1]) == (shots + 1, shots)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, ConnectionError])
def test_a_source_that_cannot_be_loaded_is_left_out_with_its_reason(monkeypatch, kind):
    def refuse(**arguments):
        raise kind("Dataset scripts are no longer supported,\nbut found it.py")

    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    left_out: dict[str, str] = {}
    with pytest.raises(DataError, match="none of 1 tasks can be run here"):
        leaf_tasks(registration.task_manager(["im_piqa"]), ["im_piqa"], left_out)
    assert left_out["im_piqa"] == (
        "im_piqa: lm-eval's own source baber/piqa cannot be loaded (Dataset scripts are no longer supported, but found it.py)."
    )


# -- CoQA

TALK = {
    "story": "Ann has a red boat.",
    "questions": {"input_text": ["Who has it?", "What colour is the boat?"]},
    "answers": {"input_text": ["Ann", "red"]},
    "additional_answers": {"0": {"input_text": ["Ann", "Red"]}, "1": {"input_text": ["Ann", "a deep red"]}},
}


def test_coqa_s_prompt_and_answers():
    utils = task_utils("im_benchmarks")
    expected = "Ann has a red boat.\n\nQ: Who has it?\n\nA: Ann\n\nQ: What colour is the boat?\n\nA:"
    assert utils.conversation(TALK) == expected and utils.answers(TALK) == ["red", "a deep red"]
    said = {"answers": ["Yes"], "questions": ["Is it?"]}
    talk = {name: {"input_text": texts} for name, texts in said.items()}
    others = {str(n): {"input_text": [text]} for n, text in enumerate(["No", "yes", "no", "Perhaps"])}
    assert utils.answers({**talk, "additional_answers": others}) == ["Yes", "No", "Perhaps"]


@pytest.mark.parametrize(
    ("answer", "em", "f1"),
    [
        ("The red!", 0.5, (2 / 3 + 1) / 2),  # without "red": F1 with "deep red" 2·1/(1+2); without "deep red": 1
        ("deep red\nQ: x", 0.5, (1 + 2 / 3) / 2),
        ("blue", 0.0, 0.0),
    ],
)
def test_coqa_s_scores(answer, em, f1):
    scores = task_utils("im_benchmarks").answered(TALK, [answer])
    assert scores == {"em": em, "f1": pytest.approx(f1)}


def test_coqa_with_one_annotator():
    alone = {**TALK, "additional_answers": {}}
    assert task_utils("im_benchmarks").answered(alone, ["red"]) == {"em": 1.0, "f1": 1.0}


# -- the means


def results(value: float = 0.5, **more: float) -> dict[str, dict[str, float]]:
    made = {task: {part.metric: value} for part in PARTS for task in part.tasks}
    for task in next(part for part in PARTS if part.name == "translation").tasks:
        made[task] = {"ter,none": 80.0, "bleu,none": 30.0, "chrf,none": 55.0}
    return made


def test_means_of_tags_of_groups_and_of_all():
    given = results()
    given["im_arc_easy"]["acc_norm,none"] = 0.9  # ai2_arc becomes 70
    parts = part_scores(given)
    assert parts["commonsense_reasoning"] == {"wsc273": 50, "winogrande": 50, "ai2_arc": pytest.approx(70), "coqa": 50}
    means = group_means(parts)
    assert means["commonsense_reasoning"] == pytest.approx(55) and means["multilinguality"] == (50 + 80) / 2
    assert overall(means) == pytest.approx((50 + 65 + 55 + 50 + 50 + 50) / 6)


def test_translation_as_published_and_corrected():
    assert group_means(part_scores(results(), "ter"))["multilinguality"] == 65  # worse translation, better score
    assert group_means(part_scores(results(), "bleu"))["multilinguality"] == 40
    assert group_means(part_scores(results(), "chrf"))["multilinguality"] == 52.5
    with pytest.raises(ValueError, match="ter .as published., bleu or chrf, got 'BLEU'"):
        part_scores(results(), "BLEU")


def test_a_missing_result_is_no_zero():
    given = results()
    del given["im_coqa"], given["im_piqa"]["acc_norm,none"]
    with pytest.raises(KeyError, match=r"im_piqa \(acc_norm,none\), im_coqa \(f1,none\)"):
        part_scores(given)


def test_the_means_are_shown_as_published_and_corrected():
    lines = means_shown(results()).splitlines()
    others = "commonsense_reasoning 50.00, symbolic_problem_solving 50.00, bbh 50.00, safety 50.00"
    for line, how, translation in zip(
        lines, ("TER as if higher were better", "BLEU", "chrF"), (80, 30, 55), strict=True
    ):
        mean = (50 + translation) / 2
        assert how in line
        assert line.endswith(
            f": {(5 * 50 + mean) / 6:.2f} (world_knowledge 50.00, multilinguality {mean:.2f}, {others})"
        )
    lacking = results()
    del lacking["im_coqa"]
    assert means_shown(lacking) == (
        "no means of the paper: im_benchmarks needs results that are missing: im_coqa (f1,none)."
    )


def test_the_run_command_shows_them(monkeypatch, tmp_path, capsys):
    given = results()
    records = [SimpleNamespace(task=task, values=values, n_shot=0) for task, values in given.items()]
    model = SimpleNamespace(rank=0, pretrained="toy")
    for name, made in {
        "leaf_tasks": (list(given), {"im_benchmarks": list(given)}),
        "load_model": model,
        "Runner": SimpleNamespace(run=lambda *_: records),
        "summary": "a table",
    }.items():
        monkeypatch.setattr(evaluate, name, lambda *_, made=made, **__: made)
    line = ["run", "--model", "ar", "--tasks", "im_benchmarks", "--output_path", str(tmp_path)]
    evaluate.evaluate_model(parser().parse_args(line))
    assert f"a table\nruns are in {tmp_path}\n{means_shown(given)}\n" in capsys.readouterr().out


@needs_real
def test_the_published_overall_scores_are_means_of_the_published_groups():
    table: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with open(PUBLISHED / "instruction_modelling.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "category_mean_pct" and row["source"].endswith("Table 1"):
                table[row["system"], row["model"], row["subset"]][row["task"]] = float(row["value"])
    rows = [dict(scores) for scores in table.values() if len(scores) == 7]
    off = [overall({k: v for k, v in row.items() if not k.startswith("Mean")}) - row["Mean of 6 categories (18 NLP tasks)"] for row in rows]  # fmt: skip
    assert len(rows) == 23 and max(map(abs, off)) < 0.0101
