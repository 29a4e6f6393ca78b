"""The embedded suite's tokenizer: a word is one token wherever it stands, and any text survives."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from trainers.networks import train_tokenizer


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizer")
    texts = ["The girl sees the boy. the girl", "女孩在花园里看见男孩。", "7 girls, 12 boys"] * 50
    train_tokenizer(texts, 400, out, ["女孩", "男孩", "在花园里"])
    return AutoTokenizer.from_pretrained(out)


def ids(words, text):
    return words(text, add_special_tokens=False)["input_ids"]


def test_a_word_is_the_same_token_at_the_start_and_inside(words):
    assert ids(words, "girl")[0] in ids(words, "the girl") and ids(words, "girl") == ids(words, " girl")
    assert ids(words, "女孩") == ids(words, " 女孩") and ids(words, "女孩")[0] in ids(words, "看见女孩。")
    assert len(ids(words, "在花园里")) == 1  # a word of the lexicon, though longer words hold it


def test_a_prompt_and_its_answer_are_cut_where_their_texts_are(words):
    for prompt, answer in (("The girl sees", " the boy"), ("女孩看见", " 男孩"), ("7 girls and", " 12")):
        assert ids(words, prompt + answer) == ids(words, prompt) + ids(words, answer.strip())


@pytest.mark.parametrize(
    "text", ["The girl sees 12 boys.", "女孩看见男孩。", "naïve façade – 3½ €", "a\nb", "…", "x  y"]
)
def test_any_text_survives(words, text):
    assert words.decode(ids(words, text)) == text


def test_digits_and_unknown_han_characters_stand_alone(words):
    assert len(ids(words, "12")) == 2
    assert [words.decode([i]) for i in ids(words, "看见女孩")] == ["看", "见", "女孩"]


def test_tokens_on_the_way_to_a_word_are_dropped(words):
    kept = set(words.get_vocab())
    assert {"Ġgirl", "Ġgirls", "Ġthe"} <= kept and not {"Ġg", "Ġgi", "Ġgir"} & kept
    assert len(ids(words, "the girls")) == 2 and len(ids(words, "girlish")) > 2


def test_a_corpus_is_encoded_once(tmp_path, tokenizer, monkeypatch):
    """The second training reads what the first has encoded; another length is encoded anew, a changed file refused."""
    from harness.config import ConfigError
    from trainers import encoded
    from trainers.recipe import load_recipe

    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"))
    lines = [{"inputs": f"say {n} words", "targets": "red " * (n + 1)} for n in range(9)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "manifest.json").write_text("{}")
    calls, plain = [], encoded.encode
    monkeypatch.setattr(encoded, "encode", lambda *given: calls.append(1) or plain(*given))
    first = encoded.file_examples(recipe, tmp_path, tokenizer)
    assert encoded.file_examples(recipe, tmp_path, tokenizer) == first and len(calls) == 1 and len(first) == 9
    assert isinstance(first[0].prompt[0], int) and all(e.closed for e in first)
    shorter = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_length": 12})})
    assert len(encoded.file_examples(shorter, tmp_path, tokenizer)) < 9 and len(calls) == 2
    for path in (tmp_path / "encoded").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConfigError, match="was changed"):
        encoded.file_examples(recipe, tmp_path, tokenizer)
