"""Strict YAML: a wrong file is one sentence, with the nearest known name."""

from pathlib import Path

import pytest

from harness.config import ConfigError, Frozen, as_model, read_yaml, unknown
from harness.suites import Suite
from trainers.recipe import Recipe


class Inner(Frozen):
    learning_rate: float = 0.1


class Outer(Frozen):
    name: str
    parts: tuple[Inner, ...] = ()
    other: Inner | None = None


def test_unknown_keys_and_names_get_the_nearest(tmp_path):
    text = Path("trainers/recipes/mini/mt0.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text.replace("learning_rate", "learningrate"))
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        read_yaml(tmp_path / "a.yaml", Recipe)
    (tmp_path / "b.yaml").write_text(text.replace("name: seq2seq", "name: seq2sec"))
    with pytest.raises(ConfigError, match="Did you mean 'seq2seq'"):
        read_yaml(tmp_path / "b.yaml", Recipe)


@pytest.mark.parametrize(
    "content,sentence",
    [
        (b"- not\n- a mapping\n", "{}: expected a mapping of keys at the top, got list."),
        (b"name: \xff\n", "cannot read {}: 'utf-8' codec can't decode byte 0xff in position 6: invalid start byte."),
        (None, "cannot read {}: No such file or directory."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "file.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_yaml(path, Suite)
    assert str(raised.value) == sentence.format(path)


def test_what_is_not_yaml_says_where(tmp_path):
    (tmp_path / "file.yaml").write_text("name: [mini\n")
    with pytest.raises(ConfigError, match="file.yaml is not valid YAML: .*(?s:.)*line 2"):
        read_yaml(tmp_path / "file.yaml", Suite)


@pytest.mark.parametrize(
    "data,sentence",
    [
        ({"name": "a", "parts": [{"learningrate": 1}]}, "unknown key 'parts.0.learningrate', did you mean 'learning_rate'?"),
        ({"name": "a", "other": {"zzzz": 1}}, "unknown key 'other.zzzz'"),
        ({"name": "a", "other": {"learning_rate": "fast"}}, "other.learning_rate: Input should be a valid number, unable to parse string as a number (got 'fast')"),
        ({}, "name: Field required (got '{}')"),
        ({"name": "a", "nam": "b"}, "unknown key 'nam', did you mean 'name'?"),
    ],
)  # fmt: skip
def test_every_wrong_key_and_value_is_named(data, sentence):
    with pytest.raises(ConfigError) as raised:
        as_model(data, Path("file.yaml"), Outer)
    assert str(raised.value) == f"file.yaml: {sentence}"


def test_several_faults_stand_in_one_sentence_and_a_right_file_is_frozen():
    with pytest.raises(ConfigError, match="^f: name: Field required .*; unknown key 'x'$"):
        as_model({"x": 1}, Path("f"), Outer)
    right = as_model({"name": "a", "parts": [{}]}, Path("f"), Outer)
    assert right == Outer(name="a", parts=(Inner(),))
    with pytest.raises(ValueError, match="frozen"):
        right.name = "b"


def test_an_unknown_name_lists_the_known_ones():
    assert (
        unknown("task", "retel", ["xnli", "retell"])
        == "unknown task 'retel'. Did you mean 'retell'? Known: retell, xnli."
    )
    assert unknown("task", "zzz", []) == "unknown task 'zzz'. Known: none."
