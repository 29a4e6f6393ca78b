"""`ObjectiveTrainer`: a transformers Trainer whose loss is an objective's sums, divided once.

A step's batch, noise and weights are made as a whole (`trainers.batches`) and its pieces only add up: 1 × 8 rows, 8 × 1
rows and 8 processes give the same gradient. `trainers.state` makes a killed run go on with the same bytes.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState

from harness.progress import bar
from harness.records import RecordError
from trainers.batches import Steps
from trainers.finite import everywhere, finite_weights
from trainers.module import ObjectiveModule
from trainers.neftune import neftune
from trainers.state import (
    TRAINER,
    StateFolder,
    gathered,
    generators,
    put_back,
    put_generators_back,
    put_weights_back,
    read_state,
    tensors_of,
    write_state,
)

LOST = "nothing more was saved. Lower training.learning_rate, raise warmup_steps, or use dtype: float32."
MEASURED_STEPS = 10  # after so many steps it is known how many fit between two states


class TrainingError(RuntimeError):
    """Training cannot go on: the loss or a weight is not a number, or what it needs is not installed."""


class ObjectiveTrainer(Trainer):
    """A Trainer over an `ObjectiveModule` and its `Steps`."""

    def __init__(self, module: ObjectiveModule, steps: Steps, states: StateFolder | None, **arguments):
        super().__init__(model=module, train_dataset=steps, **arguments)
        if self.is_deepspeed_enabled:  # its engine holds weights and moments in pieces of its own
            self.remove_callback(_Save)
        steps.deal(self.accelerator.process_index, self.accelerator.num_processes)
        self.states, self._returning = states, None

    def get_train_dataloader(self) -> DataLoader:
        """One item a step, the same on every process but for the pieces it holds; never dealt out by accelerate."""
        order = [[step] for step in range(len(self.train_dataset))]  # type: ignore[arg-type]
        workers = 2 if torch.cuda.is_available() else 0
        return DataLoader(self.train_dataset, batch_sampler=order, collate_fn=_only, num_workers=workers)  # type: ignore[arg-type]

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Forward and backward over this process's pieces; TrainingError, in every process, when the loss is not a number."""
        del num_items_in_batch
        if self._returning is not None:
            self._return_to_state()
        model.train()
        inputs = self._prepare_inputs(inputs)
        processes, total = self.accelerator.num_processes, torch.zeros((), device=self.args.device)
        for number, batch in enumerate(inputs["parts"], 1):
            last = number == len(inputs["parts"])
            self.accelerator.gradient_state._set_sync_gradients(last)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = (
                        model(batch=batch, weights_K=inputs["weights"]) * processes
                    )  # gradients are averaged over them
                self.accelerator.backward(loss)
            total = total + loss.detach()
        if not everywhere(torch.isfinite(total)):
            found = "not finite in another process" if torch.isfinite(total) else float(total)
            raise TrainingError(f"the loss is {found} at step {self.state.global_step + 1}: {LOST}")
        return total

    def check_weights(self) -> None:
        """TrainingError, in every process, when a weight is no number: such a network is never written."""
        if not finite_weights(self.model):  # type: ignore[arg-type]
            raise TrainingError(
                f"weights are not finite after step {self.state.global_step}, though the loss was (an infinite gradient): {LOST}"
            )

    # --- the state of an unfinished run: the Trainer asks at these places, trainers.state answers

    def _save_checkpoint(self, model, trial) -> None:
        assert self.states is not None
        self.check_weights()
        tensors, groups = tensors_of(self.model, self.optimizer)  # type: ignore[arg-type]
        running: torch.Tensor = self._tr_loss  # type: ignore[assignment]
        own = generators() | {"loss": running.detach().cpu().reshape(1)}
        for rank, values in enumerate(gathered(own)):
            tensors |= {f"rank{rank}/{name}": value for name, value in values.items()}
        if self.is_world_process_zero():
            facts = {
                "param_groups": groups,
                "scheduler": self.lr_scheduler.state_dict(),  # type: ignore[union-attr]
                "last_logged": self._globalstep_last_logged,
                "processes": self.accelerator.num_processes,
            }
            write_state(self.states, self.state.global_step, tensors, facts, self.state)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        put_weights_back(Path(resume_from_checkpoint), model or self.model)  # type: ignore[arg-type]

    def _load_optimizer_and_scheduler(self, checkpoint) -> None:
        if checkpoint is not None:
            tensors, facts, own = read_state(Path(checkpoint), self.accelerator.process_index)
            _check_processes(facts["processes"], self.accelerator.num_processes, Path(checkpoint))
            put_back(tensors, facts["param_groups"], self.model, self.optimizer)  # type: ignore[arg-type]
            self.lr_scheduler.load_state_dict(facts["scheduler"])  # type: ignore[union-attr]
            self._returning = facts, own

    def _load_rng_state(self, checkpoint) -> None:
        """Done by the first step: what lies between would draw from the generators again."""

    def _return_to_state(self) -> None:
        facts, own = self._returning  # type: ignore[misc]
        self._returning = None
        self._globalstep_last_logged = facts["last_logged"]
        if "loss" in own:
            self._tr_loss += own.pop("loss")[0].to(self._tr_loss.device)
            put_generators_back(own)


def _check_processes(before: int, now: int, state: Path) -> None:
    """RecordError: dropout and NEFTune draw from generators of every process, and the state holds those of `before`."""
    if before != now:
        raise RecordError(
            f"{state} was written by {before} process(es), and this training has {now}: its noise would be another. Start it with "
            f"{before} again, or remove {state.parent} to train from the beginning."
        )


def _only(items: list) -> dict:
    return items[0]


class _Save(TrainerCallback):
    """Asks for a state every so many seconds, at steps that all processes agree on."""

    def __init__(self, states: StateFolder, last_one_too: bool):
        self.states, self.last_one_too, self.every = states, last_one_too, 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.first, self.started = state.global_step, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        done = state.global_step - self.first
        if self.states.seconds <= 0:
            self.every = 1
        elif done == MEASURED_STEPS:
            per_step = torch.tensor((time.monotonic() - self.started) / done, device=args.device)
            if dist.is_initialized():
                dist.broadcast(per_step, 0)
            self.every = max(1, math.ceil(self.states.seconds / max(float(per_step), 1e-9)))
        due = bool(self.every) and state.global_step % self.every == 0
        last = state.global_step == state.max_steps
        control.should_save = self.last_one_too if last else due


class _Bar(TrainerCallback):
    """A progress bar with the latest logged loss."""

    def __init__(self, what: str):
        self.what = what

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = bar(total=state.max_steps, what=self.what, unit="steps", quiet=not state.is_world_process_zero)
        self.bar.update(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}", refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def run_training(
    module: ObjectiveModule,
    steps: Steps,
    *,
    seed: int,
    what: str,
    states: StateFolder | None = None,
    keep_last: bool = False,
    optimiser: tuple | None = None,
    neftune_alpha: float | None = None,
    logs: Path | None = None,
    **options,
) -> list[dict]:
    """Train in place; returns the Trainer's log history (step, loss, learning_rate).

    `neftune_alpha`: see trainers.neftune; the other `options` are `TrainingArguments`. `what` is the run's name for people and
    trackers; TensorBoard's files go to `logs`, unless its own variable names another folder. With `states`, an earlier
    call's state is taken up where there is one, and states are written on the way (`keep_last`: after the last step, too, for a stage that others follow).

    Raises:
        TrainingError: the loss or a weight became NaN or infinite, or a tracker is not wholly installed.
        RecordError: a state could not be written, or is one of other weights or another number of processes.
    """
    newest = states.newest() if states else None
    if newest is not None:
        history = TrainerState.load_from_json(str(newest / TRAINER))
        if history.global_step >= options["max_steps"]:
            put_weights_back(newest, module)
            return _losses(history.log_history)
    with tempfile.TemporaryDirectory() as scratch:
        options = {"report_to": "none", "logging_steps": max(1, options["max_steps"] // 50), **options}
        arguments = TrainingArguments(
            output_dir=scratch, seed=seed, save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
            run_name=what, log_level="error", use_cpu=not torch.cuda.is_available(), ddp_find_unused_parameters=False,
            **options,
        )  # fmt: skip
        arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs need a launcher: DataParallel would miss the network
        callbacks: list[TrainerCallback] = [_Bar(what), *([_Save(states, keep_last)] if states else [])]
        try:
            with _tensorboard_in(logs):
                trainer = ObjectiveTrainer(
                    module, steps, states, args=arguments, callbacks=callbacks, optimizer_cls_and_kwargs=optimiser
                )
        except ImportError as error:
            trackers = ", ".join(arguments.report_to or ())
            raise TrainingError(
                f"--report-to {trackers}: {error}. Install what is missing, or report to none."
                if trackers
                else str(error)
            ) from error
        trainer.remove_callback(PrinterCallback)
        with neftune(module.trained, neftune_alpha):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        trainer.check_weights()
    return _losses(trainer.state.log_history)


@contextlib.contextmanager
def _tensorboard_in(folder: Path | None):
    """The Trainer's TensorBoard callback, when it is made, takes this folder: its own would lie in the scratch folder."""
    name = "TENSORBOARD_LOGGING_DIR"
    if folder is None or name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]


def _losses(history: list[dict]) -> list[dict]:
    return [row for row in history if "loss" in row]
