"""Toy tokenizers and networks for tests: tiny, seeded, without network access."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

WORDS = "red blue green cat dog sun moon tree house fish yes no maybe one two three".split()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A byte-level BPE tokenizer of ours, trained on a few words (it appends no special tokens)."""
    from trainers.networks import load_tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    words = WORDS + [f"{a}{b}x" for a in "bdfgklmnprs" for b in "aeiou"]
    words = words[: 330 - 261]  # beside the special tokens and all bytes: 330 tokens
    size = train_tokenizer([" ".join(words[i:] + words[:i]) for i in range(len(words))] * 20, 900, folder)
    assert size == 330
    return load_tokenizer(str(folder))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub: a server on this machine, with an empty cache of its client; ANYORDER_DATA is not set."""
    from hub_server import Hub

    server = Hub(monkeypatch, tmp_path / "hub-cache")
    yield server
    server.stop()


def special(tokenizer):
    """The special ids of a tokenizer."""
    from harness.loading import special_ids

    return special_ids("toy", tokenizer)


# ModernBERT: a layer that sees all, then one that sees four tokens to either side
WINDOWS = dict(local_attention=8, global_attn_every_n_layers=2, cls_token_id=0, sep_token_id=2)


def masked_network(tokenizer, seed: int = 0, family: str = "xlm-roberta-xl"):
    """A random masked LM whose answers depend on its context."""
    from trainers.networks import build_network
    from trainers.recipe import BackboneSpec

    shape = dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=100
    )
    shape |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0) if family != "modernbert" else WINDOWS
    return build_network(
        BackboneSpec(family=family, shape=shape, initializer_std=0.5), "masked", tokenizer, seed
    ).eval()


def pass_widths(backbone, monkeypatch) -> list[int]:
    """Tokens per row of every forward pass from now on; the list grows as passes are made."""
    plain, widths = backbone.model.base_model.forward, []

    def forward(**arguments):
        widths.append(arguments["input_ids"].shape[1])
        return plain(**arguments)

    monkeypatch.setattr(backbone.model.base_model, "forward", forward)
    return widths


@pytest.fixture(scope="session")
def network(tokenizer):
    """A random masked LM."""
    return masked_network(tokenizer)


@pytest.fixture(scope="session", params=["joint", "isolated"])
def backbone(request, network, tokenizer):
    """A random masked LM in both layouts, with a length head."""
    from harness.backbones import MaskedBackbone
    from harness.canvas import Layout
    from harness.lengths import make_length_head

    layout = Layout(request.param, target_position=0 if request.param == "isolated" else None)
    head = make_length_head("pooled_embedding", 16, 20)
    return MaskedBackbone(network, special(tokenizer), layout, max_length=96, length_head=head)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tokenizer):
    """Checkpoint folders made by the real trainer in a few steps: {system: folder} for all mini recipes."""
    import json
    import random
    from pathlib import Path

    from trainers.checkpoint import train_checkpoint
    from trainers.recipe import load_recipe

    root = tmp_path_factory.mktemp("checkpoints")
    corpus = root / "corpus"
    corpus.mkdir()
    rng = random.Random(0)
    with open(corpus / "train.jsonl", "w", encoding="utf-8") as file:
        for _ in range(400):
            words = [rng.choice(WORDS) for _ in range(rng.randint(1, 4))]
            record = {"inputs": "say " + " ".join(words), "targets": " ".join(words), "language": "en", "task": "copy"}
            file.write(json.dumps({**record, "template": "t", "split": "train"}) + "\n")
    (corpus / "manifest.json").write_text("{}", encoding="utf-8")
    tokenizer.save_pretrained(root / "tokenizer")
    folders = {}
    for path in sorted(Path("trainers/recipes/mini").glob("*.yaml")):
        recipe = load_recipe(path, steps=3)
        folders[recipe.name] = root / recipe.name
        train_checkpoint(recipe, corpus=corpus, tokenizer_path=str(root / "tokenizer"), out=root / recipe.name)
    return folders
