"""The embedded suite's tokenizer: a word is one token wherever it stands, and any text survives."""

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
