"""Readers of the benchmarks' own formats: what they accept, and one clear sentence for every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_files import COT, HUMANEVAL, SQUAD, json_lines, write_file, write_manifest

from harness import data
from harness.formats import direct_prompt
from harness.mirror import DataError


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    data._say_once.cache_clear()
    return tmp_path


def read(
    mirror: Path, name: str, lines: list[str], benchmark: str, subset: str, split: str, end: str = "\n"
) -> list[Any]:
    write_file(mirror, name, lines, end)
    write_manifest(mirror)
    return data.documents_of(benchmark, subset, split)


MMLU = "mmlu/test/anatomy_test.csv"


def mmlu(mirror: Path, lines: list[str], end: str = "\n") -> list[Any]:
    return read(mirror, MMLU, lines, "mmlu", "anatomy", "test", end)


def test_mmlu_with_letters_or_with_indices_and_any_line_ends(mirror):
    lines = ['"A ""quoted"" one, with', 'a second line\u2028and a third",a,"b, c",0,1e3,B']
    for end in ("\n", "\r\n"):
        (document,) = mmlu(mirror, lines, end)
        assert document["question"] == 'A "quoted" one, with\na second line\u2028and a third'
        assert document["choices"] == ["a", "b, c", "0", "1e3"] and document["answer"] == 1
    header = "question,choice0,choice1,choice2,choice3,answer"
    assert [row["answer"] for row in mmlu(mirror, [header, "q,a,b,c,d,3", "q,a,b,c,d,0"], "\r\n")] == [3, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q,a,b,c,A", "line 1: expected question, choice0.*; got 5 cells"),
        ("q,a,b,c,d,E", "line 1: the answer should be A-D or 0-3, got 'E'"),
        ("q,a,b,c,d,4", "the answer should be A-D or 0-3, got '4'"),
        ("q,a,b,c,d,", "the answer should be A-D or 0-3, got ''"),
        ('"q,a,b', "line 1: not a CSV with standard quoting"),
        ("q,a,,c,d,A", "'choices' should be a list of texts"),
    ],
)
def test_a_bad_mmlu_row_is_named(mirror, line, message):
    with pytest.raises(DataError, match=message):
        mmlu(mirror, [line])


def test_mgsm(mirror):
    found = read(mirror, "mgsm/mgsm_de.tsv", ["F?\t1,080", "G?\t-5", "H?\t3.0"], "mgsm", "de", "test")
    assert [row["answer"] for row in found] == ["1080", "-5", "3"]
    with pytest.raises(DataError, match="line 1: the answer should be a whole number, got 'zehn'"):
        read(mirror, "mgsm/mgsm_de.tsv", ["F?\tzehn"], "mgsm", "de", "test")


def test_bbh(mirror):
    write_file(mirror, "bbh/cot-prompts/snarks.txt", COT.split("\n"))
    example = {"input": "Q", "target": "(A)"}
    (document,) = read(mirror, "bbh/bbh/snarks.json", [json.dumps({"examples": [example]})], "bbh", "snarks", "test")
    assert document["cot_prompt"].startswith("Decide.") and document["task"] == "snarks"
    for text, message in [
        ('{"examples": [', "expected one JSON value .*truncated"),
        ("[]", "expected an object with a list `examples`, got list"),
        ('{"examples": [1]}', "expected objects, got int"),
    ]:
        with pytest.raises(DataError, match=message):
            read(mirror, "bbh/bbh/snarks.json", [text], "bbh", "snarks", "test")
    write_file(mirror, "bbh/cot-prompts/snarks.txt", ["no rule"])
    with pytest.raises(DataError, match="expected a canary line and a rule of dashes"):
        read(mirror, "bbh/bbh/snarks.json", [json.dumps({"examples": [example]})], "bbh", "snarks", "test")


def test_direct_prompts_keep_questions_and_bare_answers():
    cot = "Head.\n\nQ: One?\nA: Let's think.\nSo the answer is valid.\n\nQ: Two?\nA: Hm. So the answer is ] }."
    assert direct_prompt(cot) == "Head.\n\nQ: One?\nA: valid\n\nQ: Two?\nA: ] }"
    with pytest.raises(DataError, match="does not end in 'So the answer is"):
        direct_prompt("Q: One?\nA: I do not know")


def test_squad(mirror):
    name = "tydiqa_goldp/tydiqa.goldp.fi.dev.json"
    (document,) = read(mirror, name, [json.dumps(SQUAD)], "tydiqa", "fi", "validation")
    assert document["answers"] == ["in the valley near the river"] and document["question_id"] == "q1"
    with pytest.raises(DataError, match=r"expected SQuAD 1.1's layout, data\[paragraphs\[qas\]\]; no 'data'"):
        read(mirror, name, ["{}"], "tydiqa", "fi", "validation")


@pytest.mark.parametrize(
    ("name", "benchmark", "subset", "split", "row", "message"),
    [
        ("super_glue/RTE/val.jsonl", "rte", "en", "validation", {"label": "neutral"}, "label should be one of entailment, not_entailment"),
        ("super_glue/CB/val.jsonl", "cb", "en", "validation", {}, "label should be one of entailment, contradiction, neutral, got None"),
        ("anli/R1/dev.jsonl", "anli", "r1", "dev", {"label": "x"}, "label should be e, n or c, got 'x'"),
        ("diffusionllm_instruct/mgsm/0-shot/de.jsonl", "diffusionllm_mgsm", "de", "0-shot", {"inputs": "a"}, "expected inputs and targets, got inputs"),
        ("gigaword_p3/gigaword_TLDR.jsonl", "gigaword_p3", "TLDR", "train", {"prompt": "a"}, "expected prompt and completion, got prompt"),
        ("xlsum/welsh_test.jsonl", "xlsum", "welsh", "test", {"text": "a", "summary": ""}, "'summary' should be a text, got ''"),
    ],
)  # fmt: skip
def test_a_bad_json_row_is_named(mirror, name, benchmark, subset, split, row, message):
    with pytest.raises(DataError, match=message):
        read(mirror, name, [json.dumps(row)], benchmark, subset, split)


def test_rows_without_target_are_left_out_and_counted(mirror, caplog):
    rows = json_lines({"inputs": "a", "targets": "B"}, {"inputs": "b", "targets": " "})
    name = "diffusionllm_instruct/bbh-nlp/0-shot/validation/snarks.jsonl"
    assert len(read(mirror, name, rows, "diffusionllm_bbh_nlp", "snarks", "0-shot")) == 1
    assert "snarks.jsonl: 1 of 2 rows have no target and are left out." in caplog.text


def test_parallel_files_must_be_parallel(mirror):
    write_file(mirror, "wmt14_de_en/newstest2014.en.txt", ["one"])
    (document,) = read(mirror, "wmt14_de_en/newstest2014.de.txt", ["eins"], "wmt14", "de-en", "test")
    assert (document["text"], document["reference"]) == ("eins", "one")
    assert document["source"] == "mirror:wmt14_de_en/newstest2014.de.txt"
    with pytest.raises(DataError, match="2 lines, but 1 in the other language: not parallel"):
        read(mirror, "wmt14_de_en/newstest2014.de.txt", ["eins", "zwei"], "wmt14", "de-en", "test")
    write_file(mirror, "gigaword/test.title.txt", ["t", "u"])
    with pytest.raises(DataError, match="1 articles, but 2 titles beside them"):
        read(mirror, "gigaword/test.article.txt", ["a"], "gigaword", "en", "test")


def test_z_bench(mirror):
    header = "Prompt,任务类型,参考回答,GPT4"
    (document,) = read(
        mirror, "z_bench/common.samples.csv", [header, '"a\nb",`x`,,y'], "z_bench", "common", "test", "\r\n"
    )
    assert (document["question"], document["task_type"], document["reference"]) == ("a\nb", "x", "")
    for lines, message in [
        (["question,b,c"], "line 1: expected Prompt, 任务类型, 参考回答, …; got question, b, c"),
        ([header, "a,b"], "line 2: expected 4 cells, got 2"),
    ]:
        with pytest.raises(DataError, match=message):
            read(mirror, "z_bench/common.samples.csv", lines, "z_bench", "common", "test")


def test_a_truncated_archive_is_named(mirror):
    write_file(mirror, "humaneval/HumanEval.jsonl.gz", json_lines(HUMANEVAL))
    path = mirror / "humaneval/HumanEval.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-30])
    write_manifest(mirror)
    with pytest.raises(DataError, match="not a whole gzip file"):
        data.documents_of("humaneval", "python", "test")


# -- rows of the hub, which look otherwise
