"""Losses per example and role: sums of the objectives' own losses, batch-independent, log V on equal logits."""

import json
import math
from dataclasses import replace

import pytest

from harness.backbones import BackboneError
from harness.config import ConfigError
from tests.conftest import special
from tests.test_exact_sums import EXAMPLES
from tests.test_objectives import LLAMA, MT5, loss_of, objective_of, zeroed
from tests.test_recipes import TOY
from trainers.__main__ import main
from trainers.losses import load, losses, overlap_with_training, write
from trainers.networks import build_network
from trainers.recipe import BackboneSpec


def network_of(tokenizer, family, shape, kind):
    return build_network(BackboneSpec(family=family, shape=shape, initializer_std=0.3), kind, tokenizer, 0).eval()


def test_roles_add_up_to_the_objectives_losses(tokenizer):
    network = network_of(tokenizer, "llama", LLAMA, "causal")
    found = losses(network, EXAMPLES, pad=tokenizer.pad_token_id, eos=tokenizer.eos_token_id, batch_size=3)
    for settings, roles in [({}, ["output"]), ({"instruction_loss": True}, ["instruction", "output"])]:
        objective = objective_of("causal", tokenizer, **settings)
        total, tokens = (sum(getattr(loss, part)[r] for loss in found for r in roles) for part in ("nats", "tokens"))
        assert total / tokens == pytest.approx(loss_of(objective, network, objective.collate(EXAMPLES)), rel=1e-5)
    alone = losses(network, EXAMPLES[:1], pad=tokenizer.pad_token_id, eos=tokenizer.eos_token_id)[0]
    assert alone.mean("output") == pytest.approx(found[0].mean("output"), rel=1e-5)
    assert found[0].tokens == {"instruction": 1, "template": 1, "output": 3}  # 3 prompt tokens, the first unpredicted


def test_encoder_decoders_have_output_loss(tokenizer):
    network = network_of(tokenizer, "mt5", MT5, "seq2seq")
    found = losses(network, EXAMPLES, pad=tokenizer.pad_token_id, eos=tokenizer.eos_token_id)
    objective = objective_of("seq2seq", tokenizer, normalise="example")
    mean = sum(loss.mean("output") for loss in found) / len(found)
    assert mean == pytest.approx(loss_of(objective, network, objective.collate(EXAMPLES)), rel=1e-5)


def test_the_bound_is_log_vocabulary_on_equal_logits_and_does_not_depend_on_the_batch(backbone, tokenizer):
    ids = special(tokenizer)
    found = losses(backbone, EXAMPLES, pad=ids.pad, eos=ids.eos, batch_size=2)
    again = losses(backbone, EXAMPLES, pad=ids.pad, eos=ids.eos, batch_size=8)
    assert [loss.nats["output"] for loss in found] == pytest.approx([loss.nats["output"] for loss in again], rel=1e-5)
    from tests.conftest import masked_network

    saved, head = backbone.model, backbone._head
    equal = type(backbone)(zeroed(masked_network(tokenizer)), ids, backbone.layout, 96)
    for loss in losses(equal, EXAMPLES, pad=ids.pad, eos=ids.eos):
        assert loss.mean("output") == pytest.approx(math.log(len(tokenizer)), rel=1e-5)
    assert backbone.model is saved and backbone._head is head


@pytest.mark.parametrize("name", ["decoder_it", "mt0", "diffusionllm"])
def test_checkpoints_of_every_kind_are_measured(checkpoints, tmp_path, name):
    loaded = load(str(checkpoints[name]))
    found = losses(loaded.network, EXAMPLES, pad=loaded.tokenizer.pad_token_id, eos=loaded.tokenizer.eos_token_id)
    write(found, tmp_path / "losses.csv")
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert len(lines) == 1 + len(EXAMPLES) and "output_nats" in lines[0]


def test_overlap_has_known_answers():
    same = ["the red cat sat on the mat today", "two dogs ran home in the rain"]
    assert overlap_with_training(same, same) == pytest.approx(100.0)
    assert overlap_with_training(["a b c d e", "f g h i j"], same) < 1
    assert overlap_with_training(["red", "blue cat", "dog"], ["red", "blue cat", "fish"]) == pytest.approx(200 / 3)


MADE = {
    "causal": ("llama", LLAMA), "seq2seq": ("mt5", MT5),
    "masked": ("xlm-roberta", {**TOY["xlm-roberta"], "max_position_embeddings": 32}),
}  # fmt: skip


def losses_of(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["trainers", "losses", *map(str, arguments)])
    return main()


@pytest.mark.parametrize("objective", MADE)
def test_anybodys_checkpoint_is_measured_on_any_format(objective, tokenizer, tmp_path, monkeypatch, capsys):
    family, shape = MADE[objective]
    network_of(tokenizer, family, shape, objective).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    rows = [{"instruction": "say red", "input": "", "output": "red " * n} for n in (1, 5000, 3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = [
        tmp_path / "plain",
        "--records",
        tmp_path / "rows.json",
        "--format",
        "alpaca",
        "--out",
        tmp_path / "l.csv",
    ]
    assert losses_of(monkeypatch, *command) == 2 and "--objective causal, seq2seq" in capsys.readouterr().err
    command += ["--objective", objective, "--template", "alpaca", "--device", "cpu"]
    assert losses_of(monkeypatch, *command) == (0 if objective != "masked" else 2)
    said = capsys.readouterr()
    if objective == "masked":  # Alpaca's preamble alone is longer than its positions
        assert "none of 3 records fits 27 tokens" in said.err
        assert losses_of(monkeypatch, *command[:-4], "--device", "cpu") == 0
        said = capsys.readouterr()
    assert ("1 longer than" in said.out) == (objective != "seq2seq"), said.out
    numbers = [line.split(",")[0] for line in (tmp_path / "l.csv").read_text().splitlines()[1:]]
    assert numbers == (["0", "1", "2"] if objective == "seq2seq" else ["0", "2"])
    assert losses_of(monkeypatch, *command[:-4], "--template", "alpacca") == 2
    assert "Did you mean 'alpaca'" in capsys.readouterr().err


def test_checkpoints_of_ours_are_read_as_in_training(checkpoints, tmp_path, monkeypatch, capsys):
    long = {"inputs": "say red", "targets": "red " * 400}
    loaded = load(str(checkpoints["diffusionllm"]))
    assert loaded.room == 160 and loaded.encode([long]).too_long == 1
    cutting = replace(loaded, too_long="cut_end").encode([long])
    assert len(cutting.examples[0]) == 160
    with pytest.raises(ConfigError, match="says itself"):
        load(str(checkpoints["diffusionllm"]), "diffusion")
    with pytest.raises(BackboneError, match="nowhere"):
        load(str(tmp_path / "nowhere"))
