"""Training end to end at toy size: same seed, same bytes; nothing half-written; NaN is an error."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records import read_checkpoint
from trainers.checkpoint import train_checkpoint
from trainers.recipe import LoraSpec, load_recipe


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
        (["ls", "nowhere"], "nowhere holds no recipe"),
        (["speed", "--repeats", "0"], "'0': expected a whole number of at least 1"),
        (["mixture-speed", "--rows", "-5"], "'-5': expected a whole number of at least 1"),
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


def test_what_a_tracker_writes_outlives_the_training(checkpoints, tmp_path, monkeypatch):
    # TensorBoard writes into the Trainer's output folder; its callback stands here for it
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    class Events(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            with open(Path(args.output_dir) / "events", "a") as file:
                file.write(f"{args.run_name} {state.global_step}\n")

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Events)
    root = checkpoints["diffusionllm"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/diffusionllm.yaml"), steps=2)
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "one"}
    train_checkpoint(recipe, **where, report_to="tensorboard")
    main, length = ((tmp_path / "one.logs" / stage / "events").read_text().split("\n") for stage in ("main", "length"))
    assert main[:2] == ["train diffusionllm (seed 0) 1", "train diffusionllm (seed 0) 2"]
    assert length[0] == "train diffusionllm (seed 0), length stage 1"


def test_a_tracker_that_is_not_wholly_installed_is_a_sentence(checkpoints, tmp_path, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from trainers.trainer import TrainingError

    class Broken(TrainerCallback):
        def __init__(self):
            raise ModuleNotFoundError("No module named 'half_of_it'")

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "trackio", Broken)
    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/mt0.yaml"), steps=2)
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "one"}
    with pytest.raises(TrainingError, match="--report-to trackio: No module named 'half_of_it'"):
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
