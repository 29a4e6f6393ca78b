"""From a recipe to a sealed checkpoint folder: build, train, write safetensors, and `checkpoint.json` last."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file

from harness.environment import git_state, now, package_versions
from harness.loading import LENGTH_HEAD_FILE, RECIPE_FILE
from harness.records import CheckpointRecord, RecordError, digest_of, read_checkpoint, seal, sha256_file
from trainers.assemble import assemble, device_name, head_settings, processes
from trainers.encode import Example, blocks
from trainers.encoded import file_examples
from trainers.mixture import build, digests, sha_of_mixture, training_files
from trainers.networks import count_parameters, hub_commit, tokenizer_of
from trainers.recipe import Recipe
from trainers.shards import tokenise
from trainers.stages import Stages, unsharded
from trainers.state import StateFolder, whole_weights
from trainers.trainer import TrainingError


def train_checkpoint(
    recipe: Recipe,
    *,
    corpus: Path | None,
    tokenizer_path: str | None,
    out: Path,
    state_seconds: float = 600.0,
    report_to: str = "none",
) -> CheckpointRecord:
    """Train a recipe into `out`; a finished checkpoint of the same recipe and data is left as it is.

    The folder is filled beside `out` and moved into place, so a killed run leaves no half checkpoint behind; its state,
    written every `state_seconds` beside `out`, makes the same command go on where it was.

    Raises:
        ConfigError, ValueError, TrainingError, RecordError: one sentence each.
    """
    data = _data_digests(recipe, corpus, out)  # what is missing of it is said before a tokenizer is looked for
    tokenizer = tokenizer_of(recipe.backbone, tokenizer_path)
    data |= _tokenizer_digest(tokenizer, tokenizer_path)
    recipe_id = recipe.recipe_id(data)
    finished = _finished(out, recipe_id)
    if finished is not None:
        if processes().is_main_process:  # a kill after the checkpoint was sealed leaves its states behind
            states_of(out, recipe_id, state_seconds).clear()
        return finished
    _check_target(out)
    started = time.monotonic()
    examples = training_examples(recipe, corpus, tokenizer, mixture_folder(recipe, out))
    states = states_of(out, recipe_id, state_seconds)
    run = Stages(recipe, assemble(recipe, tokenizer), examples, states, report_to, out.with_name(out.name + ".logs"))
    total, core = count_parameters(run.built.network)
    history = run.train()
    commit, dirty = git_state()
    record = dict(
        recipe=recipe.name, recipe_id=recipe_id, label=recipe.label, adapter=recipe.adapter, objective=recipe.objective.name,
        seed=recipe.seed, canvas=recipe.layout.name if recipe.layout else recipe.family,
        layout=recipe.layout.model_dump() if recipe.layout else None,
        length_head=head_settings(recipe), template=recipe.template,
        backbone_commit=hub_commit(recipe.backbone),
        prompt_special_tokens=recipe.prompt_special_tokens, parameters=total, parameters_without_embeddings=core,
        steps=run.training.steps, **run.seen(), final_loss=_final_loss(history),
        corpus=data, commit=commit, dirty=dirty, packages=package_versions(), device=device_name(), finished=now(),
    )  # fmt: skip
    state = processes()
    run.built.release_head()
    weights = whole_weights(run.built.network)
    if weights is None:
        run.built.merge()
    head = run.built.head and (whole_weights(run.built.head) or run.built.head.state_dict())
    if state.is_main_process:
        _write(out, recipe, run.built.network, weights, head, tokenizer, history, record, started)
        states.clear()
    state.wait_for_everyone()
    return read_checkpoint(out)


def states_of(out: Path, recipe_id: str, seconds: float) -> StateFolder:
    """Where the states of a training lie: beside its checkpoint."""
    return StateFolder(out.with_name(out.name + ".training"), recipe_id, seconds)


def mixture_folder(recipe: Recipe, out: Path) -> Path:
    """Where the mixture of a recipe's sources lies: beside the checkpoint, shared by recipes with the same one."""
    return out.parent / "mixtures" / digest_of(recipe.mixture.model_dump(mode="json"))


def _data_digests(recipe: Recipe, corpus: Path | None, out: Path) -> dict[str, str]:
    if recipe.mixture.source != "sources":
        return digests(training_files(recipe.mixture, corpus))
    folder = mixture_folder(recipe, out)
    with processes().main_process_first():
        build(recipe.mixture, folder)
    return {"mixture.json": sha_of_mixture(folder)}


def _tokenizer_digest(tokenizer, path: str | None) -> dict[str, str]:
    """sha256 of the tokenizer's file where a folder holds one, else (a hub's, a folder's of another format) digest of what it does."""
    if path and (file := Path(path) / "tokenizer.json").is_file():
        return {"tokenizer.json": sha256_file(file)}
    return {"tokenizer": digest_of(tokenizer.backend_tokenizer.to_str(), 64)}


def training_examples(recipe: Recipe, corpus: Path | None, tokenizer, mixture: Path) -> Sequence[Example]:
    """The encoded examples of a recipe: in memory, or (sources) in memory-mapped shards."""
    training = recipe.training
    read = training.model_copy(update={"max_length": training.text_room})
    recipe = recipe.model_copy(update={"training": read})
    if recipe.mixture.source == "sources":
        with processes().main_process_first():
            digest = digest_of(tokenizer.backend_tokenizer.to_str())
            found: Sequence[Example] = tokenise(
                mixture, tokenizer, digest, recipe.template, recipe.training, recipe.prompt_special_tokens
            )
    else:
        found = file_examples(recipe, corpus, tokenizer)
    return blocks(found, training.max_length, tokenizer.eos_token_id) if training.blocks else found


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


def _final_loss(history: list[dict]) -> float:
    """Mean of the last logged losses of the main stage (up to five), nats per loss token."""
    losses = [float(row["loss"]) for row in history if row["stage"] == "main"][-5:]
    if not losses:
        raise TrainingError("training logged no loss: nothing was saved.")
    return sum(losses) / len(losses)


def _write(
    out: Path,
    recipe: Recipe,
    network,
    weights: dict | None,
    head: dict | None,
    tokenizer,
    history,
    record: dict,
    started: float,
) -> None:
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if head is not None:
            save_file({name: tensor.contiguous() for name, tensor in head.items()}, partial / LENGTH_HEAD_FILE)
        dtype = torch.float32 if recipe.training.dtype == "float32" else torch.bfloat16
        whole = network if weights is None else unsharded(network, weights, recipe.training.lora)
        whole.to(dtype=dtype).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / RECIPE_FILE).write_text(
            yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )
        _write_log(history, partial / "training.csv")
        files = {path.name: sha256_file(path) for path in sorted(partial.iterdir())}
        sealed = CheckpointRecord(**record, seconds=round(time.monotonic() - started, 2), files=files)
        seal(sealed, partial)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RecordError(
            f"cannot write the checkpoint to {out}: {reason}. Free space and give the same command again: it goes on from the "
            "last state, if one was written."
        ) from error


def _write_log(history: list[dict], path: Path) -> None:
    """The loss curve as CSV: stage, step, loss (nats per loss token), learning_rate."""
    rows = ["stage,step,loss,learning_rate"]
    rows += [f"{row['stage']},{row['step']},{row['loss']:.6f},{row.get('learning_rate', 0):.3e}" for row in history]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
