"""Words of extracted answers: by hand, and against lm-eval's own code for TyDiQA."""

from __future__ import annotations

import importlib.util
import unicodedata
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from shared_files import REAL, needs_real

from harness import data, metrics
from harness.extraction import bag_f1, mlqa_words, squad_words, words
from harness.languages import TYDIQA_CODES


def test_words_of_scripts_without_spaces():
    assert words("我看猫 and ねこ") == ["我", "看", "猫", "and", "ね", "こ"]
    assert words("кот  спит") == ["кот", "спит"]


@pytest.mark.parametrize(
    ("language", "text", "mlqa", "squad"),
    [
        ("en", "The U.S.", ["us"], ["us"]),
        ("en", "it's 1,500", ["its", "1500"], ["its", "1500"]),
        ("en", "$5", ["5"], ["5"]),
        ("en", "€5", ["€5"], ["€5"]),
        ("en", "«Theatre» of a king", ["theatre", "of", "king"], ["«theatre»", "of", "king"]),
        ("fi", "A an", ["a", "an"], []),
        ("ar", "الكتاب، والكتاب", ["كتاب", "والكتاب"], ["الكتاب،", "والكتاب"]),
        ("ko", "서울의 漢江", ["서울의", "漢江"], ["서울의", "漢江"]),
        ("ja", "東京タワー。", [*"東京タワー"], ["東京タワー。"]),
        ("fi", "Cafe\u0301", ["caf\u00e9"], ["cafe\u0301"]),
    ],
)
def test_words_by_both_rules(language, text, mlqa, squad):
    assert (mlqa_words(text, language), squad_words(text)) == (mlqa, squad)


@pytest.mark.parametrize(("said", "right"), [("US", "U.S."), ("1500", "1,500"), ("its", "it's"), ("the mill", "mill")])
def test_answers_that_differ_by_marks_alone_are_equal(said, right):
    doc = {"context": "Some mill.", "answers": ["no", right], "language": "en"}
    scores = metrics.extractive(doc, [said])
    assert [scores[name] for name in ("exact_match", "f1", "exact_match_squad", "f1_squad")] == [1.0] * 4


def test_a_mark_that_only_one_rule_deletes():
    scores = metrics.extractive({"context": "Гоголь.", "answers": ["«Нос»"], "language": "ru"}, ["нос"])
    assert [scores[name] for name in ("exact_match", "f1", "exact_match_squad", "f1_squad")] == [1.0, 1.0, 0.0, 0.0]


@needs_real
def test_the_nine_languages_agree_with_lm_eval(monkeypatch):
    """Every right answer of DiffusionLLM's files against the next one, and against itself with marks around it."""
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    theirs = stock_code()
    rows = [
        row
        for row in data.documents_of("diffusionllm_tydiqa", "all", "0-shot")
        if row["language"] not in ("japanese", "thai")
    ]
    assert len(rows) == 360
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        right, language = row["targets"], TYDIQA_CODES[row["language"]]
        for said in (right, other["targets"], f"«The {right}», ال{right}", row["inputs"][-200:]):
            ours, wanted = mlqa_words(said, language), mlqa_words(right, language)
            assert " ".join(ours) == theirs.normalize_answer(composed(said), language)
            assert bag_f1(ours, wanted) == pytest.approx(theirs.f1_score(composed(said), composed(right), language))


def composed(text: str) -> str:
    """NFC: prompts and answers spell Bengali letters in two ways, which lm-eval's code takes for different ones."""
    return unicodedata.normalize("NFC", text)


def stock_code() -> Any:
    """lm-eval's utils.py of its TyDiQA tasks."""
    path = Path(lm_eval.__file__).parent / "tasks/tydiqa/utils.py"
    spec = importlib.util.spec_from_file_location("stock_tydiqa", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
