"""Few-shot prompts: MGSM's published examples in all languages, and tasks that have none."""

from __future__ import annotations

from typing import Any

import pytest
from small_files import exemplar_lines, write_file, write_manifest, write_mirror

from harness import data, registration
from harness.fewshot import Published
from harness.mirror import DataError

LABELS = {  # before the question, before the answer: as the authors' exemplars.py has them
    "bn": ("প্রশ্ন: ", "ধাপে ধাপে উত্তর:"),
    "de": ("Frage: ", "Schritt-für-Schritt-Antwort:"),
    "en": ("Question: ", "Step-by-Step Answer:"),
    "es": ("Pregunta: ", "Respuesta paso a paso:"),
    "fr": ("Question : ", "Réponse étape par étape :"),
    "ja": ("問題：", "ステップごとの答え："),
    "ru": ("Задача: ", "Пошаговое решение:"),
    "sw": ("Swali: ", "Jibu la Hatua kwa Hatua:"),
    "te": ("ప్రశ్న: ", "దశలవారీగా సమాధానం:"),
    "th": ("โจทย์: ", "คำตอบทีละขั้นตอน:"),
    "zh": ("问题：", "逐步解答："),
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    return tmp_path


def task_of(name: str) -> Any:
    return registration.task_manager([name]).load([name])["tasks"][name]


def prompt_of(name: str, shots: int) -> str:
    task = task_of(name)
    return task.fewshot_context(list(task.eval_docs)[0], shots)


@pytest.mark.parametrize("language", LABELS)
def test_mgsm_shows_the_first_examples_of_its_language(mirror, language):
    before, after = LABELS[language]
    asked = f"{before}Tom has 1,000 eggs and gets 8. How many?\n{after}"
    shown = [f"{language}-Question: Sum {n}?\n{language}-Answer: {n} + 0 = {n}. It is {n}.\n\n" for n in range(1, 9)]
    for shots in (0, 1, 3, 8):
        assert prompt_of(f"anyorder_mgsm_{language}", shots) == "".join(shown[:shots]) + asked
    with pytest.raises(DataError, match=f"9 examples were asked for, '{language}' has 8"):
        prompt_of(f"anyorder_mgsm_{language}", 9)


def test_what_is_missing_is_named_and_zero_shot_needs_it_not(mirror):
    (mirror / "mgsm/exemplars.py").unlink()
    assert prompt_of("anyorder_mgsm_sw", 0).startswith("Swali: Tom")
    expected = (
        r"MGSM: no train documents in 'sw' in the mirror, there is no .*mgsm/exemplars.py: "
        r"copy the file of github.com/google-research/url-nlp there, or python -m harness data --fetch mgsm --into .*, or unset ANYORDER_DATA to read from the hub\."
    )
    with pytest.raises(DataError, match=expected):
        prompt_of("anyorder_mgsm_sw", 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (exemplar_lines(("de", "en")), "MGSM_EXEMPLARS has no examples in 'sw'; it has de, en"),
        (exemplar_lines(("sw",), count=7), r"7 rows, expected 8 \(truncated"),
        (["MGSM_EXEMPLARS = {'sw': {'1': {'q': 'Swali'}}}"], r"MGSM_EXEMPLARS\['sw'\]\['1'\] should have q and a"),
        (["MGSM_EXEMPLARS = {'sw': {}}"], "no examples in 'sw'; it has sw"),
        (["MGSM_EXEMPLARS = []"], "no examples in 'sw'; it has no languages"),
        (["OTHER = 1"], "expected an assignment to MGSM_EXEMPLARS"),
        (["MGSM_EXEMPLARS = {"], r"expected Python literals .*truncated"),
        (["MGSM_EXEMPLARS = open('touched', 'w')"], "expected Python literals"),
    ],
)
def test_a_damaged_exemplars_file_is_named_and_never_run(mirror, monkeypatch, lines, message):
    write_file(mirror, "mgsm/exemplars.py", lines)
    if "truncated" not in message or "rows" not in message:
        write_manifest(mirror)
    else:
        (mirror / "MANIFEST.tsv").unlink()
    monkeypatch.chdir(mirror)
    with pytest.raises(DataError, match=message):
        data.documents_of("mgsm", "sw", "train")
    assert not (mirror / "touched").exists()


def test_examples_come_from_the_question_s_own_commit(hub):
    examples = {str(n): {"q": f"Swali: {n}?", "a": f"Jibu: {n}"} for n in range(8)}
    hub.put("mgsm", "sw", "train", f"MGSM_EXEMPLARS = {{'sw': {examples}}}\n".encode(), "b" * 40)
    question = {"id": "mgsm/sw/test/0", "language": "sw", "source": f"hub:juletxara/mgsm@{'b' * 40}/mgsm_sw.tsv"}
    sampler = Published([{"data": None}])
    assert [row["answer"] for row in sampler.sample(2, question)] == ["Jibu: 0", "Jibu: 1"]
    assert len(sampler.sample(3, question)) == 3
    assert hub.asked == [("juletxara/mgsm", "b" * 40, "exemplars.py")] * len(hub.asked)


def test_a_task_of_the_user_s_that_forgets_a_half_is_told(mirror):
    question = {"id": "mgsm/sw/test/0", "language": "sw", "source": "mirror:mgsm/mgsm_sw.tsv"}
    for rows in ([], [question], [question, question]):
        with pytest.raises(
            DataError, match="Published needs `process_docs: !function harness.fewshot.nothing` beside it"
        ):
            Published(rows).sample(1, question)


@pytest.mark.parametrize("name", ["anyorder_wmt14_de_en", "xp3_xnli_en", "anyorder_bbh_direct", "anyorder_humaneval"])
def test_tasks_without_examples_say_so(mirror, name, monkeypatch):
    monkeypatch.setattr("harness.sandbox.require", lambda: None)
    with pytest.raises(DataError, match="--num_fewshot 2: this task has no examples beside its prompts"):
        prompt_of(name, 2)
