"""Special tokens that a tokenizer adds of its own accord: a checkpoint is scored and answers behind the ids it was trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface
from tokenizers import processors

from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.adapters.exact_scores import ExactScores
from harness.backbones import BackboneError
from harness.config import ConfigError
from harness.records import read_checkpoint
from tests.conftest import WORDS
from trainers.checkpoint import train_checkpoint
from trainers.encode import TEMPLATE, encode
from trainers.networks import load_tokenizer
from trainers.recipe import load_recipe

ADAPTERS: dict[str, Any] = {"decoder_it": Autoregressive, "mt0": EncoderDecoder}
PROMPT, TARGET = "say red blue", "green"


@pytest.fixture(scope="module", params=["<s> $A", "$A </s>"], ids=["opens", "closes"])
def adding(request, tokenizer, tmp_path_factory) -> Path:
    """The folder of a tokenizer that puts a token of its own before a text, or behind it."""
    folder = tmp_path_factory.mktemp("adding")
    tokenizer.save_pretrained(folder)
    made = load_tokenizer(str(folder))
    ids = [(token, made.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=request.param, special_tokens=ids)
    made.save_pretrained(folder)
    assert len(load_tokenizer(str(folder))(PROMPT)["input_ids"]) == 1 + len(tokenizer(PROMPT)["input_ids"])
    return folder


def trained(name: str, setting: str, adding: Path, folder: Path) -> Path:
    """A checkpoint of a mini recipe with the setting, after two steps."""
    rows = [{"inputs": f"say {a} {b}", "targets": b} for a in WORDS[:8] for b in WORDS[:8]]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(Path(f"trainers/recipes/mini/{name}.yaml"), steps=2)
    mixture = recipe.mixture.model_copy(update={"source": "jsonl", "files": (str(folder / "train.jsonl"),)})
    recipe = recipe.model_copy(update={"mixture": mixture, "prompt_special_tokens": setting})
    train_checkpoint(recipe, corpus=None, tokenizer_path=str(adding), out=folder / "checkpoint")
    return folder / "checkpoint"


@pytest.mark.parametrize("setting", ["none", "tokenizer"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_is_scored_and_answered_stands_behind_the_ids_of_training(name, setting, adding, tmp_path, monkeypatch):
    folder = trained(name, setting, adding, tmp_path)
    record = read_checkpoint(folder, verify=True)
    assert record.prompt_special_tokens == setting
    tokenizer = load_tokenizer(str(folder))
    example = encode(
        [{"inputs": PROMPT, "targets": TARGET}], tokenizer, record.template, 100, special_tokens=setting
    ).examples[0]
    assert list(example.prompt) == tokenizer(PROMPT, add_special_tokens=setting == "tokenizer")["input_ids"]
    added = [
        role for token, role in zip(example.prompt, example.roles, strict=True) if token in tokenizer.all_special_ids
    ]
    assert added == [TEMPLATE] * (setting == "tokenizer")

    model = ADAPTERS[name](pretrained=str(folder), batch_size=2)
    seen: list[tuple] = []
    stock: Any = huggingface.HFLM
    plain_scores, plain_answer = ExactScores.of, stock._model_generate
    monkeypatch.setattr(
        ExactScores, "of", lambda self, requests, *rest: seen.extend(requests) or plain_scores(self, requests, *rest)
    )
    request = Instance("loglikelihood", {}, (PROMPT, f" {TARGET}"), 0, metadata=("t", 0, 1))
    model.loglikelihood([request], disable_tqdm=True)
    assert tuple(seen[0][1]) == example.prompt and tuple(seen[0][2]) == example.target

    contexts: list[list[int]] = []

    def answer(self, context, max_length, stop, **settings):
        attend = settings["attention_mask"].bool()
        contexts.extend(row[kept].tolist() for row, kept in zip(context, attend, strict=True))
        return plain_answer(self, context, max_length, stop, **settings)

    monkeypatch.setattr(huggingface.HFLM, "_model_generate", answer)
    longer = f"{PROMPT} cat dog"
    asked = [
        Instance("generate_until", {}, (text, {"until": [], "max_gen_toks": 2}), i)
        for i, text in enumerate([PROMPT, longer])
    ]
    model.generate_until(asked, disable_tqdm=True)
    assert sorted(contexts, key=len)[0] == list(example.prompt) and len(contexts) == 2


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_checkpoint_that_is_not_ours_is_read_as_hf_does_it_unless_asked(name, adding, tmp_path):
    folder = trained(name, "none", adding, tmp_path)
    for ours in ("checkpoint.json", "recipe.yaml"):
        (folder / ours).unlink()
    stock_class: Any = huggingface.HFLM
    stock = stock_class(pretrained=str(folder), backend=ADAPTERS[name].backend_name, device="cpu", dtype="float32")
    mine, bare = (
        ADAPTERS[name](pretrained=str(folder)),
        ADAPTERS[name](pretrained=str(folder), prompt_special_tokens="none"),
    )
    assert mine._encode_pair(PROMPT, " green") == stock._encode_pair(PROMPT, " green")
    found, expected = mine.tok_batch_encode([PROMPT, "say"]), stock.tok_batch_encode([PROMPT, "say"])
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert bare._encode_pair(PROMPT, " green")[0] == stock.tok_encode(PROMPT, add_special_tokens=False)
    assert bare.identity()["prompt_special_tokens"] == "none" and "prompt_special_tokens" not in mine.identity()


def test_settings_that_cannot_be(checkpoints, tmp_path):
    with pytest.raises(BackboneError, match="prompt_special_tokens='some': expected none or tokenizer"):
        Autoregressive(pretrained=str(checkpoints["decoder_it"]), prompt_special_tokens="some")
    with pytest.raises(BackboneError, match="give one"):
        Autoregressive(pretrained=str(checkpoints["decoder_it"]), prompt_special_tokens="none", add_bos_token=True)
    masked = tmp_path / "masked.yaml"
    masked.write_text(
        Path("trainers/recipes/mini/instruct_xmlr.yaml").read_text() + "\nprompt_special_tokens: tokenizer\n"
    )
    with pytest.raises(ConfigError, match="a masked LM's layout sets its own"):
        load_recipe(masked)
