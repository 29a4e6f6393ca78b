"""DeepSpeed's ZeRO on two processes of a CPU: the losses and the weights of one process (needs the extra `deepspeed`)."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.config import ConfigError
from trainers import commands
from trainers.recipe import TrainingSpec
from trainers.stages import optimiser_class

WIDE = 512  # ZeRO-3 leaves parameters of fewer than 100,000 numbers whole
installed = pytest.mark.skipif(
    find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed: pip install -c constraints.txt -e '.[deepspeed]'",
)


def test_a_missing_package_is_a_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--launch deepspeed3 needs DeepSpeed, which is not installed"):
        commands.launch("deepspeed3", 2, ["train"])


def test_adafactor_is_refused_where_its_rows_and_columns_would_be_lost(monkeypatch):
    training = TrainingSpec(steps=1, learning_rate=1e-3, optimiser="adafactor")
    assert optimiser_class(training) is not None
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="adafactor: DeepSpeed gives it flat pieces"):
        optimiser_class(training)


@installed
@pytest.mark.parametrize("stage", ["deepspeed2", "deepspeed3"])
def test_two_processes_train_the_weights_of_one(checkpoints, tmp_path, stage):
    root, recipe = checkpoints["mt0"].parent, tmp_path / "wide.yaml"
    wide = yaml.safe_load(Path("trainers/recipes/mini/decoder_it.yaml").read_text())
    wide["backbone"]["shape"]["hidden_size"] = WIDE
    recipe.write_text(yaml.safe_dump(wide))

    def train(out: Path, *more: str) -> tuple[list[float], dict[str, torch.Tensor]]:
        where = ["--corpus", str(root / "corpus"), "--tokenizer", str(root / "tokenizer"), "--out", str(out)]
        command = [sys.executable, "-m", "trainers", "train", str(recipe), "--steps", "3", *where, *more]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        losses = [float(row.split(",")[2]) for row in (out / "training.csv").read_text().split()[1:]]
        return losses, load_file(out / "model.safetensors")

    losses, weights = train(tmp_path / "one")
    again, pieced = train(tmp_path / "two", "--launch", stage, "--processes", "2")
    assert max(tensor.numel() for tensor in weights.values()) > 100_000
    assert again == pytest.approx(losses, rel=1e-5) and pieced.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.allclose(pieced[name], tensor, rtol=0, atol=1e-3), name
