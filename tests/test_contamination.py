"""Planted overlaps are found: whole and lightly edited copies, in languages with and without spaces; twins follow."""

import json
import random

import pytest

from harness.config import ConfigError
from trainers.contamination import Overlap, compare, grams, items_of, items_of_files, training_texts, words_of
from trainers.mixture import build
from trainers.recipe import MixtureSpec
from trainers.sources import SourceSpec

VOCABULARY = [f"w{i}" for i in range(3000)]


def text(rng: random.Random, size: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=size))


def test_words_are_letters_and_single_han_characters():
    assert words_of("Don't STOP, 42!") == ["don", "t", "stop", "42"]
    assert words_of("我爱 Python 3") == ["我", "爱", "python", "3"]
    assert len(list(grams(list("abcdef"), 3))) == 4 and len(list(grams(["a"], 3))) == 1 and not list(grams([], 3))


def test_planted_duplicates_are_found_and_nothing_else():
    rng = random.Random(0)
    items = {f"item{i}": text(rng, 40) for i in range(200)}
    rows = [text(rng, 120) for _ in range(300)]
    planted = [f"item{i}" for i in range(100)]
    for place, name in enumerate(planted):
        rows[place] = f"{text(rng, 30)} {items[name]} {text(rng, 30)}"
    found = compare(items, rows)
    assert sum(found[name].exact for name in planted) == 100
    assert not any(found[f"item{i}"].exact or found[f"item{i}"].near for i in range(100, 200))


def test_near_duplicates_are_found_without_a_shared_13_gram():
    rng = random.Random(1)
    items = {f"item{i}": text(rng, 240) for i in range(100)}
    rows = []
    for name in items:
        words = items[name].split()
        for place in range(6, 240, 12):
            words[place] = "other"
        rows.append(" ".join(words))
    # 20 of 240 words differ: 100 of 236 5-grams, similarity about 136/336
    found = compare(items, rows, threshold=0.3, permutations=256)
    assert not any(f.exact for f in found.values()) and sum(f.near > 0 for f in found.values()) >= 99
    assert sum(f.near for f in found.values()) / 100 == pytest.approx(136 / 336, abs=0.03)


def test_short_items_count_only_as_a_whole_and_are_not_held_against_rows():
    overlap = Overlap({"short": "the cat sat", "long": " ".join(VOCABULARY[:20])}, 13)
    assert overlap.found("yes the cat sat down") == {"short"} and not overlap.found("the cat has sat")
    assert not overlap.overlaps("yes the cat sat down") and overlap.overlaps(" ".join(VOCABULARY[3:18]))


def test_a_translation_of_a_found_item_is_not_clean():
    items = {
        "en": " ".join(VOCABULARY[:15]),
        "zh": "我们今天下午三点在图书馆门口见面吧好不好",
        "fr": " ".join(VOCABULARY[50:70]),
    }
    found = compare(items, ["注意：我们今天下午三点在图书馆门口见面吧好不好。"], twins=[("en", "zh")])
    assert found["zh"].exact and not found["zh"].twin and found["en"].twin and not found["en"].exact
    assert not found["en"].clean and found["fr"].clean


def test_items_are_records_documents_of_samples_or_rows(tmp_path):
    plain = tmp_path / "nli.jsonl"
    plain.write_text(
        '{"inputs": "Is it so?", "targets": "yes", "id": "nli/0", "split": "test"}\n{"q": "a b", "c": ["d"]}\n'
    )
    assert list(items_of(plain)) == [("nli.jsonl:1", "Is it so? yes"), ("nli.jsonl:2", "a b d")]
    samples = tmp_path / "xnli_en" / "samples.jsonl"
    samples.parent.mkdir()
    samples.write_text('{"doc_id": 7, "doc": {"premise": "It is.", "label": 1}, "resps": [["a model wrote this"]]}\n')
    assert list(items_of(samples)) == [("xnli_en:7", "It is.")]


def test_every_part_of_a_training_row_is_compared(tmp_path):
    """An item may stand in Alpaca's input or in an earlier turn of a dialogue as well as in the question."""
    item = " ".join(f"word{i}" for i in range(15))
    turns = [
        {"role": role, "content": text}
        for role, text in [("user", item), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ]
    rows = {"alpaca": {"instruction": "a", "input": item, "output": "b"}, "messages": {"messages": turns}}
    for form, row in rows.items():
        (tmp_path / f"{form}.jsonl").write_text(json.dumps(row) + "\n")
        texts = [*training_texts(tmp_path / f"{form}.jsonl", form)]
        assert compare({"item": item}, texts)["item"].exact
        source = {"name": "s", "format": form, "files": [str(tmp_path / f"{form}.jsonl")]}
        guard = str(tmp_path / "guard.jsonl")
        (tmp_path / "guard.jsonl").write_text(json.dumps({"question": item}) + "\n")
        spec = MixtureSpec(source="sources", sources=(SourceSpec(**source),), guard=(guard,))
        with pytest.raises(ConfigError, match="nothing is left to train on .shares text with evaluation: 1"):
            build(spec, tmp_path / f"{form}-mixture")


def test_what_cannot_be_compared_is_a_sentence(tmp_path):
    for name, text in [("en", "red"), ("de", "rot")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text(json.dumps({"q": text}) + "\n")
    files = [tmp_path / name / "test.jsonl" for name in ("en", "de")]
    with pytest.raises(ConfigError, match=r"two items are called test.jsonl:1, one of them in .*de/test.jsonl"):
        items_of_files(files)
    assert items_of_files([files[0], files[0]]) == {"test.jsonl:1": "red"}
    with pytest.raises(ConfigError, match=r"row 1: not a row of format xp3 \(no key 'inputs'\)"):
        list(training_texts(files[0], "xp3"))
    with pytest.raises(ConfigError, match="unknown format 'alpacca'. Did you mean 'alpaca'"):
        training_texts(files[0], "alpacca")
    (tmp_path / "odd.jsonl").write_text("3\n")
    with pytest.raises(ConfigError, match="row 1: expected an object with texts, got 3"):
        items_of_files([tmp_path / "odd.jsonl"])
