"""A training killed at any time goes on and ends with the same bytes; a full disk and a broken state are sentences."""

import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.records import RecordError, read_checkpoint
from tests.forked import Forked, free_port, join_processes
from tests.test_training import weights
from trainers.__main__ import main
from trainers.checkpoint import train_checkpoint
from trainers.module import ObjectiveModule
from trainers.recipe import load_recipe
from trainers.state import TENSORS, StateFolder, put_weights_back, tensors_of
from trainers.trainer import ObjectiveTrainer, TrainingError

STEPS = 12


def command(name: str, root: Path, out: Path) -> list[str]:
    recipe = f"trainers/recipes/mini/{name}.yaml"
    where = ["--corpus", str(root / "corpus"), "--tokenizer", str(root / "tokenizer"), "--out", str(out)]
    return ["trainers", "train", recipe, "--steps", str(STEPS), "--state-minutes", "0", *where]


def run_command(name: str, root: Path, out: Path, log: Path, largest_file: int | None = None) -> int:
    """The command line of a training in this process, its messages in a file."""
    sys.argv = command(name, root, out)
    sys.stderr = log.open("w")
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    return main()


def whole(name: str, root: Path, out: Path, **settings):
    recipe = load_recipe(Path(f"trainers/recipes/mini/{name}.yaml"), steps=STEPS)
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer")}
    return train_checkpoint(recipe, **where, out=out, **settings)


def test_a_killed_training_ends_with_the_same_bytes(checkpoints, tmp_path):
    # killed by SIGKILL once in the main stage and once in the length stage, each time as soon as a state is there
    root, out, log = checkpoints["diffusionllm"].parent, tmp_path / "killed", tmp_path / "log"
    whole("diffusionllm", root, tmp_path / "whole")
    for stage in ("main", "length"):
        running = Forked(run_command, "diffusionllm", root, out, log)
        wanted = tmp_path / "killed.training" / stage
        while not list(wanted.glob("step-00000000[2-9]")) and running.running():
            time.sleep(0.002)
        running.kill()
        assert running.wait() == -signal.SIGKILL, log.read_text()
        assert not out.exists()
    assert Forked(run_command, "diffusionllm", root, out, log).wait() == 0, log.read_text()
    assert weights(out) == weights(tmp_path / "whole")
    assert (out / "training.csv").read_bytes() == (tmp_path / "whole" / "training.csv").read_bytes()
    assert read_checkpoint(out).final_loss == read_checkpoint(tmp_path / "whole").final_loss
    assert {p.name for p in tmp_path.iterdir()} == {"killed", "whole", "log"}


class Stop(Exception):
    pass


def stopped(name: str, root: Path, out: Path, monkeypatch, step: int) -> None:
    """Train until the state of `step` is written, then break off."""
    import trainers.trainer as trainer

    real = trainer.write_state

    def write(where, at, *rest):
        real(where, at, *rest)
        if at == step:
            raise Stop

    monkeypatch.setattr(trainer, "write_state", write)
    with pytest.raises(Stop):
        whole(name, root, out, state_seconds=0)
    monkeypatch.setattr(trainer, "write_state", real)


@pytest.mark.parametrize("name", ["decoder_neftune", "mt0", "instruct_xmlr"])
def test_noise_and_generators_go_on_too(checkpoints, tmp_path, monkeypatch, name):
    root = checkpoints[name].parent
    stopped(name, root, tmp_path / "one", monkeypatch, 7)
    whole(name, root, tmp_path / "one")
    whole(name, root, tmp_path / "other")
    assert weights(tmp_path / "one") == weights(tmp_path / "other")


def test_a_damaged_state_is_passed_over_and_another_recipes_is_not_used(checkpoints, tmp_path, monkeypatch):
    root = checkpoints["mt0"].parent
    stopped("mt0", root, tmp_path / "one", monkeypatch, 7)
    main = tmp_path / "one.training" / "main"
    assert sorted(p.name for p in main.iterdir()) == ["step-000000006", "step-000000007"]
    file = main / "step-000000007" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-9] + b"corrupted")
    (tmp_path / "kept").mkdir()
    shutil.copytree(tmp_path / "one.training", tmp_path / "kept" / "one.training")
    identity = json.loads((main / "step-000000006" / "state.json").read_text())["identity"]
    newest = StateFolder(main, identity).newest()
    assert newest is not None and newest.name == "step-000000006"
    whole("mt0", root, tmp_path / "one")
    whole("mt0", root, tmp_path / "other")
    assert weights(tmp_path / "one") == weights(tmp_path / "other")
    assert StateFolder(tmp_path / "kept" / "one.training" / "main", "another recipe").newest() is None
    assert not (tmp_path / "kept" / "one.training" / "main").exists()


def test_states_of_a_finished_training_go_and_anothers_stay(checkpoints, tmp_path, monkeypatch):
    # a kill between the seal of the checkpoint and the end leaves the run's states behind
    root, out = checkpoints["decoder_it"].parent, tmp_path / "one"
    left = tmp_path / "one.training" / "main" / "step-000000007"
    stopped("decoder_it", root, out, monkeypatch, 7)
    shutil.copytree(tmp_path / "one.training", tmp_path / "kept")
    whole("decoder_it", root, out)
    assert not left.exists()
    shutil.copytree(tmp_path / "kept", tmp_path / "one.training")
    seconds = read_checkpoint(out).seconds
    assert whole("decoder_it", root, out).seconds == seconds and not (tmp_path / "one.training").exists()
    shutil.copytree(tmp_path / "kept", tmp_path / "one.training")
    seal = json.loads((left / "state.json").read_text())
    (left / "state.json").write_text(json.dumps(seal | {"identity": "another recipe"}))
    assert whole("decoder_it", root, out).seconds == seconds and left.exists()


def test_a_full_disk_is_a_sentence_and_the_state_before_it_is_intact(checkpoints, tmp_path):
    # a limit on file sizes stands for the full disk: the system refuses the write in the same place
    root, out, log = checkpoints["decoder_it"].parent, tmp_path / "full", tmp_path / "log"
    assert Forked(run_command, "decoder_it", root, out, log, 40_000).wait() == 2
    assert "cannot write the state of step 1 " in log.read_text() and "Traceback" not in log.read_text()
    assert not out.exists() and not list((tmp_path / "full.training" / "main").iterdir())
    assert whole("decoder_it", root, out).steps == STEPS


def test_an_unwritable_folder_is_found_before_training(checkpoints, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write"):
        whole("decoder_it", checkpoints["decoder_it"].parent, tmp_path / "file" / "out")


def test_a_loss_that_is_not_a_number_leaves_the_last_good_state(checkpoints, tmp_path):
    root = checkpoints["mt0"].parent
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"), steps=30)
    training = recipe.training.model_copy(update={"learning_rate": 1e30, "clip": 0.0, "warmup_steps": 0})
    wild = recipe.model_copy(update={"training": training})
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": tmp_path / "wild"}
    with pytest.raises(TrainingError, match="nothing more was saved"):
        train_checkpoint(wild, **where, state_seconds=0)
    states = sorted((tmp_path / "wild.training" / "main").glob("step-*"))
    assert states and all(os.path.exists(state / "state.json") for state in states) and not (tmp_path / "wild").exists()
    for state in states:
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(state / TENSORS).values()), state


def infinite_gradient(monkeypatch, step: int) -> None:
    """From here on, the gradient of a step (counted from 1) has an infinite number, its loss not."""
    real = ObjectiveTrainer.training_step

    def training_step(self, model, *arguments, **settings):
        loss = real(self, model, *arguments, **settings)
        if self.state.global_step + 1 == step:
            next(model.parameters()).grad.view(-1)[0] = float("inf")
        return loss

    monkeypatch.setattr(ObjectiveTrainer, "training_step", training_step)


def test_an_infinite_gradient_leaves_the_last_good_state(checkpoints, tmp_path, monkeypatch):
    root, out = checkpoints["decoder_it"].parent, tmp_path / "one"
    with monkeypatch.context() as patched:
        infinite_gradient(patched, 5)
        with pytest.raises(TrainingError, match="weights are not finite after step 5.*nothing more was saved"):
            whole("decoder_it", root, out, state_seconds=0)
    assert sorted(p.name for p in (tmp_path / "one.training" / "main").iterdir()) == [
        "step-000000003",
        "step-000000004",
    ]
    whole("decoder_it", root, out)
    whole("decoder_it", root, tmp_path / "other")
    assert weights(out) == weights(tmp_path / "other")


def test_an_infinite_gradient_of_the_last_step_is_not_sealed(checkpoints, tmp_path, monkeypatch):
    infinite_gradient(monkeypatch, STEPS)
    with pytest.raises(TrainingError, match=f"weights are not finite after step {STEPS}"):
        whole("decoder_it", checkpoints["decoder_it"].parent, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_every_process_stops_when_the_loss_of_one_is_not_a_number(checkpoints, tmp_path):
    root = checkpoints["decoder_it"].parent

    def train(rank: int) -> int:
        join_processes(rank, 2, port)
        real = ObjectiveModule.forward
        ObjectiveModule.forward = lambda self, *given, **named: (
            real(self, *given, **named) * (1 if rank else float("nan"))
        )  # type: ignore[method-assign]
        try:
            whole("decoder_it", root, tmp_path / "out")
        except TrainingError as error:
            return 10 + ("in another process" in str(error))
        return 0

    port = free_port()
    assert [child.wait() for child in [Forked(train, rank) for rank in range(2)]] == [10, 11]


def test_a_state_of_another_number_of_processes_is_refused(checkpoints, tmp_path, monkeypatch):
    root, out = checkpoints["decoder_it"].parent, tmp_path / "one"
    stopped("decoder_it", root, out, monkeypatch, 7)
    seal = tmp_path / "one.training" / "main" / "step-000000007" / "state.json"
    seal.write_text(json.dumps(json.loads(seal.read_text()) | {"processes": 8}))
    with pytest.raises(RecordError, match=r"written by 8 process\(es\), and this training has 1"):
        whole("decoder_it", root, out)
    assert seal.is_file()


def test_a_state_without_a_trained_weight_is_refused(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self, renamed: bool = False):
            super().__init__()
            self.embeddings, self.output, self.frozen = (torch.nn.Linear(2, 2, bias=False) for _ in range(3))
            self.output.weight = self.embeddings.weight
            self.frozen.requires_grad_(False)
            self.add_module("mlp" if renamed else "ffn", torch.nn.Linear(2, 3))

    module, other = Tied(), Tied()
    tensors, _ = tensors_of(module, torch.optim.SGD([p for p in module.parameters() if p.requires_grad]))
    assert len(tensors) == 3  # tied weights once, frozen ones not
    save_file(tensors, tmp_path / TENSORS)
    put_weights_back(tmp_path, other)
    assert torch.equal(other.output.weight, module.embeddings.weight) and torch.equal(other.ffn.bias, module.ffn.bias)  # type: ignore[union-attr]
    with pytest.raises(RecordError, match=r"lacks 2 of the weights that are trained \(mlp.weight, mlp.bias"):
        put_weights_back(tmp_path, Tied(renamed=True))


def test_what_is_not_installed_is_not_blamed_on_a_tracker(checkpoints, tmp_path, monkeypatch):
    def missing(*_arguments, **_settings):
        raise ImportError("package x is needed")

    monkeypatch.setattr("trainers.trainer.ObjectiveTrainer", missing)
    with pytest.raises(TrainingError, match="^package x is needed$"):
        whole("decoder_it", checkpoints["decoder_it"].parent, tmp_path / "one")
