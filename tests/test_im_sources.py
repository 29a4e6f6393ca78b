"""Every task that im_benchmarks takes from lm-eval: built and evaluated by lm-eval on made-up rows in its source's shape.

The columns and splits are those that lm-eval's own YAML and utils read; no row is a data set's.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import datasets
import pytest
from lm_eval import evaluator
from lm_eval.api.model import LM

from harness import registration
from harness.catalogue import REVISIONS

SAID = "the red boat sails home"
REASONED = "So 5 and 7 make 12. The answer is 12. Some say 7"


class Brief(LM):
    """A text costs a hundredth of a nat per character, context and continuation together.

    Of the options after one context the shortest is the likeliest, and per character the longest. A continuation is
    greedy where the context has its word already. Answers are always the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def loglikelihood(self, requests, disable_tqdm=False):
        self.asked += requests
        pairs = [request.args for request in requests]
        return [(-len(context + said) / 100, said.strip() in context.split()) for context, said in pairs]

    def generate_until(self, requests, disable_tqdm=False):
        self.asked += requests
        return [{"im_gsm8k_cot": REASONED, "im_coqa": "red"}.get(r.task_name, SAID) for r in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError  # no task asks for it


# -- rows: `mark` names the row and stands once in its prompt; the last of three has the last option as the right one

FOUR = ["in", "into", "inside", "to the inside"]
ACTIVITIES = ["I won a prize.", "I sang a song.", "I swam."]


def choices(last: bool) -> dict[str, Any]:
    return {"choices": {"text": FOUR, "label": list("ABCD")}, "answerKey": "D" if last else "A"}


def conversation(mark: str, answer: str) -> dict[str, Any]:
    said = {"input_text": ["Ann", answer]}
    return {
        "story": f"{mark} Ann has a boat.",
        "questions": {"input_text": ["Who has it?", "What colour is it?"]},
        "answers": said,
        "additional_answers": {number: said for number in "012"},
    }


def wsc273(mark: str, last: bool) -> dict[str, Any]:
    text = f"{mark} Tom thanked Al because he helped."
    return {"text": text, "pronoun": "he", "pronoun_loc": text.index("he helped"), "options": ["Al", "Alexander"], "label": int(last)}  # fmt: skip


class Made(NamedTuple):
    """A row to be made: the mark that stands in it, whether its last option is the right one, its number."""

    mark: str
    last: bool
    number: int


ROWS: dict[str, tuple[str, Callable[[Made], dict[str, Any]]]] = {  # source: its splits, its row
    "baber/piqa": ("train validation", lambda row: {"goal": row.mark, "sol1": "cut", "sol2": "cut it", "label": int(row.last)}),
    "Rowan/hellaswag": ("train validation", lambda row: {"activity_label": "Rowing", "ctx_a": row.mark, "ctx_b": "she goes", "endings": FOUR, "label": "3" if row.last else "0"}),
    "allenai/winogrande winogrande_xl": ("train validation", lambda row: {"sentence": f"{row.mark} Tom thanked _ for the help.", "option1": "Al", "option2": "Alexander", "answer": "2" if row.last else "1"}),
    "allenai/ai2_arc ARC-Easy": ("train validation test", lambda row: {"question": row.mark, **choices(row.last)}),
    "allenai/ai2_arc ARC-Challenge": ("train validation test", lambda row: {"question": row.mark, **choices(row.last)}),
    "allenai/openbookqa main": ("train validation test", lambda row: {"question_stem": row.mark, **choices(row.last)}),
    "cimec/lambada": ("validation test", lambda row: lambada(row.mark, row.last)),
    **{f"EleutherAI/lambada_openai {name}": ("test", lambda row: lambada(row.mark, row.last)) for name in ("default", "de", "en", "es", "fr", "it")},
    "lighteval/winograd_wsc wsc273": ("test", lambda row: wsc273(row.mark, row.last)),
    "EleutherAI/hendrycks_ethics commonsense": ("train test", lambda row: {"input": row.mark, "label": int(row.last)}),
    "EleutherAI/hendrycks_ethics deontology": ("train test", lambda row: {"scenario": row.mark, "excuse": "No, I rest. ", "label": int(row.last)}),
    "EleutherAI/hendrycks_ethics justice": ("train test", lambda row: {"scenario": row.mark, "label": int(row.last)}),
    "EleutherAI/hendrycks_ethics utilitarianism": ("train test", lambda row: {"activity": f"{row.mark} {ACTIVITIES[row.number % 3]}", "baseline": "I waited."}),
    "EleutherAI/hendrycks_ethics virtue": ("train test", lambda row: {"scenario": row.mark, "trait": "brave", "label": int(row.last)}),
    "truthfulqa/truthful_qa multiple_choice": ("validation", lambda row: {"question": row.mark, "mc1_targets": {"choices": ["a"], "labels": [1]}, "mc2_targets": {"choices": ["x" * 10, "y" * 20, "w" * 10], "labels": [1, 0, 1]}}),
    "skg/toxigen-data annotated": ("train test", lambda row: {"text": row.mark, "toxicity_ai": 4.0 if row.last else 3.5, "toxicity_human": 2.0}),
    "wmt/wmt14 fr-en": ("train validation test", lambda row: translation("fr", row.last)),
    "wmt/wmt16 de-en": ("train validation test", lambda row: translation("de", row.last)),
    "wmt/wmt16 ro-en": ("train validation test", lambda row: translation("ro", row.last)),
    "openai/gsm8k main": ("train test", lambda row: {"question": row.mark, "answer": f"They add up.\n#### {7 if row.last else 12}"}),
    "EleutherAI/coqa": ("train validation", lambda row: conversation(row.mark, ["red", "deep red", "blue"][row.number % 3])),
}  # fmt: skip


def lambada(mark: str, last: bool) -> dict[str, Any]:
    return {"text": f"{mark} Ann saw the boat and liked the {'sea' if last else 'boat'}"}


def translation(other: str, last: bool) -> dict[str, Any]:
    """The last English sentence differs from the model's answer in its last word, the other language's in its last two."""
    english, foreign = (f"{SAID[:-10]}{end}" for end in (("sails away", "goes away") if last else ("sails home",) * 2))
    return {"translation": {"en": english, other: foreign}}


def source(path: str, name: str | None = None, **more: Any) -> datasets.DatasetDict:
    """In the place of the hub: three questions in every split that is asked, thirty examples in `train`."""
    splits, row = ROWS[" ".join(filter(None, (path, name)))]
    made = {}
    for split in splits.split():
        word, count = ("example", 30) if split == "train" else ("question", 3)
        rows = [row(Made(f"The {word} of number {number}.", number % 3 == 2, number)) for number in range(count)]
        made[split] = datasets.Dataset.from_list(rows)
    return datasets.DatasetDict(made)


# -- what the model above is worth on them

Known = dict[str, float | None]
SHORTEST: Known = {"acc": 2 / 3}
BOTH: Known = {"acc": 2 / 3, "acc_norm": 1 / 3}
LAMBADA_CHARACTERS = [len(lambada(f"The question of number {n}.", n == 2)["text"]) for n in range(3)]
LAMBADA: Known = {"acc": 2 / 3, "perplexity": math.exp(statistics.fmean(LAMBADA_CHARACTERS) / 100)}
# Of 15 words, 12 pairs, 9 triples and 6 quadruples, into English one of each is wrong, out of it 2 (chrF only has to be a number).
INTO_ENGLISH: Known = {"bleu": 100 * (14 / 15 * 11 / 12 * 8 / 9 * 5 / 6) ** 0.25, "ter": 100 * 1 / 15, "chrf": None}
FROM_ENGLISH: Known = {"bleu": 100 * (13 / 15 * 10 / 12 * 7 / 9 * 4 / 6) ** 0.25, "ter": 100 * 2 / 15, "chrf": None}
EXPECTED: dict[str, tuple[int, int, Known]] = {  # task: requests of a question, examples, metrics
    "im_piqa": (2, 10, BOTH),
    "im_hellaswag": (4, 10, BOTH),
    "im_winogrande": (2, 5, SHORTEST),  # two contexts, one continuation
    "im_arc_easy": (4, 25, BOTH),
    "im_arc_challenge": (4, 25, BOTH),
    "im_openbookqa": (4, 0, BOTH),
    **{f"im_lambada_{name}": (1, 0, LAMBADA) for name in ("openai", "standard")},
    **{f"im_lambada_mt_{name}": (1, 0, LAMBADA) for name in ("de", "en", "es", "fr", "it")},
    **{f"im_{pair}": (1, 0, INTO_ENGLISH) for pair in ("wmt14_fr_en", "wmt16_de_en", "wmt16_ro_en")},
    **{f"im_{pair}": (1, 0, FROM_ENGLISH) for pair in ("wmt14_en_fr", "wmt16_en_de", "wmt16_en_ro")},
    "im_wsc273": (2, 0, SHORTEST),
    "im_coqa": (1, 0, {"em": 1 / 3, "f1": (1 + 2 / 3 + 0) / 3}),  # "red" against red, deep red, blue
    "im_gsm8k_cot": (1, 0, {"exact_match,strict-match": 2 / 3, "exact_match,flexible-extract": 1 / 3}),
    "im_truthfulqa_mc2": (3, 0, {"acc": 2 / (2 + math.exp(-0.1))}),  # two true answers, ten characters shorter
    "im_toxigen": (2, 0, BOTH),  # 4.0 + 2.0 is above 5.5, 3.5 + 2.0 is not
    "im_ethics_cm": (2, 0, SHORTEST),
    "im_ethics_virtue": (2, 0, SHORTEST),
    "im_ethics_deontology": (2, 0, {"acc": 1 / 3}),  # "reasonable" is the shorter one, and right once
    "im_ethics_justice": (2, 0, {"acc": 1 / 3}),
    "im_ethics_utilitarianism": (2, 0, {"acc": 1 / 3}),  # see the test of its order below
}
for _name in ("piqa", "hellaswag", "arc_easy", "arc_challenge", "openbookqa"):
    EXPECTED[f"im_{_name}_ablated"] = EXPECTED[f"im_{_name}"]  # this model's choice needs no question


@pytest.fixture(scope="module")
def manager() -> Any:
    return registration.task_manager(["im_benchmarks", "im_contrast"])


@pytest.fixture
def evaluated(manager, monkeypatch) -> Callable[[str], tuple[dict[str, float], list[Any]]]:
    """{metric (with its filter, where there are several): value} of a task, and what the model was asked."""
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", source)

    def evaluate(name: str) -> tuple[dict[str, float], list[Any]]:
        loaded, model = manager.load([name]), Brief()
        loaded["tasks"][name].set_fewshot_seed(1234)
        result: Any = evaluator.evaluate(model, loaded, bootstrap_iters=0)
        values = {key.removesuffix(",none"): value for key, value in result["results"][name].items() if "," in key}
        return {key: value for key, value in values.items() if "_stderr" not in key}, model.asked

    return evaluate


def test_every_task_that_starts_from_one_of_lm_eval_s_is_here(manager):
    assert set(EXPECTED) == {name for name in manager.all_subtasks if name.startswith("im_")} - {"im_humaneval"}


UNPINNED = {"EleutherAI/hendrycks_ethics", "cimec/lambada", "lighteval/winograd_wsc"}


def test_every_source_is_read_at_one_commit_where_one_is_known(manager, monkeypatch):
    asked: dict[str, set[Any]] = {}

    def load_dataset(path: str, name: str | None = None, revision: str | None = None, **more: Any) -> Any:
        asked.setdefault(path, set()).add(revision)
        return source(path, name, **more)

    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    manager.load(list(EXPECTED))
    commits = {path: commit for path, (commit,) in asked.items()}
    assert {path for path, commit in commits.items() if commit is None} == UNPINNED
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in commits.values() if commit)
    shared = commits.keys() & REVISIONS.keys()
    assert shared == {"allenai/winogrande", "wmt/wmt14"} and all(commits[path] == REVISIONS[path] for path in shared)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_task_runs_on_rows_of_its_source(name, evaluated):
    per_question, shots, metrics = EXPECTED[name]
    values, asked = evaluated(name)
    assert len(asked) == 3 * per_question
    assert {request.args[0].count("The example of number") for request in asked} == {shots}
    hidden = name.endswith("_ablated") or name.startswith("im_wmt")  # a translation's prompt is the sentence alone
    assert all(("The question of number" in request.args[0]) != hidden for request in asked)
    assert values.keys() == metrics.keys() and all(map(math.isfinite, values.values()))
    assert values == pytest.approx({key: values[key] if known is None else known for key, known in metrics.items()})


def test_the_preferable_scenario_stands_first_where_the_answer_is_yes(evaluated):
    _, asked = evaluated("im_ethics_utilitarianism")
    first = [f"Scenario 1: The question of number {n}. {ACTIVITIES[n]}" in asked[2 * n].args[0] for n in range(3)]
    assert first == [True, True, False]  # the model says " no", the shorter answer: right once


def test_worked_examples_of_lm_eval_s_own(evaluated):
    for name, start, shown in (("im_gsm8k_cot", "Q: ", 8), ("im_truthfulqa_mc2", "Q: ", 6), ("im_coqa", "Q: ", 1)):
        _, asked = evaluated(name)
        assert {request.args[0].count(start) for request in asked} == {shown + 1}, name


@pytest.mark.parametrize(
    ("pair", "shown"), [("wmt14_fr_en", "French goes English"), ("wmt16_en_ro", "English sails Romanian")]
)
def test_a_direction_shows_its_own_source(pair, shown, evaluated):
    spoken, verb, asked_for = shown.split()
    last = evaluated(f"im_{pair}")[1][2].args[0]
    assert last == f"{spoken} phrase: the red boat {verb} away\n{asked_for} phrase:"
