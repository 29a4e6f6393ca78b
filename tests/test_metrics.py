"""Metrics against hand-made values and against sacrebleu and rouge-score."""

from __future__ import annotations

import pytest
import sacrebleu
import yaml
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from task_code import TASKS, task_utils

from harness import metrics


def test_rank_classification_sums_and_takes_the_first_of_equals():
    doc = {"options": ["aa", "b"], "gold": 0, "language": "sw", "template": "t", "n_skipped": 3}
    scores = metrics.rank_classification(doc, [(-2.0, False), (-1.5, False)])
    assert scores["acc"] == 0.0 and scores["acc_norm"] == 1.0  # -2/2 > -1.5/1
    assert scores["acc_median"] == scores["acc_max"] == ("sw", "t", 0.0) and scores["n_skipped"] == 3
    assert metrics.rank_classification(doc, [(-1.0, False), (-1.0, False)])["acc"] == 1.0


def test_arithmetic_by_each_rule():
    scores = metrics.arithmetic({"targets": "# # 18", "subset": "de"}, ["That makes 18.00"])
    assert scores == {
        "exact_match": 1.0,
        "exact_match_localized": 1.0,
        "exact_match_paper": 0.0,
        "exact_match_mean": ("de", "", 1.0),
    }
    assert metrics.arithmetic({"targets": "18", "language": "de"}, ["none"])["exact_match"] == 0.0


def test_a_number_in_the_language_s_own_notation_counts_as_such_only():
    for language, localized in (("de", 1.0), ("en", 0.0)):
        scores = metrics.arithmetic({"targets": "# # 1,080", "subset": language}, ["Das macht 1.080 Dollar."])
        assert (scores["exact_match"], scores["exact_match_localized"]) == (0.0, localized)


def test_a_run_away_answer_is_wrong_and_no_error():
    scores = metrics.arithmetic({"targets": "18", "language": "de"}, ["9" * 5000])
    assert [scores[f"exact_match{rule}"] for rule in ("", "_localized", "_paper")] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, sat!", "the cat sat"),
        ("«Привет», — сказал он.", "привет сказал он"),
        ("ما هذا؟", "ما هذا"),
        ("你好。", "你好"),
        ("หิมะ!", "หิมะ"),
    ],
)
def test_normalized_in_any_script(text, expected):
    assert metrics.normalized(text) == expected


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
    assert metrics.token_f1(answer, target) == pytest.approx(score)


def test_extractive_takes_the_best_answer():
    doc = {
        "context": "The old mill stands in the valley near the river.",
        "answers": ["the valley", "in the valley"],
        "language": "en",
    }
    scores = metrics.extractive(doc, ["In the valley."])
    assert scores["exact_match"] == scores["f1"] == scores["rouge_l"] == 1.0
    half = metrics.extractive(doc, ["valley near"])
    assert half["exact_match"] == 0.0 and half["f1"] == pytest.approx(2 / 3)  # "valley near" and "valley"


@pytest.mark.parametrize(("answer", "same"), [("By the river.", 1.0), ("у реки", 0.0), ("", None), ("5", None)])
def test_an_answer_without_letters_has_no_language(answer, same):
    """It is counted instead; the right answer's own agreement stands beside it."""
    doc = {
        "context": "The old mill stands in the valley near the river.",
        "answers": ["near the river"],
        "language": "en",
    }
    scores = metrics.extractive(doc, [answer])
    assert scores["language_agreement"] == same and scores["n_unidentified"] == float(same is None)
    assert scores["language_agreement_gold"] == 1.0
    assert metrics.extractive({**doc, "answers": ["1907"]}, [answer])["language_agreement_gold"] is None


@pytest.mark.parametrize(
    ("subset", "said", "right", "f1"),
    [
        ("english", "in the U.S.", "the US", 2 / 3),
        ("japanese", "東京都", "東京", 4 / 5),
        ("russian", "у Невы", "река Нева", 0.0),
    ],
)
def test_diffusionllm_s_tydiqa_has_an_f1(subset, said, right, f1):
    scores = task_utils("diffusionllm").answer({"targets": right, "subset": subset, "n_skipped": 0}, [said])
    assert scores["f1"] == pytest.approx(f1) and scores["f1_mean"] == (subset, "", scores["f1"])
    assert scores["exact_match"] == 0.0


def test_diffusionllm_s_agreement_counts_every_pair():
    answer, doc = task_utils("diffusionllm").answer, {"targets": "1907", "subset": "english", "n_skipped": 0}
    empty = answer(doc, [""])
    assert (empty["language_agreement"], empty["n_unidentified"], empty["language_agreement_paper"]) == (None, 1.0, 1.0)
    russian = answer({"targets": "у реки Невы", "subset": "russian", "n_skipped": 0}, ["near the old river"])
    assert (russian["language_agreement"], russian["n_unidentified"]) == (0.0, 0.0)
    assert russian["language_agreement_paper"] == 0.0


PAIRS = [("the cat is on the mat", "the cat sat on the mat"), ("a dog barks", "one dog barks loudly")]


def test_rouge_is_rouge_score_s_on_english():
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for answer, target in PAIRS:
        expected = theirs.score(target, answer)
        ours = metrics.rouge(answer, target)
        assert ours["rouge_1"] == expected["rouge1"].fmeasure and ours["rouge_2"] == expected["rouge2"].fmeasure
        assert ours["rouge_l"] == expected["rougeL"].fmeasure


def test_rouge_sees_other_scripts():
    assert RougeScorer(["rougeL"]).score("кот спит", "кот спит")["rougeL"].fmeasure == 0.0  # rouge-score's own
    assert metrics.rouge("кот спит", "кот спит")["rouge_l"] == 1.0
    assert metrics.rouge("我看猫", "我看狗")["rouge_1"] == pytest.approx(2 / 3)


TRANSLATIONS = [
    ("The Cat sat on the mat today.", "The cat sat on the mat today."),
    ("Ein Haus am See!", "Ein Haus am See!"),
]


def test_bleu_and_chrf_are_sacrebleu_s():
    answers, references = [a for a, _ in TRANSLATIONS], [[b for _, b in TRANSLATIONS]]
    assert metrics.corpus_bleu(TRANSLATIONS) == sacrebleu.corpus_bleu(answers, references).score
    lower = sacrebleu.corpus_bleu(answers, references, lowercase=True).score
    assert metrics.corpus_bleu_lower(TRANSLATIONS) == lower == pytest.approx(100.0)
    intl = sacrebleu.corpus_bleu(answers, references, lowercase=True, tokenize="intl").score
    assert metrics.corpus_bleu_lower_intl(TRANSLATIONS) == intl
    assert metrics.corpus_chrf(TRANSLATIONS) == sacrebleu.corpus_chrf(answers, references).score


def test_bleu_of_prompts_is_the_median_of_each_prompt_s_own_corpus():
    reference = "the cat sat on the old mat"
    answers = {"a": reference, "b": "the cat sat on the mat", "c": "no word here"}
    rows = [
        metrics.translation_under_prompts(
            {"template": name, "targets": f" {reference} ", "n_skipped": 2}, [f" {text}\n"]
        )
        for text_of in (answers, {**answers, "c": "the cat sat"})
        for name, text in text_of.items()
    ]
    own = {
        name: sacrebleu.corpus_bleu(
            [row["bleu_median"][1] for row in rows if row["bleu_median"][0] == name], [[reference] * 2]
        ).score
        for name in answers
    }
    assert own["a"] == pytest.approx(100.0) and own["c"] < own["b"] < own["a"] and rows[0]["n_skipped"] == 2
    found = {
        name: getattr(metrics, name)([row[name] for row in rows])
        for name in ("bleu_median", "bleu_mean", "bleu_max", "bleu_min")
    }
    assert found["bleu_median"] == own["b"] and found["bleu_max"] == own["a"] and found["bleu_min"] == own["c"]
    assert found["bleu_mean"] == pytest.approx(sum(own.values()) / 3)


def test_the_signatures_in_the_yaml_are_sacrebleu_s():
    made = metrics.signatures(["bleu", "bleu_lower", "bleu_lower_intl", "chrf", "rouge_l"])
    assert all(signature.endswith(f"|version:{sacrebleu.__version__}") for signature in made.values())
    stated = {name: signature.rsplit("|version", 1)[0] for name, signature in made.items()}
    assert stated == metadata_of("wmt14/_wmt14.yaml")["signatures"]
    for path in TASKS.rglob("xp3_*.yaml"):
        if "signature" in metadata_of(str(path.relative_to(TASKS))):
            assert metadata_of(str(path.relative_to(TASKS)))["signature"] == stated["bleu"]


def metadata_of(name: str) -> dict:
    """A YAML's metadata."""
    return yaml.safe_load((TASKS / name).read_text().replace("!function", "")).get("metadata", {})


def test_signatures_are_of_the_scorers_that_compute_the_numbers():
    made = metrics.signatures(["bleu", "bleu_median", "bleu_lower_intl", "chrf", "ter", "acc"])
    assert made["bleu_median"] == made["bleu"] and set(made) == {
        "bleu",
        "bleu_median",
        "bleu_lower_intl",
        "chrf",
        "ter",
    }
    answers, references = [a for a, _ in TRANSLATIONS], [[b for _, b in TRANSLATIONS]]
    theirs = BLEU(lowercase=True, tokenize="intl")
    assert metrics.corpus_bleu_lower_intl(TRANSLATIONS) == theirs.corpus_score(answers, references).score
    assert made["bleu_lower_intl"] == str(theirs.get_signature())


# -- code beside the YAML


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("We see it. So the answer is (B).", "(B)"),
        ("the answer is (A). No, the answer is (C)", "(C)"),
        (" (D) ", "(D)"),
        ("False.", "False"),
        ("So the answer is ] ].", "] ]"),
    ],
)
def test_bbh_answers(text, answer):
    assert task_utils("bbh").answer_of(text) == answer


def test_bbh_match():
    doc = {"target": "(B)", "task": "snarks"}
    expected = {"exact_match": 1.0, "exact_match_mean": ("snarks", "", 1.0)}
    assert task_utils("bbh").match(doc, ["So the answer is (B)."]) == expected


def test_diffusionllm_answers_are_lower_cased():
    assert metrics.lowered_match({"targets": "B", "subset": "law"}, [" b\n"])["exact_match"] == 1.0
    assert metrics.lowered_match({"targets": "B", "subset": "law"}, ["B."])["exact_match"] == 0.0


def test_humaneval_counts_what_the_number_of_answers_allows():
    utils = task_utils("humaneval")
    assert set(utils.passed({"task_id": "x", "samples": 1}, ["passed"])) == {"pass@1", "timeout"}
    many = utils.passed({"task_id": "x", "samples": 100}, ["timeout"])
    assert many == {**dict.fromkeys(("pass@1", "pass@10", "pass@100"), ("x", 0.0)), "timeout": 1.0}


def test_z_bench_counts_answers_only():
    assert task_utils("z_bench").answered({}, [" 好的 "]) == {"answered": 1.0, "characters": 2.0}
    assert task_utils("z_bench").answered({}, [""]) == {"answered": 0.0, "characters": 0.0}
