"""How our prompts differ from lm-eval's stock tasks on the real files: the counts that the READMEs give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import env
from shared_files import REAL, needs_real
from task_code import TASKS

from harness import registration
from harness.data import documents_of
from harness.formats import direct_prompt

STOCK = Path(lm_eval.tasks.__file__).parent
pytestmark = needs_real


def stock(path: str) -> dict[str, Any]:
    """One of lm-eval's YAML files, merged with what it includes."""
    return load_yaml(STOCK / path, resolve_func=False)


def readme(folder: str) -> str:
    return " ".join((TASKS / folder / "README.md").read_text(encoding="utf-8").split())


def test_mmlu_differs_by_white_space_at_edges_alone(monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    task = registration.task_manager(["anyorder_mmlu"]).load(["anyorder_mmlu"])["tasks"]["anyorder_mmlu"]
    template = env.from_string(stock("mmlu/default/mmlu_anatomy.yaml")["doc_to_text"])
    rows = documents_of("mmlu", "all", "test")
    differ = [row for row, ours in zip(rows, task.eval_docs, strict=True) if template.render(**row) != ours["inputs"]]
    by_choice = [row for row in differ if any(choice != choice.strip() for choice in row["choices"])]
    by_question = [row for row in differ if row["question"] != row["question"].rstrip()]
    both = len(by_choice) + len(by_question) - len(differ)
    assert (len(rows), len(differ), len(by_question) - both, len(by_choice) - both, both) == (14_042, 355, 314, 40, 1)
    assert "355 of the 14,042 questions with their choices differ" in readme("mmlu")
    assert "(314 by the question, 40 by a choice, 1 by both)" in readme("mmlu")


def test_bbh_has_the_same_examples_but_for_a_line_break(monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    ours = {document["task"]: document["cot_prompt"] for document in documents_of("bbh", "all", "test")}
    cot = {task: shown(f"bbh/cot_fewshot/{task}.yaml", "A: Let's think step by step.\n") for task in ours}
    bare = {task: shown(f"bbh/fewshot/{task}.yaml", "A: ") for task in ours}
    assert len(ours) == 27 and bare == {task: direct_prompt(prompt) for task, prompt in ours.items()}
    assert [task for task in ours if cot[task] != ours[task]] == ["sports_understanding"]
    assert cot["sports_understanding"].replace("step.\n", "step. ") == ours["sports_understanding"]
    assert "the same text in 26 of the 27 tasks; in `sports_understanding`" in readme("bbh")


def shown(path: str, answer: str) -> str:
    """The description and the examples of a stock task, as lm-eval puts them together."""
    config = stock(path)
    examples = [f"Q: {one['input']}\n{answer}{one['target']}" for one in config["fewshot_config"]["samples"]]
    return config["description"] + "\n\n".join(examples)
