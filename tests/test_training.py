"""Training end to end at toy size: same seed, same bytes; nothing half-written; NaN is an error."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from harness.config import ConfigError
from harness.records import read_checkpoint
from tests.test_objectives import LLAMA
from trainers.assemble import assemble
from trainers.checkpoint import train_checkpoint
from trainers.encode import Example
from trainers.networks import build_network, load_tokenizer
from trainers.recipe import BackboneSpec, LoraSpec, ObjectiveSpec, load_recipe
from trainers.stages import Stages, unsharded
from trainers.state import StateFolder


def weights(folder: Path) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.glob("*.safetensors")))).hexdigest()


@pytest.mark.parametrize("name", ["decoder_neftune", "instruct_xmlr", "diffusionllm"])
def test_the_same_seed_gives_the_same_bytes(checkpoints, tmp_path, name):
    first = checkpoints[name]
    root = first.parent
    record = read_checkpoint(first)
    recipe = load_recipe(Path(f"trainers/recipes/mini/{name}.yaml"), steps=3)
    arguments = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer")}
    again = train_checkpoint(recipe, **arguments, out=tmp_path / "again")
    assert again.recipe_id == record.recipe_id and weights(tmp_path / "again") == weights(first)
    other = recipe.model_copy(update={"seed": 1})
    train_checkpoint(other, **arguments, out=tmp_path / "other")
    assert weights(tmp_path / "other") != weights(first)


def test_a_finished_checkpoint_is_left_alone_and_another_recipe_replaces_it(checkpoints, tmp_path):
    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/mt0.yaml"), steps=2)
    arguments = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "one"}
    first = train_checkpoint(recipe, **arguments)
    assert train_checkpoint(recipe, **arguments) == first
    assert train_checkpoint(recipe.model_copy(update={"seed": 3}), **arguments).seed == 3
    assert {p.name for p in tmp_path.iterdir()} == {"one"}


def test_records_say_what_was_trained(checkpoints):
    records = {name: read_checkpoint(folder, verify=True) for name, folder in checkpoints.items()}
    assert len({r.tokens for r in records.values()}) == 1  # matched training tokens
    cores = [r.parameters_without_embeddings for r in records.values()]
    assert max(cores) / min(cores) < 1.25  # matched parameters outside embeddings
    head = {"kind": "transformer", "classes": 64, "heads": 4, "inner": 256, "probe": 8}
    assert records["diffusionllm"].length_head == head
    assert records["instruct_xmlr"].canvas == "isolated" and records["decoder_im"].canvas == "causal"


def test_a_loss_that_is_not_a_number_stops_training(checkpoints, tmp_path):
    from trainers.trainer import TrainingError

    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=30)
    wild = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"learning_rate": 1e30, "clip": 0.0, "warmup_steps": 0})}
    )
    with pytest.raises(TrainingError, match="learning_rate"):
        train_checkpoint(wild, corpus=root / "corpus", tokenizer_path=str(root / "tokenizer"), out=tmp_path / "wild")
    assert not (tmp_path / "wild").exists()


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["train", "nothing.yaml", "--out", "x"], "cannot read nothing.yaml"),
        (["train", "trainers/recipes/mini/mt0.yaml", "--out", "x"], "--corpus DIR"),
        (["train", "trainers/recipes/mini/mt0.yaml", "--corpus", "tests", "--out", "x"], "not finished"),
        (
            ["plan", "trainers/recipes/mini/mt0.yaml", "--tokenizer", "nowhere"],
            "cannot load a tokenizer from 'nowhere'",
        ),
        (["ls", "nowhere"], "nowhere holds no recipe"),
        (["speed", "--repeats", "0"], "expected a whole number from 1 on; got 0"),
        (["mixture-speed", "--rows", "-5"], "expected a whole number from 1 on; got -5"),
        (["contamination", "nowhere", "--items", "README.md"], "README.md, line 1: not JSON"),
        (["tokenizer", "--corpus", "tests", "--vocabulary", "10", "--out", "x"], "at least 300"),
    ],
)
def test_bad_commands_get_one_line(arguments, sentence):
    done = subprocess.run([sys.executable, "-m", "trainers", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert not Path("x").exists()


def test_a_corpus_of_an_earlier_version_is_a_sentence(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"inputs": "a", "targets": "b"}\n')
    (tmp_path / "manifest.json").write_text('{"schema_version": 1}')
    command = [sys.executable, "-m", "trainers", "tokenizer", "--corpus", str(tmp_path), "--out", str(tmp_path / "t")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "a corpus of version 1" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_is_no_checkpoint_is_not_replaced(checkpoints, tmp_path):
    from harness.records import RecordError

    root = checkpoints["mt0"].parent
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    recipe = load_recipe(Path("trainers/recipes/mini/mt0.yaml"), steps=2)
    with pytest.raises(RecordError, match="would be replaced"):
        train_checkpoint(recipe, corpus=root / "corpus", tokenizer_path=str(root / "tokenizer"), out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_accumulation_logs_a_loss_and_keeps_the_step_count(checkpoints, tmp_path):
    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=2)
    training = recipe.training.model_copy(update={"accumulation": 4})
    record = train_checkpoint(
        recipe.model_copy(update={"training": training}),
        corpus=root / "corpus",
        tokenizer_path=str(root / "tokenizer"),
        out=tmp_path / "accumulated",
    )
    assert record.examples == 2 * 32 and 0 < record.final_loss < 20


def test_trackers_get_a_named_run_per_stage_whose_files_stay(checkpoints, tmp_path, monkeypatch):
    """A fake in place of TensorBoard's callback, which reads its folder from the same variable when it is made."""
    told = []

    class Tracker(TrainerCallback):
        def __init__(self):
            self.folder = os.environ["TENSORBOARD_LOGGING_DIR"]

        def on_train_begin(self, args, state, control, **kwargs):
            told.append((Path(self.folder).relative_to(tmp_path).as_posix(), args.run_name))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    root = checkpoints["mt0"].parent
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "report_to": "tensorboard"}
    recipe = load_recipe(Path("trainers/recipes/mini/diffusionllm.yaml"), steps=2)
    train_checkpoint(recipe, **where, out=tmp_path / "one")
    name = "train diffusionllm (seed 0)"
    assert told == [("one.logs/main", name), ("one.logs/length", f"{name}, length stage")]
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "mine"))
    train_checkpoint(load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=2), **where, out=tmp_path / "two")
    assert told[2][0] == "mine"


def test_what_was_seen_is_counted_example_by_example(checkpoints):
    """Against the plan itself, over more than one epoch, loose and packed."""
    for training in ({"steps": 7}, {"steps": 3, "packing": True, "max_length": 40}):
        recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"))
        settings = {"batch_size": 4, **training}
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=settings)})
        examples = [Example(tuple(range(9, 10 + i)), (5,) * (1 + i % 3), (1,) * (1 + i)) for i in range(12)]
        stages = Stages(recipe, None, examples, None, "none", None)  # type: ignore[arg-type]
        indices = [i for step in stages.plan for i in step]
        if recipe.training.packing:
            indices = [i for row in indices for i in row]  # type: ignore[union-attr]
        seen = [examples[i] for i in indices]
        assert stages.seen() == {
            "examples": len(seen),
            "tokens": sum(len(e.prompt) + len(e.target) + 1 for e in seen),
            "loss_tokens": sum(len(e.target) + 1 for e in seen),
        }
        assert len(seen) > len(examples)


def test_a_tracker_that_is_not_wholly_installed_is_a_sentence(checkpoints, tmp_path, monkeypatch):
    from trainers.trainer import TrainingError

    class Broken(TrainerCallback):
        def __init__(self):
            raise ModuleNotFoundError("No module named 'half_of_it'")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Broken)
    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/mt0.yaml"), steps=2)
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "one"}
    with pytest.raises(TrainingError, match="--report-to .*trackio.*: No module named 'half_of_it'"):
        train_checkpoint(recipe, **where, report_to="trackio")


def test_adapters_that_are_folded_in_are_not_counted(checkpoints, tmp_path):
    root = checkpoints["decoder_it"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=2)
    lora = recipe.training.model_copy(update={"lora": LoraSpec(rank=4)})
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "lora"}
    record = train_checkpoint(recipe.model_copy(update={"training": lora}), **where)
    plain = read_checkpoint(checkpoints["decoder_it"])
    assert record.parameters == plain.parameters
    assert record.parameters_without_embeddings == plain.parameters_without_embeddings


def test_a_length_stage_that_begins_alone_has_its_network_on_the_device(checkpoints, tmp_path, monkeypatch):
    """As after a kill in the length stage: nothing has moved the network, for the main stage was over."""
    tokenizer = load_tokenizer(str(checkpoints["diffusionllm"].parent / "tokenizer"))
    recipe = load_recipe(Path("trainers/recipes/mini/diffusionllm.yaml"), steps=2)
    examples, devices = [Example((9, 10, 11), (12, 13), (1, 1, 1))] * 80, []

    def noted(module, _steps, **_options):
        devices.append(next(module._network[0].model.parameters()).device.type)
        return []

    monkeypatch.setattr("trainers.stages.run_training", noted)
    monkeypatch.setattr("trainers.stages.processes", lambda: SimpleNamespace(device=torch.device("meta")))
    Stages(recipe, assemble(recipe, tokenizer), examples, StateFolder(tmp_path, "x"), "none", tmp_path).train()
    assert devices == ["cpu", "meta"]  # the main stage's Trainer, faked here, moves what it trains by itself


def test_a_decoder_made_a_masked_lm_is_one_after_unsharding(tokenizer):
    spec = BackboneSpec(family="llama", shape=LLAMA, initializer_std=0.3, decoder=True)
    network = build_network(spec, "masked", tokenizer, 0).eval()
    whole = unsharded(network, network.state_dict()).eval()
    # flash attention, which gets no mask, goes by the modules alone
    assert [m.is_causal for m in whole.modules() if hasattr(m, "is_causal")] == [False]
    tokens_1T = torch.arange(20, 30).unsqueeze(0)
    assert torch.equal(whole.base_model(tokens_1T)[0], network.base_model(tokens_1T)[0])


@pytest.mark.parametrize("objective", [("masked", {"length_weight": 0.0}), ("diffusion", {})])
def test_a_length_head_that_nothing_trains_is_refused(checkpoints, objective):
    tokenizer = load_tokenizer(str(checkpoints["instruct_xmlr"].parent / "tokenizer"))
    recipe = load_recipe(Path("trainers/recipes/mini/instruct_xmlr.yaml"))
    name, settings = objective
    idle = recipe.model_copy(update={"objective": ObjectiveSpec(name=name, settings=settings)})
    with pytest.raises(ConfigError, match="nothing would train the head.*length.steps"):
        assemble(idle, tokenizer)


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize(
    "attention,sentence",
    [
        (
            "flash_attention_2",
            r"backbone.attention: flash_attention_2 cannot be had \(It needs a package.\); install it, or",
        ),
        ("auto", "backbone: the network of '.*' needs a package: It needs a package."),
    ],
)
def test_a_package_that_is_not_installed_is_one_sentence(
    checkpoints, tokenizer, monkeypatch, loaded, attention, sentence
):
    from transformers import PreTrainedModel

    def absent(self, *_, **__):
        raise ImportError("It needs a package.\nMore about it.")

    monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", absent)
    given = {"pretrained": str(checkpoints["decoder_it"])} if loaded else {"family": "llama", "shape": LLAMA}
    spec = BackboneSpec.model_validate({**given, "attention": attention})
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        build_network(spec, "causal", tokenizer, 0)
