"""Documents from mirror, hub and corpus: the same columns, and one clear sentence for every fault."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from shared_files import REAL, needs_real
from small_files import (
    STORY_LINES,
    XCOPA_ROWS,
    XNLI_LINES,
    winograd_line,
    write_file,
    write_manifest,
    write_mirror,
)

from harness import data
from harness.catalogue import BENCHMARKS
from harness.mirror import DataError, token_spans


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    data._say_once.cache_clear()
    return tmp_path


def documents_of(benchmark: str, language: str, split: str) -> list[Any]:
    return list(data.load(benchmark=benchmark, subset=language, split=split)[split])


def xnli(language: str = "en") -> list[Any]:
    return documents_of("xnli", language, "validation")


# -- mirror


def test_a_benchmark_of_two_files_needs_both(mirror, tmp_path):
    write_mirror(mirror)
    name, other = "snarks", "bbh/cot-prompts/snarks.txt"
    assert data.in_mirror(BENCHMARKS["bbh"], mirror, name, "test")
    (mirror / other).unlink()
    assert not data.in_mirror(BENCHMARKS["bbh"], mirror, name, "test")
    with pytest.raises(DataError, match=f"there is no {mirror / other}: copy"):
        documents_of("bbh", name, "test")
    assert "snarks" not in data.subsets_of(BENCHMARKS["bbh"], data.ALL, "test")


def test_xnli_keeps_other_line_separators_and_reads_crlf(mirror):
    odd = 'A\u2028B \u0085 C\tIt is "quoted.\tneutral'
    write_file(mirror, "xnli/dev-en.tsv", [*XNLI_LINES, odd], end="\r\n")
    write_manifest(mirror)
    documents = xnli()
    assert [document["label"] for document in documents] == [0, 1, 2, 1]
    assert documents[3]["premise"] == "A\u2028B \u0085 C" and documents[3]["hypothesis"] == 'It is "quoted.'
    assert documents[3]["id"] == "xnli/en/validation/3" and documents[3]["source"] == "mirror:xnli/dev-en.tsv"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only\ttwo", r"dev-en.tsv, line 4: expected 3 columns \(premise, hypothesis, label\), got 2"),
        ("a\tb\tperhaps", "line 4: label should be one of entailment, neutral, contradiction, got 'perhaps'"),
        ("a\t \tneutral", "item 4: 'hypothesis' should be a text, got ' '"),
        ("premise\thypothesis\tlabel", "line 4: label should be one of"),
    ],
)
def test_a_bad_line_is_named(mirror, line, message):
    write_file(mirror, "xnli/dev-en.tsv", [*XNLI_LINES, line])
    write_manifest(mirror)
    with pytest.raises(DataError, match=message):
        xnli()


def test_bytes_that_are_not_utf8_are_named(mirror):
    path = write_file(mirror, "xnli/dev-en.tsv", XNLI_LINES)
    path.write_bytes(path.read_bytes() + b"caf\xe9\tb\tneutral\n")
    write_manifest(mirror)
    with pytest.raises(DataError, match="line 4: expected UTF-8, got byte 0xe9"):
        xnli()


def test_a_truncated_file_is_refused(mirror):
    path = write_file(mirror, "xnli/dev-en.tsv", XNLI_LINES)
    with pytest.raises(DataError, match=r"3 rows, expected 2490 \(truncated\?\)"):
        xnli()
    write_manifest(mirror)
    assert len(xnli()) == 3
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is not the file that .*MANIFEST.tsv lists"):
        xnli()


def test_a_subset_is_said_once(mirror, caplog):
    for language in ("en", "de"):
        write_file(mirror, f"xnli/dev-{language}.tsv", XNLI_LINES)
    write_manifest(mirror)
    with caplog.at_level(logging.WARNING):
        assert len(xnli("en")) == len(xnli("de")) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "XNLI: the mirror has 3 of the published 2490 items; scores are not comparable with published ones."
    ]


def test_a_damaged_manifest_is_named(mirror):
    write_file(mirror, "xnli/dev-en.tsv", XNLI_LINES)
    write_file(mirror, "MANIFEST.tsv", ["file\tsum", "a\tb"])
    with pytest.raises(DataError, match="MANIFEST.tsv, line 1: expected columns path, rows, bytes, sha256"):
        xnli()


def test_xcopa_rows(mirror):
    write_mirror(mirror)
    documents = documents_of("xcopa", "et", "test")
    kept = [{name: document[name] for name in XCOPA_ROWS[0]} for document in documents]
    assert kept == list(XCOPA_ROWS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"premise": "a", "choi', "val.et.jsonl, line 1: expected a JSON object, got .* \\(truncated"),
        ("[1]", "line 1: expected a JSON object, got list"),
        ('{"premise": "a"}', "item 1: no column choice1, choice2, label, question; there are premise"),
        (json.dumps({**XCOPA_ROWS[0], "label": None}), "'label' should be one of 0, 1, got 'None'"),
    ],
)
def test_a_bad_json_line_is_named(mirror, line, message):
    write_file(mirror, "xcopa/et/val.et.jsonl", [line])
    write_manifest(mirror)
    with pytest.raises(DataError, match=message):
        data.load(benchmark="xcopa", subset="et", split="validation")


def test_xstorycloze_rows(mirror):
    write_mirror(mirror)
    document = documents_of("xstorycloze", "ru", "eval")[0]
    assert document["input_sentence_2"] == "It leaked." and document["sentence_quiz2"] == "It floated."
    assert document["answer_right_ending"] == 2


def test_xstorycloze_needs_its_header(mirror):
    name = BENCHMARKS["xstorycloze"].mirror_file("ru", "eval")
    write_file(mirror, name, STORY_LINES[1:])
    with pytest.raises(DataError, match="line 1: expected the header InputStoryid, "):
        data.load(benchmark="xstorycloze", subset="ru", split="eval")


# -- XWinograd's conversion


def winograd(mirror, *lines, language="en"):
    write_file(mirror, "xwinograd/dataset.tsv", lines)
    write_manifest(mirror)
    return documents_of("xwinograd", language, "test")


def test_the_blank_is_at_the_token_span_not_at_the_first_match(mirror):
    sentence = 'Ann said "he" because he saw it.'
    tokens = ["Ann", "said", "``", "he", "''", "because", "he", "saw", "it", "."]
    line = winograd_line("en", sentence, tokens, (6, 7), [("Ann", False), (" Bob ", True)])
    (document,) = winograd(mirror, line)
    assert document["sentence"] == 'Ann said "he" because _ saw it.'
    assert (document["option1"], document["option2"], document["answer"]) == ("Ann", "Bob", "2")


def test_languages_without_spaces(mirror):
    tokens, options = ["犬", "は", "猫", "を見た。", "彼", "は寝た。"], [("犬", True), ("猫", False)]
    line = winograd_line("jp", "犬は猫を見た。彼は寝た。", tokens, (4, 5), options)
    (document,) = winograd(mirror, line, language="jp")
    assert document["sentence"] == "犬は猫を見た。_は寝た。" and document["answer"] == "1"


def test_spans_skip_white_space_only():
    assert token_spans("do n't  go.", ["do", "n't", "go", "."]) == [(0, 2), (3, 6), (8, 10), (10, 11)]


def test_rows_that_make_no_question_are_counted(mirror, caplog):
    tokens = ["He", "ran", "."]
    good = winograd_line("en", "He ran.", tokens, (0, 1), [("Al", True), ("Bo", False)])
    both = winograd_line("en", "He ran.", tokens, (0, 1), [("Al", True), ("Bo", True)])
    other = winograd_line("en", "She ran.", tokens, (0, 1), [("Al", True), ("Bo", False)])
    with caplog.at_level(logging.WARNING):
        assert len(winograd(mirror, both, good, other, both)) == 1
    said = [message for message in caplog.messages if "left out" in message]
    assert len(said) == 2 and "2 rows of" in said[0] and "not exactly one right candidate" in said[0]
    assert "1 rows of" in said[1] and "do not spell the sentence" in said[1]
    with pytest.raises(DataError, match="no usable rows in 'en'"):
        winograd(mirror, both)


@pytest.mark.parametrize("cell", ['[["Al", [0, 1]', '[["Al"], ["Bo"]]', "5"])
def test_damaged_candidates_are_named(mirror, cell):
    line = winograd_line("en", "He ran.", ["He", "ran", "."], (0, 1), [("Al", True), ("Bo", False)])
    with pytest.raises(DataError, match="dataset.tsv, line 1: expected JSON lists tokens, pronoun"):
        winograd(mirror, line.rsplit("\t", 1)[0] + "\t" + cell)


# -- names, and never a fallback


def test_unknown_names_list_the_nearest(mirror):
    with pytest.raises(DataError, match="unknown benchmark 'xnly'. Did you mean 'xnli'"):
        data.load(benchmark="xnly", subset="en", split="validation")
    with pytest.raises(DataError, match="XNLI: unknown language 'xx'.* Known: all, ar, bg"):
        data.load(benchmark="xnli", subset="xx", split="validation")
    with pytest.raises(DataError, match="XNLI: unknown split 'train'"):
        data.load(benchmark="xnli", subset="en", split="train")


def test_the_mirror_never_falls_back_to_the_hub(hub, mirror, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(mirror))
    with pytest.raises(
        DataError, match="XNLI: no validation documents in 'bg' in the mirror, there is no .*dev-bg.tsv: unset"
    ):
        xnli("bg")
    assert hub.asked == []


def test_a_mirror_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match="ANYORDER_DATA=.*none is not a folder"):
        xnli()


def test_no_benchmark_has_a_column_that_every_document_gets():
    ours = {
        "id",
        "source",
        "source_id",
        "language",
        "template",
        "inputs",
        "gold",
        "options",
        "n_skipped",
        "role",
        "samples",
    }
    clashes = {name: ours & set(spec.columns) for name, spec in BENCHMARKS.items()}
    prompted = ("inputs",)  # files that hold prompts call them so
    assert all(set(found) <= set(prompted) for found in clashes.values())


# -- the real files, where they are at hand


@needs_real
@pytest.mark.parametrize("language", BENCHMARKS["xwinograd"].subsets)
def test_real_winograd_blanks_give_back_the_sentence(monkeypatch, language):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    documents = documents_of("xwinograd", language, "test")
    raw = [line.split("\t") for line in (REAL / "xwinograd/dataset.tsv").read_bytes().decode().split("\n")]
    rows = [row for row in raw if row[0] == language]
    for document, row in zip(documents, rows, strict=True):
        pronoun, candidates = json.loads(row[5])[0], json.loads(row[6])
        assert document["sentence"].count("_") == 1
        assert document["sentence"].replace("_", pronoun) == row[3]
        assert candidates[int(document["answer"]) - 1][3] is True
