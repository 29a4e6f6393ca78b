"""`ObjectiveTrainer`: a transformers Trainer whose loss is an objective's sums, divided once.

The network and the objective sit in one module, so that data-parallel wrappers see a single forward. Every step's
randomness comes from a generator seeded by (seed, step, process): nothing depends on global state or history.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from harness.progress import bar
from trainers.encode import Example
from trainers.mixture import BatchPlan
from trainers.objectives import Objective


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not a number."""


class ObjectiveModule(nn.Module):
    """A network and its objective as one forward: batch and seed in, loss out."""

    def __init__(self, network, objective: Objective, parameters: nn.Module):
        super().__init__()
        self.trained = parameters
        self._network, self._objective = (network,), (objective,)  # tuples: not registered twice

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings (NEFTune's hook goes here)."""
        return self.trained.get_input_embeddings()  # type: ignore[operator, return-value]

    def forward(self, batch: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
        """{"loss": loss_sum / weight_sum + extra}."""
        sums = self._objective[0].loss(self._network[0], batch, torch.Generator().manual_seed(seed))
        loss = sums.loss_sum / sums.weight_sum.clamp(min=torch.finfo(torch.float32).tiny)
        return {"loss": loss if sums.extra is None else loss + sums.extra}


class _Examples(Dataset):
    def __init__(self, examples: Sequence[Example]):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


class ObjectiveTrainer(Trainer):
    """A Trainer over an `ObjectiveModule` and a `BatchPlan`."""

    def __init__(self, module: ObjectiveModule, objective: Objective, plan: BatchPlan, seed: int, **arguments):
        super().__init__(model=module, **arguments)
        self.objective, self.plan, self.seed = objective, plan, seed
        self.loss_is_scaled_for_ga = False
        self.micro_batches = 0

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the plan, collated by the objective."""
        loader = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.plan,
            collate_fn=lambda examples: {"batch": self.objective.collate(examples)},
        )
        return self.accelerator.prepare(loader)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The module's loss, with this micro-batch's own seed; TrainingError when it is not a number."""
        seed = ((self.seed * 1_000_003 + self.micro_batches) * 1_009 + self.accelerator.process_index) % (2**63)
        self.micro_batches += 1
        outputs = model(batch=inputs["batch"], seed=seed)
        if not torch.isfinite(outputs["loss"]):
            raise TrainingError(
                f"the loss is {float(outputs['loss'])} at step {self.state.global_step + 1}: nothing was saved. "
                "Lower training.learning_rate, raise warmup_steps, or use dtype: float32."
            )
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


class _Bar(TrainerCallback):
    """A progress bar with the latest logged loss."""

    def __init__(self, what: str):
        self.what = what

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = bar(total=state.max_steps, what=self.what, unit="steps", quiet=not state.is_world_process_zero)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}", refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def run_training(
    module: ObjectiveModule,
    objective: Objective,
    examples: Sequence[Example],
    plan: BatchPlan,
    *,
    seed: int,
    what: str,
    **options,
) -> list[dict]:
    """Train in place; returns the Trainer's log history (step, loss, learning_rate).

    `options` are `TrainingArguments`; nothing is written to disk here.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, seed=seed, save_strategy="no", report_to="none", disable_tqdm=True,
            remove_unused_columns=False, logging_steps=max(1, options["max_steps"] // 50), log_level="error",
            use_cpu=not torch.cuda.is_available(), **options,
        )  # fmt: skip
        arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs need a launcher: DataParallel would miss the network
        trainer = ObjectiveTrainer(
            module, objective, plan, seed, args=arguments, train_dataset=_Examples(examples), callbacks=[_Bar(what)]
        )
        from transformers.trainer_callback import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


def optimiser_arguments(
    training, rate: float | None = None, steps: int | None = None, batch: int | None = None
) -> dict:
    """A recipe's training section as `TrainingArguments`."""
    total = steps or training.steps
    stable = training.schedule == "warmup_stable_decay"
    return {
        "max_steps": total,
        "lr_scheduler_kwargs": {"num_decay_steps": total // 5} if stable else None,
        "per_device_train_batch_size": batch or training.batch_size // training.accumulation,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": rate or training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": min(training.warmup_steps, total // 2),
        "weight_decay": training.weight_decay,
        "adam_beta1": training.beta1,
        "adam_beta2": training.beta2,
        "max_grad_norm": training.clip,
        "bf16": training.dtype == "bfloat16",
        "neftune_noise_alpha": training.neftune_alpha,
    }


def write_log(history: list[dict], path: Path) -> None:
    """The loss curve as CSV: stage, step, loss (nats per loss token), learning_rate."""
    rows = ["stage,step,loss,learning_rate"]
    rows += [f"{row['stage']},{row['step']},{row['loss']:.6f},{row.get('learning_rate', 0):.3e}" for row in history]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
