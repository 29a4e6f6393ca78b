"""The stages of a training: the main one, then the length head's on a frozen network where the recipe has one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.backbones import SHIFT, MaskedBackbone, make_any_order
from harness.canvas import Layout
from harness.config import ConfigError
from trainers.assemble import Assembled, add_adapters, processes
from trainers.batches import BatchPlan, PackedPlan, Steps
from trainers.encode import Example
from trainers.module import ObjectiveModule
from trainers.objectives.length import LengthStage
from trainers.packing import row_ends
from trainers.recipe import LoraSpec, Recipe, TrainingSpec
from trainers.shards import TokenShards
from trainers.state import StateFolder, whole_weights
from trainers.trainer import run_training


def row_lengths(recipe: Recipe, examples: Sequence[Example]) -> np.ndarray:
    """Tokens of every example as batches are planned by: packed ones with the special tokens that they take in a row."""
    lengths = examples.lengths if isinstance(examples, TokenShards) else [len(example) for example in examples]
    layout = recipe.layout
    special = Layout(layout.name).overhead if layout else 1  # the end-of-sequence token
    return np.asarray(lengths, dtype=np.int32) + (special if recipe.training.packing else 0)


def batch_plan(training: TrainingSpec, lengths_N: np.ndarray, seed: int) -> BatchPlan:
    """The batches of a main stage whose `training` is settled."""
    assert training.steps is not None
    if training.packing:
        return PackedPlan(lengths_N, training.batch_size, training.steps, seed, training.max_length)
    return BatchPlan(lengths_N, training.batch_size, training.steps, seed, training.bucket_batches)


def rows_of(training: TrainingSpec, lengths_N: np.ndarray) -> int:
    """How many rows the examples make in the order given: packed ones, or one each."""
    room = training.max_length
    return len(row_ends(lengths_N[lengths_N <= room], room)) if training.packing else len(lengths_N)


class Stages:
    """A recipe's stages over its examples; `built` is trained in place."""

    def __init__(
        self,
        recipe: Recipe,
        built: Assembled,
        examples: Sequence[Example],
        states: StateFolder,
        report_to: str,
        logs: Path,
    ):
        self.recipe, self.built, self.examples, self.report_to = recipe, built, examples, report_to
        lengths_N = row_lengths(recipe, examples)
        rows = rows_of(recipe.training, lengths_N) if recipe.training.steps is None else 0  # an epoch's, for its steps
        self.training = recipe.training.settled(rows)
        self.plan = batch_plan(self.training, lengths_N, recipe.seed)
        self.states, self.logs = states, logs
        self.what = f"train {recipe.name} (seed {recipe.seed})"

    def train(self) -> list[dict]:
        """Main stage, then length stage where the recipe has one; the log rows of both."""
        two = self.recipe.length is not None and self.recipe.length.steps > 0
        built, training = self.built, self.training
        module = ObjectiveModule(built.reads, built.objective, built.trained)
        steps = Steps(
            self.examples, self.plan, built.objective, self.recipe.seed,
            accumulation=training.accumulation, micro_tokens=training.micro_tokens,
        )  # fmt: skip
        history = run_training(
            module, steps, seed=self.recipe.seed, what=self.what, states=self.states.stage("main"), keep_last=two, logs=self.logs / "main",
            optimiser=optimiser_class(training), report_to=self.report_to, **optimiser_arguments(training),
        )  # fmt: skip
        rows = [{"stage": "main", **row} for row in history]
        return rows + [{"stage": "length", **row} for row in self._train_length()] if two else rows

    def _train_length(self) -> list[dict]:
        spec, backbone, recipe = self.recipe.length, self.built.backbone, self.recipe
        assert spec is not None and backbone is not None
        weights = whole_weights(backbone.model, everywhere=True)
        if weights is not None:  # the main stage's shards are put together by its own forward only
            whole = unsharded(backbone.model, weights, self.recipe.training.lora).to(backbone.device)
            backbone = MaskedBackbone(whole, backbone.ids, backbone.layout, backbone.max_length, backbone.length_head)
            self.built = replace(self.built, network=whole, trained=whole, backbone=backbone, adapted=None)
        backbone.model.to(processes().device)  # where the main stage was finished earlier, nothing has moved it yet
        objective = LengthStage(backbone)
        backbone.model.requires_grad_(False)
        backbone.model.eval()  # frozen means without dropout, too
        head = backbone.length_head
        assert head is not None
        module = ObjectiveModule(backbone, objective, head)
        plan = BatchPlan(
            [len(e.prompt) for e in self.examples],
            spec.batch_size,
            spec.steps,
            recipe.seed + 1,
            recipe.training.bucket_batches,
        )
        steps = Steps(self.examples, plan, objective, recipe.seed, micro_tokens=recipe.training.micro_tokens)
        options = optimiser_arguments(self.training, rate=spec.learning_rate, steps=spec.steps, batch=spec.batch_size)
        options.update(neftune_alpha=None)
        return run_training(
            module, steps, seed=recipe.seed, what=f"{self.what}, length stage", states=self.states.stage("length"),
            logs=self.logs / "length", report_to=self.report_to, **options,
        )  # fmt: skip

    def seen(self) -> dict[str, int]:
        """Examples, tokens and loss tokens (of targets) that the main stage saw."""
        times = np.zeros(len(self.examples), dtype=np.int64)
        for step in self.plan:
            rows = itertools.chain.from_iterable(step) if self.training.packing else step  # type: ignore[arg-type]
            np.add.at(times, list(rows), 1)
        tokens = loss_tokens = 0
        for index in np.flatnonzero(times).tolist():  # one example in memory at a time
            example, count = self.examples[index], int(times[index])
            tokens += count * (len(example) + example.closed)
            loss_tokens += count * (len(example.target) + example.closed)
        return {"examples": int(times.sum()), "tokens": tokens, "loss_tokens": loss_tokens}


def unsharded(network, weights: dict, lora: LoraSpec | None = None):
    """A network like a sharded one, with its whole weights: transformers saves no sharded one.

    Adapters are folded in here, once they are whole: of a shard's empty pieces the sum would be the base model.
    """
    whole = type(network)(network.config)
    adapted = add_adapters(whole, lora) if lora else None
    whole.load_state_dict(weights, assign=True)
    whole.tie_weights()
    if adapted is not None:
        adapted.merge_and_unload()
    if getattr(network.config, SHIFT, False):
        make_any_order(whole)  # its modules were built causal, which flash attention goes by
    if network.can_generate():
        whole.generation_config = network.generation_config
    return whole


def optimiser_arguments(
    training, rate: float | None = None, steps: int | None = None, batch: int | None = None
) -> dict:
    """A recipe's training section as what `run_training` takes."""
    total = steps or training.steps
    stable = training.schedule == "warmup_stable_decay"
    return {
        "max_steps": total,
        "lr_scheduler_kwargs": {"num_decay_steps": total // 5} if stable else None,
        "per_device_train_batch_size": batch or training.batch_size,
        "learning_rate": rate or training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": min(training.warmup_steps, total // 2),
        "weight_decay": training.weight_decay,
        "adam_beta1": training.beta1,
        "adam_beta2": training.beta2,
        "adam_epsilon": training.epsilon,
        "max_grad_norm": training.clip,
        "bf16": training.dtype == "bfloat16",
        "neftune_alpha": training.neftune_alpha,
    }


def optimiser_class(training) -> tuple | None:
    """(class, arguments) of an optimiser that `TrainingArguments` cannot set up as its paper has it, else None.

    Raises:
        ConfigError: Adafactor under DeepSpeed, which hands optimisers flat pieces: its rows and columns would be lost.
    """
    if training.optimiser == "adamw":
        return None
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise ConfigError(
            "training.optimiser adafactor: DeepSpeed gives it flat pieces of the weights, without the rows and columns that "
            "it factors. Take adamw, or --launch ddp or fsdp2."
        )
    from transformers.optimization import Adafactor

    settings = {"scale_parameter": True, "relative_step": False, "warmup_init": False, "decay_rate": -0.8}
    return Adafactor, {"lr": training.learning_rate, "weight_decay": training.weight_decay, **settings}
