"""Every YAML under tasks/ is loaded and run by lm-eval on made-up documents (those of im_benchmarks: test_im_sources.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import evaluator
from lm_eval.api.model import LM
from small_files import CLASSIFICATION, GENERATION, write_corpus, write_mirror
from task_code import TASKS, task_utils

from harness import registration, sandbox
from harness.mirror import DataError

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


LABELS = {
    "GPT-3 style": ("True", "Neither", "False"),
    "guaranteed/possible/impossible": ("Guaranteed", "Possible", "Impossible"),
    "MNLI crowdsource": ("Correct", "Inconclusive", "Incorrect"),
}


def right_answer(doc: dict, asked: str) -> str:
    """The right answer of a document, read from its own columns, independently of the YAML."""
    if "targets" in doc:
        return doc["targets"]
    if "hypothesis" in doc:
        return right_verdict(doc)
    if "template" in doc and doc["template"] == "True or False":
        return "True" if doc["answer"] == "1" else "False"
    if "option1" in doc:
        return doc["option" + doc["answer"]]
    if "choice1" in doc:
        return doc["choice2"] if doc["label"] == 1 else doc["choice1"]
    if "answer_right_ending" in doc:
        return doc[f"sentence_quiz{doc['answer_right_ending']}"]
    if "subject" in doc:
        return right_letter(doc, asked) if doc["template"] == "letter" else MMLU_CHOICES[doc["answer"]]
    for column in ("target", "reference", "summary", "canonical_solution"):
        if doc.get(column):
            return doc[column] if column != "canonical_solution" else doc[column]
    return doc["answers"][0] if "answers" in doc else doc.get("answer", "batman")


MMLU_CHOICES = ("one", "two", "three", "four")


def right_letter(doc: dict, asked: str) -> str:
    """The letter that the prompt itself puts in front of the right text of the last question."""
    lines = asked.split("\n")[-5:-1]
    return next(line[0] for line in lines if line[3:] == MMLU_CHOICES[doc["answer"]])


def right_verdict(doc: dict) -> str:
    """The option that means the document's label; RTE and CB number their labels in another way than XNLI."""
    if doc["id"].startswith("rte/"):
        pair = ("True", "False") if doc["template"] == "GPT-3 style" else ("Yes", "No")
        return pair[doc["label"]]
    entailed, unknown, denied = LABELS.get(doc["template"], ("Yes", "Maybe", "No"))
    in_order = (entailed, denied, unknown) if doc["id"].startswith("cb/") else (entailed, unknown, denied)
    return in_order[doc["label"]]


class Oracle(LM):
    """Knows the right answer; shows whether a task's gold label means what the document says."""

    def loglikelihood(self, requests, disable_tqdm=False):
        return [(0.0 if r.args[1].strip() == right_answer(r.doc, r.args[0]) else -99.0, True) for r in requests]

    def generate_until(self, requests, disable_tqdm=False):
        return [f" {right_answer(request.doc, request.args[0])} " for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError  # no task of ours asks for it; one that did would have to be answered here


SHARES = {"acc", "acc_norm", "acc_median", "acc_mean", "acc_max", "acc_min", "exact_match", "exact_match_mean", "f1", "f1_mean",
          "exact_match_paper", "exact_match_localized", "exact_match_squad", "f1_squad", "token_f1", "valid", "answered", "rouge_1", "rouge_2", "rouge_l", "rouge_l_mean",
          "language_agreement", "language_agreement_gold", "language_agreement_paper", "pass@1"}  # fmt: skip
PER_CENT = {"bleu", "bleu_lower", "bleu_lower_intl", "chrf", "bleu_median", "bleu_mean", "bleu_max", "bleu_min"}
ZERO = {"adjacent_repeat", "n_skipped", "n_unidentified", "timeout"}


def values_of(result: dict[str, Any], tasks: list[str]) -> dict[tuple[str, str], float]:
    """{(task, metric): value} without standard errors."""
    found = {}
    for task in tasks:
        for key, value in result["results"][task].items():
            name = key.split(",")[0]
            if "," in key and not name.endswith("_stderr"):
                found[task, name] = value
    return found


def test_every_yaml_runs_and_an_oracle_is_always_right(manager):
    tasks = runnable(manager)
    result = run(Oracle(), manager.load(tasks))
    values = values_of(result, tasks)
    hiding = values.pop(("xp3_xstorycloze_permuted", "n_skipped"))  # 22 stories under the prompt that shows no ending
    assert hiding == 22
    expected = {**dict.fromkeys(SHARES, 1.0), **dict.fromkeys(PER_CENT, 100.0), **dict.fromkeys(ZERO, 0.0)}
    wrong = {
        key: value
        for key, value in values.items()
        if key[1] != "characters" and value != pytest.approx(expected[key[1]]) and not blind(*key)
    }
    assert wrong == {}
    assert {task for task, _ in values} == set(tasks)


def blind(task: str, metric: str) -> bool:
    """Made-up one-word answers have no language, and of a two-word headline there is no bigram to share."""
    return metric in ("language_agreement", "language_agreement_gold", "rouge_2")


def runnable(manager) -> list[str]:
    """Our tasks, without those that read lm-eval's own sources (test_im_sources.py), and without HumanEval where there is no sandbox."""
    humaneval = {"anyorder_humaneval", "im_humaneval"}
    stock = {name for name in manager.all_subtasks if name.startswith("im_")} - humaneval
    barred = stock | humaneval if sandbox.problem() else stock
    return [name for name in manager.all_subtasks if name not in barred]


def test_every_yaml_is_a_task_a_group_or_a_base_of_one(manager):
    bases = {(path.parent / part).resolve() for path in TASKS.rglob("*.yaml") for part in _includes(path)}
    named = {manager.task_index[name].yaml_path for name in manager.all_tasks}
    assert named | bases == set(TASKS.rglob("*.yaml"))
    assert all((path.parent / "README.md").is_file() for path in TASKS.rglob("*.yaml"))


def _includes(path: Path) -> list[str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("include:")]
    found = [yaml.safe_load(line)["include"] for line in lines]
    return [name for names in found for name in (names if isinstance(names, list) else [names])]


def test_generation_settings(manager):
    for name in GENERATION:
        task = manager.load([f"mini_{name}"])["tasks"][f"mini_{name}"]
        assert task.config.generation_kwargs == {"until": ["\n"], "max_gen_toks": 64, "do_sample": False}
        assert task.config.target_delimiter == " " and task.VERSION == 1.0
        assert task.doc_to_text(task.test_docs()[0]) == f"Question 0 of {name}:"
    for name in CLASSIFICATION:
        task = manager.load([f"mini_{name}"])["tasks"][f"mini_{name}"]
        assert task.doc_to_choice(task.test_docs()[1]) == ["answer 1.", "no."]


FIRST = {  # the first document under the first prompt
    "xp3_xnli_sw": (
        "The cat sleeps.\nClaim: An animal rests. True, Neither or False?",
        [" True", " Neither", " False"],
    ),
    "xp3_cb": ("The cat sleeps.\nClaim: It is number 0. True, Neither or False?", [" True", " Neither", " False"]),
    "xp3_rte": (
        'The cat sleeps. From this text and common knowledge alone, is "It is number 0." surely right? Yes or No?',
        [" Yes", " No"],
    ),
    "xp3_xcopa_en": (
        "The glass fell. Which of the two is the likelier result?\n- It broke.\n- It sang.",
        [" It broke.", " It sang."],
    ),
    "xp3_xstorycloze_eu": (
        "How does this story go on? Ann had a boat. It leaked. She found glue. She mended it.\n"
        "- It flew away.\n- It floated.",
        [" It flew away.", " It floated."],
    ),
    "xp3_xwinograd_jp": (
        "Tom thanked Ann because _ helped.\nWhat is meant by the _ in this sentence, Tom or Ann?",
        [" Tom", " Ann"],
    ),
    "anyorder_mmlu": (
        "What is 0 of abstract_algebra, say?\nA. one\nB. two\nC. three\nD. four\nAnswer:",
        [" A", " B", " C", " D"],
    ),
    "anyorder_mmlu_cloze": (
        "Question: What is 0 of abstract_algebra, say?\nAnswer:",
        [" one", " two", " three", " four"],
    ),
    "xp3_xcopa_permuted": (
        "The glass fell. Which of the two is the likelier result?\n- It sang.\n- It broke.",
        [" It sang.", " It broke."],
    ),
    "xp3_xnli_ablated": (
        "(not shown)\nClaim: An animal rests. True, Neither or False?",
        [" True", " Neither", " False"],
    ),
}


@pytest.mark.parametrize("name", FIRST)
def test_prompts(manager, name):
    task = manager.load([name])["tasks"][name]
    document = list(task.eval_docs)[0]
    assert (task.doc_to_text(document), task.doc_to_choice(document)) == FIRST[name]


def test_every_xp3_task_has_its_published_number_of_prompts(manager):
    for name in [name for name in manager.all_subtasks if name.startswith("xp3_")]:
        config = manager.task_index[name].cfg
        assert len(config["metadata"]["templates"]) == (3 if name == "xp3_mlsum_es" else 5), name


def test_wmt14_under_the_five_published_prompts_and_under_none(manager):
    task = manager.load(["xp3_wmt14_hi_en"])["tasks"]["xp3_wmt14_hi_en"]
    rows = list(task.eval_docs)
    families = (
        "version-hi-en-target",
        "a_good_translation-hi-en-target",
        "a_good_translation-hi-en-source+target",
        "xglm-hi-en-target",
        "gpt3-hi-en-target",
    )
    assert [row["template"] for row in rows] == [*families, *families]
    asked = [task.doc_to_text(row) for row in rows[:5]]
    assert all(row["text"] in text for row, text in zip(rows, asked, strict=False)) and len(set(asked)) == 5
    assert all("English" in text for text in asked) and [("Hindi" in text) for text in asked] == [
        False,
        False,
        True,
        False,
        False,
    ]
    bare = manager.load(["diffusionllm_wmt14_en_de"])["tasks"]["diffusionllm_wmt14_en_de"]
    assert bare.doc_to_text(bare.eval_docs[0]) == bare.eval_docs[0]["text"]


def test_xcopa_asks_for_the_cause(manager):
    task = manager.load(["xp3_xcopa_zh"])["tasks"]["xp3_xcopa_zh"]
    assert "Which of the two explains this better?" in task.doc_to_text(task.eval_docs[5])


def test_mmlu_shows_five_examples_of_the_same_subject(manager):
    task = manager.load(["anyorder_mmlu"])["tasks"]["anyorder_mmlu"]
    task.set_fewshot_seed(1)
    document = next(d for d in task.eval_docs if d["subject"] == "virology")
    context = task.fewshot_context(document, 5)
    assert context.startswith("The following are multiple choice questions (with answers) about virology.")
    assert context.count("of virology, say?") == 6 and "anatomy" not in context
    assert "Answer: A\n\nWhat is 1" in context and context.endswith("Answer:")
    assert len(task.eval_docs) == 57 * 6


def test_bbh_prompts(manager):
    task = manager.load(["anyorder_bbh_direct"])["tasks"]["anyorder_bbh_direct"]
    shown = task.doc_to_text(task.eval_docs[0])
    assert shown.startswith("Decide.\n\nQ: Question 0?\nOptions:\n(A) yes\n(B) no\nA: (A)\n\nQ: Question 1?")
    assert shown.endswith("Q: Is it?\nOptions:\n(A) yes\n(B) no\nA:") and "canary" not in shown
    cot = manager.load(["anyorder_bbh_cot"])["tasks"]["anyorder_bbh_cot"]
    assert cot.doc_to_text(cot.eval_docs[0]).count("Let's think step by step.") == 4


def test_generation_prompts_show_the_document(manager):
    shown = {
        "anyorder_wmt14_de_en": "Translate from German into English.\nGerman: Das Haus ist sehr alt und klein.\nEnglish:",
        "anyorder_wmt14_en_hi": "Translate from English into Hindi.\nEnglish: Das Haus ist sehr alt und klein.\nHindi:",
        "anyorder_mgsm_te": "ప్రశ్న: Tom has 1,000 eggs and gets 8. How many?\nదశలవారీగా సమాధానం:",
        "anyorder_gigaword": "a long article about a boat .\n\nWrite a headline for this:",
        "anyorder_xlsum": "A long text about a red boat on the sea.\n\nSum this up in one sentence, in the language of the text:",
        "anyorder_humaneval": "def double(x):",
        "anyorder_z_bench_common": "谁是\n蝙蝠侠",
    }
    for name, text in shown.items():
        if name in runnable(manager):
            task = manager.load([name])["tasks"][name]
            assert task.doc_to_text(list(task.eval_docs)[0]) == text


# -- settings


def tasks_with(names: list[str], **metadata: Any) -> dict[str, Any]:
    return registration.task_manager(names, metadata=metadata).load(names)["tasks"]


def test_conventions_of_options(manager):
    (task,) = tasks_with(["xp3_xnli_en"], convention="encoder_decoder").values()
    assert task.doc_to_choice(task.eval_docs[0]) == ["True</s>", "Neither</s>", "False</s>"]
    (task,) = tasks_with(["xp3_xnli_en"], convention="plain", prompts="can we infer").values()
    assert task.doc_to_choice(task.eval_docs[0]) == ["Yes", "Maybe", "No"] and len(task.eval_docs) == 3
    with pytest.raises(DataError, match="unknown convention 'encoder'"):
        tasks_with(["xp3_xnli_en"], convention="encoder")
    with pytest.raises(DataError, match="unknown prompt 'can we infr'. Did you mean 'can we infer'"):
        tasks_with(["xp3_xnli_en"], prompts="can we infr")


# -- scores of the embedded suite


@pytest.mark.parametrize(
    ("answer", "share"),
    [("a b c", 0.0), ("a a b", 0.5), ("a a a", 1.0), ("a", 0.0), ("", 0.0), ("猫猫看", 0.5)],
)
def test_adjacent_repeat(answer, share):
    assert task_utils("mini").adjacent_repeat(answer) == pytest.approx(share)


def test_exact_and_describe():
    utils = task_utils("mini")
    assert utils.exact({"targets": "a b"}, [" a b\n"]) == {"exact_match": 1.0}
    assert utils.exact({"targets": "a b"}, ["a  b"]) == {"exact_match": 0.0}
    doc = {"targets": "red", "valid": ["red", "blue"]}
    assert utils.describe(doc, ["blue "]) == {"valid": 1.0, "adjacent_repeat": 0.0}
    assert utils.describe(doc, ["blue blue"]) == {"valid": 0.0, "adjacent_repeat": 1.0}
