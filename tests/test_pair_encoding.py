"""Pair encoding of masked adapters with tokenizers of other families, which add special tokens of their own."""

from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.adapters.base import Tally
from harness.adapters.encoding import RequestEncoder
from harness.canvas import Layout

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
WORDS = ["the", "cat", "sat", "yes", "no", "maybe"]


def bert_like() -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS, *(f"##{word}" for word in WORDS)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    pieces = [(token, 0.0) for token in SPECIAL] + [("▁", -9.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(word, -4.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def llama_like() -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS, *(f"▁{word}" for word in WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return tokenizer


FAMILIES = {
    "bert": (bert_like, "<s> $A </s>"),
    "xlm-r": (sentencepiece_like, "<s> $A </s>"),
    "t5": (sentencepiece_like, "$A </s>"),
    "llama": (llama_like, "<s> $A"),
}


@pytest.fixture(params=sorted(FAMILIES))
def encoder(request) -> RequestEncoder:
    """With a tokenizer of the family, and no network."""
    make, template = FAMILIES[request.param]
    backend = make()
    ids = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    names = ("pad", "bos", "eos", "unk", "mask")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)}
    )
    ids = SimpleNamespace(mask=tokenizer.mask_token_id, bos=tokenizer.bos_token_id)
    backbone: Any = SimpleNamespace(layout=Layout(), max_length=12, ids=ids)
    return RequestEncoder(backbone, tokenizer, Tally())


def encoded(encoder, context: str, continuation: str):
    return encoder.pairs([Instance("loglikelihood", {}, (context, continuation), 0, ("task", 0, 1))])[0]


@pytest.mark.parametrize("word", ["yes", "no", "maybe"])
def test_a_one_word_target_is_one_token_and_never_a_special_one(encoder, word):
    item = encoded(encoder, "the cat sat", f" {word}")
    (token,) = item.target
    assert encoder.tokenizer.convert_ids_to_tokens(token).strip("▁") == word
    assert [encoder.tokenizer.convert_ids_to_tokens(t).strip("▁") for t in item.prompt] == ["the", "cat", "sat"]


def test_no_token_of_a_pair_is_lost_and_none_is_added(encoder):
    item = encoded(encoder, "the cat ", "sat maybe")  # a space at the context's end belongs to the target
    words = [encoder.tokenizer.convert_ids_to_tokens(t).strip("▁") for t in [*item.prompt, *item.target]]
    assert words == ["the", "cat", "sat", "maybe"] and len(item.target) == 2
    assert not {*item.prompt, *item.target} & set(encoder.tokenizer.all_special_ids)


def test_a_long_context_loses_its_beginning_only(encoder):
    item = encoded(encoder, "the cat " * 10 + "sat", " yes")
    words = [encoder.tokenizer.convert_ids_to_tokens(t).strip("▁") for t in item.prompt]
    assert words[-3:] == ["the", "cat", "sat"] and len(item.prompt) + 1 + 2 == 12 and encoder.tally.truncated == 1
