"""Which weights and which tokenizer a checkpoint was made of: special tokens by name, hub tokenizers, the hub's commit."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from harness.config import ConfigError
from harness.records import CheckpointRecord, read_checkpoint
from tests.conftest import WORDS
from trainers.checkpoint import train_checkpoint
from trainers.networks import load_tokenizer, tokenizer_of
from trainers.recipe import BackboneSpec, load_recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMED = {"eos": "</s>", "pad": "<pad>"}


@pytest.fixture
def train(tmp_path):
    """Two steps of a small decoder on a few rows, with a backbone's settings and a tokenizer."""
    rows = [{"inputs": f"say {word}", "targets": word} for word in WORDS * 4]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=2)
    mixture = recipe.mixture.model_copy(update={"source": "jsonl", "files": (str(tmp_path / "train.jsonl"),)})

    def run(tokenizer: str | None, **backbone) -> CheckpointRecord:
        spec = recipe.backbone.model_copy(update=backbone)
        made = recipe.model_copy(update={"mixture": mixture, "backbone": spec})
        return train_checkpoint(made, corpus=None, tokenizer_path=tokenizer, out=tmp_path / "out")

    return run


def nameless(tokenizer, folder: Path) -> Path:
    """A tokenizer that has `</s>` and `<pad>` in its vocabulary and does not say what they are for, as Galactica's."""
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained(folder)
    assert load_tokenizer(str(folder)).eos_token is None
    return folder


def test_a_tokenizer_that_names_no_eos_and_pad_is_told_them(tokenizer, train, tmp_path):
    folder = str(nameless(tokenizer, tmp_path / "nameless"))
    with pytest.raises(ConfigError, match="lacks a pad or eos token.*backbone.special_tokens"):
        train(folder)
    train(folder, special_tokens=NAMED)
    kept = load_tokenizer(str(tmp_path / "out"))
    assert (kept.eos_token, kept.pad_token) == ("</s>", "<pad>")
    with pytest.raises(ConfigError, match="special_tokens.eos: the tokenizer has no token '<end>'"):
        tokenizer_of(BackboneSpec(family="opt", special_tokens={"eos": "<end>"}), folder)


def test_galacticas_recipe_names_them():
    recipe = load_recipe(Path("trainers/recipes/systems/multilingual_instruct.yaml@galactica_6b7"))
    assert recipe.backbone.special_tokens == NAMED


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's cache; the function puts a folder there under a repository's name."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder: Path) -> str:
        where = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (where / "refs").mkdir(parents=True)
        (where / "refs" / "main").write_text(COMMIT)
        shutil.copytree(folder, where / "snapshots" / COMMIT)
        return name

    return put


def test_another_hub_tokenizer_is_another_recipe(tokenizer, train, hub, tmp_path):
    for name in ("one", "two"):
        tokenizer.save_pretrained(tmp_path / name)
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    file = tmp_path / "two" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"] = {"type": "Lowercase"}
    file.write_text(json.dumps(content))
    one = train(hub("toy/one", tmp_path / "one"))
    assert train("toy/one").finished == one.finished  # the same: nothing is done again
    two = train(hub("toy/two", tmp_path / "two"))
    assert two.recipe_id != one.recipe_id and two.corpus["tokenizer"] != one.corpus["tokenizer"]
    assert one.backbone_commit is None


def test_the_hubs_commit_is_recorded(checkpoints, train, hub, tmp_path):
    hub("toy/net", checkpoints["decoder_it"])
    record = train(None, pretrained="toy/net", family=None, shape={})
    assert record.backbone_commit == COMMIT
    assert read_checkpoint(tmp_path / "out", verify=True) == record
