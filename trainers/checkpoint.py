"""From a recipe to a sealed checkpoint folder: build, train, write safetensors, and `checkpoint.json` last."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
import yaml
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import save_file

from harness.backbones import LENGTH_HEAD_FILE, RECIPE_FILE, MaskedBackbone, special_ids, usable_length
from harness.canvas import Layout
from harness.lengths import make_length_head
from harness.records import (
    CheckpointRecord,
    RecordError,
    git_state,
    now,
    package_versions,
    read_checkpoint,
    seal,
    sha256_file,
)
from harness.suites import ConfigError
from trainers.encode import Example, encode
from trainers.mixture import BatchPlan, digests, read_records, training_files
from trainers.networks import build_network, count_parameters, load_tokenizer
from trainers.objectives import make_objective
from trainers.objectives.length import LengthStage
from trainers.recipe import Recipe
from trainers.trainer import ObjectiveModule, TrainingError, optimiser_arguments, run_training, write_log


def train_checkpoint(recipe: Recipe, *, corpus: Path | None, tokenizer_path: str | None, out: Path) -> CheckpointRecord:
    """Train a recipe into `out`; a finished checkpoint of the same recipe and data is left as it is.

    The folder is filled beside `out` and moved into place, so a killed run leaves no half checkpoint behind.

    Raises:
        ConfigError, ValueError, TrainingError, RecordError: one sentence each.
    """
    files = training_files(recipe.mixture, corpus)
    data = digests(files)
    if tokenizer_path and (Path(tokenizer_path) / "tokenizer.json").is_file():
        data["tokenizer.json"] = sha256_file(Path(tokenizer_path) / "tokenizer.json")
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        data["processes"] = str(processes)  # they multiply the batch, so they change the weights
    recipe_id = recipe.recipe_id(data)
    finished = _finished(out, recipe_id)
    if finished is not None:
        return finished
    _check_target(out)
    started = time.monotonic()
    tokenizer = load_tokenizer(tokenizer_path or recipe.backbone.pretrained or "", recipe.backbone.revision)
    encoded = encode(
        read_records(files, recipe.mixture.records), tokenizer, recipe.template, recipe.training.max_length
    )
    network = build_network(recipe.backbone, recipe.family, tokenizer, recipe.seed)
    trained, objective, backbone = _assemble(recipe, network, tokenizer)
    plan = _plan(recipe, encoded.examples)
    module = ObjectiveModule(backbone or network, objective, trained)
    what = f"train {recipe.name} (seed {recipe.seed})"
    history = _staged(
        "main",
        run_training(
            module,
            objective,
            encoded.examples,
            plan,
            seed=recipe.seed,
            what=what,
            **optimiser_arguments(recipe.training),
        ),
    )
    if recipe.length is not None and recipe.length.steps:
        history += _staged("length", _train_length(recipe, backbone, encoded.examples, what))  # type: ignore[arg-type]
    seen = [encoded.examples[index] for batch in plan for index in batch]
    total, core = count_parameters(network)
    commit, dirty = git_state()
    record = dict(
        recipe=recipe.name, recipe_id=recipe_id, label=recipe.label, adapter=recipe.adapter, objective=recipe.objective.name,
        seed=recipe.seed, canvas=recipe.layout.name if recipe.layout else recipe.family,
        layout=recipe.layout.model_dump() if recipe.layout else None,
        length_head=_head_settings(recipe), template=recipe.template, parameters=total, parameters_without_embeddings=core,
        steps=recipe.training.steps, examples=len(seen), tokens=sum(len(e) + 1 for e in seen),
        loss_tokens=sum(len(e.target) + 1 for e in seen), final_loss=_final_loss(history),
        corpus=data, commit=commit, dirty=dirty, packages=package_versions(), device=_device(), finished=now(),
    )  # fmt: skip
    state = PartialState()
    if state.is_main_process:
        _write(out, recipe, network, backbone, tokenizer, history, record, started)
    state.wait_for_everyone()
    return read_checkpoint(out)


def _finished(out: Path, recipe_id: str) -> CheckpointRecord | None:
    try:
        record = read_checkpoint(out, verify=True)
    except RecordError:
        return None
    return record if record.recipe_id == recipe_id else None


def _check_target(out: Path) -> None:
    """RecordError before training when `out` cannot be written, or holds something that is no checkpoint of ours."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / RECIPE_FILE).is_file())):
        raise RecordError(f"{out} exists and is no checkpoint of ours: it would be replaced. Name another --out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise RecordError(f"cannot write {out}: {error.strerror or error}. Choose another --out.") from error


def _assemble(recipe: Recipe, network, tokenizer):
    """(module whose parameters are trained, objective, backbone or None)."""
    settings = dict(recipe.objective.settings)
    if recipe.layout is None:
        context = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
        if None in context.values():
            raise ConfigError("the tokenizer lacks a pad or eos token, which training needs.")
        return network, make_objective(recipe.objective.name, settings, **context), None
    ids = special_ids(recipe.backbone.pretrained or recipe.name, tokenizer)
    layout = Layout(recipe.layout.name, recipe.layout.target_position)
    head = None
    if recipe.length is not None:
        head = make_length_head(width=network.config.hidden_size, **_head_settings(recipe))  # type: ignore[arg-type]
    backbone = MaskedBackbone(network, ids, layout, usable_length(network.config, tokenizer.model_max_length), head)
    if recipe.training.max_length + layout.overhead > backbone.max_length:
        raise ConfigError(
            f"training.max_length {recipe.training.max_length} + {layout.overhead} special tokens do not fit the network's "
            f"{backbone.max_length} positions."
        )
    objective = make_objective(recipe.objective.name, settings, ids=ids, layout=layout)
    trained = network
    if head is not None and not (recipe.length and recipe.length.steps):
        network.length_head = head  # trained with the network, written to a file of its own
    return trained, objective, backbone


def _head_settings(recipe: Recipe) -> dict[str, str | int] | None:
    if recipe.length is None:
        return None
    kept: dict[str, str | int] = {"kind": recipe.length.kind, "classes": recipe.length.classes}
    if recipe.length.kind == "transformer":
        kept["heads"] = recipe.length.heads
        if recipe.length.inner is not None:
            kept["inner"] = recipe.length.inner
        if recipe.length.probe:
            kept["probe"] = recipe.length.probe
    return kept


def _plan(recipe: Recipe, examples: list[Example]) -> BatchPlan:
    """Batches for all processes: data-parallel training deals them out in turn."""
    training, lengths = recipe.training, [len(example) for example in examples]
    batches = training.steps * training.accumulation * int(os.environ.get("WORLD_SIZE", "1"))
    return BatchPlan(
        lengths, training.batch_size // training.accumulation, batches, recipe.seed, training.bucket_batches
    )


def _train_length(recipe: Recipe, backbone: MaskedBackbone, examples: list[Example], what: str) -> list[dict]:
    spec = recipe.length
    assert spec is not None and backbone.length_head is not None
    objective = LengthStage(backbone)
    backbone.model.requires_grad_(False)
    backbone.model.eval()  # frozen means without dropout, too
    module = ObjectiveModule(backbone, objective, backbone.length_head)
    batches = spec.steps * int(os.environ.get("WORLD_SIZE", "1"))
    plan = BatchPlan(
        [len(e.prompt) for e in examples], spec.batch_size, batches, recipe.seed + 1, recipe.training.bucket_batches
    )
    options = optimiser_arguments(recipe.training, rate=spec.learning_rate, steps=spec.steps, batch=spec.batch_size)
    options.update(neftune_noise_alpha=None, gradient_accumulation_steps=1)
    return run_training(module, objective, examples, plan, seed=recipe.seed, what=f"{what}, length stage", **options)


def _final_loss(history: list[dict]) -> float:
    """Mean of the last logged losses of the main stage (up to five), nats per loss token."""
    losses = [float(row["loss"]) for row in history if row["stage"] == "main"][-5:]
    if not losses:
        raise TrainingError("training logged no loss: nothing was saved.")
    return sum(losses) / len(losses)


def _staged(stage: str, rows: list[dict]) -> list[dict]:
    return [{"stage": stage, **row} for row in rows]


def _write(out: Path, recipe: Recipe, network, backbone, tokenizer, history, record: dict, started: float) -> None:
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        head = getattr(backbone, "length_head", None)
        if head is not None:
            save_file({k: v.contiguous() for k, v in head.state_dict().items()}, partial / LENGTH_HEAD_FILE)
            if hasattr(network, "length_head"):
                del network.length_head
        network.to(dtype=torch.float32 if recipe.training.dtype == "float32" else torch.bfloat16)
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / RECIPE_FILE).write_text(
            yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )
        write_log(history, partial / "training.csv")
        files = {path.name: sha256_file(path) for path in sorted(partial.iterdir())}
        sealed = CheckpointRecord(**record, seconds=round(time.monotonic() - started, 2), files=files)
        seal(sealed, partial)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RecordError(
            f"cannot write the checkpoint to {out}: {reason}. Free space or choose another folder."
        ) from error


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} thread(s)"
