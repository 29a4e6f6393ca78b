"""Languages of texts: among a benchmark's, and of texts that have none."""

from __future__ import annotations

import pytest
from shared_files import REAL, needs_real

from harness import data
from harness.languages import TYDIQA, agreement, first_guess, language_of


def test_whole_sentences():
    assert first_guess("Der alte Mann ging langsam über die Brücke nach Hause.") == "de"
    assert language_of("Президент России подписал новый закон о налогах.", TYDIQA) == "ru"
    assert language_of("Der alte Mann ging langsam über die Brücke nach Hause.", TYDIQA) in TYDIQA
    assert language_of("Der alte Mann ging langsam über die Brücke nach Hause.", ("de", "fr")) == "de"


@pytest.mark.parametrize("text", ["", " ", ".", "5", "1907–1912", "$ 3,5"])
def test_what_has_no_letters_has_no_language(text):
    assert language_of(text, TYDIQA) is None and agreement(text, "the river") is None
    assert agreement("the river", text) is None


def test_the_identifier_guesses_all_the_same():
    """Which is why an empty answer "agrees" with a number."""
    assert first_guess("") == first_guess("5") == first_guess(".")


IDENTIFIED = {  # language of DiffusionLLM's files: answers with letters of 40, those of them that agree with their prompt
    "arabic": (35, 35), "bengali": (37, 36), "english": (35, 30), "finnish": (29, 27), "indonesian": (38, 29), "japanese": (40, 39),
    "korean": (40, 39), "russian": (32, 32), "swahili": (25, 20), "telugu": (25, 25), "thai": (37, 37),
}  # fmt: skip


@needs_real
def test_what_the_right_answers_reach(monkeypatch):
    """The figures of tasks/tydiqa/README.md; an empty answer reaches nothing where 48 of 440 'agreed' before."""
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    rows = data.documents_of("diffusionllm_tydiqa", "all", "0-shot")
    found = {language: [0, 0] for language in IDENTIFIED}
    for row in rows:
        passage = row["inputs"].partition("context: ")[2].rpartition("Q:")[0]
        same = agreement(row["targets"], passage)
        found[row["language"]][0] += same is not None
        found[row["language"]][1] += same == 1.0
        assert agreement("", row["targets"]) is None
    assert {language: tuple(counts) for language, counts in found.items()} == IDENTIFIED
    assert sum(first_guess("") == first_guess(row["targets"].strip()) for row in rows) == 48
