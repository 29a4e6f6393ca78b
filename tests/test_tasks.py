"""Every YAML under tasks/ is loaded and run by lm-eval, on made-up documents and on the real files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import evaluator
from lm_eval.api.model import LM
from lm_eval.models.dummy import DummyLM
from small_files import CLASSIFICATION, GENERATION, write_corpus, write_mirror

from harness import registration

TASKS = Path(__file__).resolve().parents[1] / "tasks"
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
GROUPS = ["mini_heldin", "mini_heldout", "xp3_heldout"]


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Our TaskManager over a small corpus and a small mirror."""
    monkeypatch.setenv("ANYORDER_CORPUS", str(write_corpus(tmp_path / "corpus")))
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path / "mirror")))
    return registration.task_manager(GROUPS)


def run(model: LM, tasks: Any, limit: int | None = None) -> dict[str, Any]:
    """lm-eval's results, with samples."""
    return dict(evaluator.evaluate(model, tasks, limit=limit, log_samples=True) or {})


def right_answer(doc: dict) -> str:
    """The right answer of a document, read from its own columns, independently of the YAML."""
    if "targets" in doc:
        return doc["targets"]
    if "hypothesis" in doc:
        return {0: "Yes", 1: "Maybe", 2: "No"}[doc["label"]]
    if "premise" in doc:
        return doc["choice2"] if doc["label"] == 1 else doc["choice1"]
    if "option1" in doc:
        return doc["option" + doc["answer"]]
    return doc[f"sentence_quiz{doc['answer_right_ending']}"]


class Oracle(LM):
    """Knows the right answer; shows whether a task's gold label means what the document says."""

    def loglikelihood(self, requests, disable_tqdm=False):
        return [(0.0 if r.args[1] == " " + right_answer(r.doc) else -99.0, True) for r in requests]

    def generate_until(self, requests, disable_tqdm=False):
        return [f" {right_answer(request.doc)} " for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError  # no task of ours asks for it; one that did would have to be answered here


def test_every_yaml_runs_and_an_oracle_is_always_right(manager):
    result = run(Oracle(), manager.load(GROUPS))
    assert set(result["results"]) >= set(manager.all_subtasks)
    values = {
        (task, key): value
        for task in manager.all_subtasks
        for key, value in result["results"][task].items()
        if key.endswith(",none") and "stderr" not in key
    }
    expected = {
        "acc": 1.0,
        "acc_norm": 1.0,
        "exact_match": 1.0,
        "token_f1": 1.0,
        "valid": 1.0,
        "adjacent_repeat": 0.0,
    }
    wrong = {key: value for key, value in values.items() if value != expected[key[1].removesuffix(",none")]}
    assert wrong == {}
    assert len(values) == 2 * (7 + 44) + 3 + 2 + 2
    for group in ("xp3_xnli", "xp3_xcopa", "xp3_xstorycloze", "xp3_xwinograd"):
        assert result["groups"][group]["acc,none"] == 1.0


def test_every_yaml_is_a_task_a_group_or_a_base_of_one(manager):
    bases = {path.parent / part for path in TASKS.rglob("*.yaml") for part in _includes(path)}
    named = {manager.task_index[name].yaml_path for name in manager.all_tasks}
    assert named | bases == set(TASKS.rglob("*.yaml"))
    assert all((path.parent / "README.md").is_file() for path in TASKS.rglob("*.yaml"))


def _includes(path: Path) -> list[str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("include:")]
    return [yaml.safe_load(line)["include"] for line in lines]


def test_the_dummy_model_runs_everything(manager):
    result = run(DummyLM(), manager.load(GROUPS), limit=2)
    assert len(result["samples"]) == 12 + 44


def test_generation_settings(manager):
    for name in GENERATION:
        task = manager.load([f"mini_{name}"])["tasks"][f"mini_{name}"]
        assert task.config.generation_kwargs == {"until": ["\n"], "max_gen_toks": 64, "do_sample": False}
        assert task.config.target_delimiter == " " and task.VERSION == 1.0
        assert task.doc_to_text(task.test_docs()[0]) == f"Question 0 of {name}:"
    for name in CLASSIFICATION:
        task = manager.load([f"mini_{name}"])["tasks"][f"mini_{name}"]
        assert task.doc_to_choice(task.test_docs()[1]) == ["answer 1.", "no."]


PROMPTS = {
    "xp3_xnli_sw": 'Take this as given: The cat sleeps. Does it then follow that "An animal rests."? Yes, no or maybe?',
    "xp3_xcopa_en": "Here is what happened: The glass fell. One of two sentences tells what came of it: "
    '"It broke." or "It sang." The right one is:',
    "xp3_xstorycloze_eu": "A story starts like this: Ann had a boat. It leaked. She found glue. "
    'She mended it. Which sentence ends it better, "It flew away." or "It floated."? The better end is:',
    "xp3_xwinograd_jp": "One word or phrase of this sentence was replaced by a _: "
    'Tom thanked Ann because _ helped. What does the _ refer to, "Tom" or "Ann"? It refers to:',
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(manager, name):
    task = manager.load([name])["tasks"][name]
    assert task.doc_to_text(task.eval_docs[0]) == PROMPTS[name]


def test_xcopa_asks_for_the_cause(manager):
    task = manager.load(["xp3_xcopa_zh"])["tasks"]["xp3_xcopa_zh"]
    assert "One of two sentences tells why it happened:" in task.doc_to_text(task.eval_docs[1])


# -- scores of the embedded suite


def mini_utils():
    spec = importlib.util.spec_from_file_location("mini_utils", TASKS / "mini" / "utils.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "target", "score"),
    [
        ("a b c", "a b c", 1.0),
        ("c b a", "a b c", 1.0),  # a bag: order does not count
        ("a a", "a b", 0.5),  # the second a is not in the target: precision 1/2, recall 1/2
        ("a", "a b c", 0.5),  # precision 1, recall 1/3
        ("", "a", 0.0),
        ("x", "a", 0.0),
        ("我看猫", "我看狗", 2 / 3),
    ],
)
def test_token_f1(answer, target, score):
    assert mini_utils().token_f1(answer, target) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "share"),
    [("a b c", 0.0), ("a a b", 0.5), ("a a a", 1.0), ("a", 0.0), ("", 0.0), ("猫猫看", 0.5)],
)
def test_adjacent_repeat(answer, share):
    assert mini_utils().adjacent_repeat(answer) == pytest.approx(share)


def test_exact_and_describe():
    utils = mini_utils()
    assert utils.exact({"targets": "a b"}, [" a b\n"]) == {"exact_match": 1.0}
    assert utils.exact({"targets": "a b"}, ["a  b"]) == {"exact_match": 0.0}
    doc = {"targets": "red", "valid": ["red", "blue"]}
    assert utils.describe(doc, ["blue "]) == {"valid": 1.0, "adjacent_repeat": 0.0}
    assert utils.describe(doc, ["blue blue"]) == {"valid": 0.0, "adjacent_repeat": 1.0}


# -- the real files, where they are at hand


@pytest.mark.skipif(not REAL.is_dir(), reason="no real files beside the checkout")
def test_on_real_files(manager, monkeypatch, caplog):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    result = run(Oracle(), manager.load(["xp3_heldout"]), limit=5)
    assert len(result["samples"]) == 13 + 9 + 6
    assert "holds 28 of 44 tasks" in caplog.text
    assert {result["results"][task]["acc,none"] for task in result["samples"]} == {1.0}
    assert {size["original"] for task, size in result["n-samples"].items() if "xnli" in task} == {624}
