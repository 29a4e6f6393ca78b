"""From a recipe to a sealed checkpoint folder: build, train, write safetensors, and `checkpoint.json` last."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import save_file

from harness.backbones import LENGTH_HEAD_FILE, RECIPE_FILE, MaskedBackbone
from harness.canvas import Layout
from harness.records import (
    CheckpointRecord,
    RecordError,
    digest_of,
    git_state,
    now,
    package_versions,
    read_checkpoint,
    seal,
    sha256_file,
)
from trainers.assemble import Assembled, assemble, device_name, head_settings
from trainers.batches import BatchPlan, PackedPlan, Steps
from trainers.encode import Example, blocks
from trainers.encoded import file_examples
from trainers.mixture import build, digests, sha_of_mixture, training_files
from trainers.networks import count_parameters, load_tokenizer, with_mask_token
from trainers.objectives.length import LengthStage
from trainers.packing import fill
from trainers.recipe import Recipe
from trainers.shards import TokenShards, tokenise
from trainers.state import StateFolder, whole_weights
from trainers.trainer import (
    ObjectiveModule,
    TrainingError,
    optimiser_arguments,
    optimiser_class,
    run_training,
    write_log,
)


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
    data = _data_digests(recipe, corpus, out)
    if tokenizer_path and (Path(tokenizer_path) / "tokenizer.json").is_file():
        data["tokenizer.json"] = sha256_file(Path(tokenizer_path) / "tokenizer.json")
    recipe_id = recipe.recipe_id(data)
    finished = _finished(out, recipe_id)
    if finished is not None:
        if processes().is_main_process:  # a kill after the checkpoint was sealed leaves its states behind
            states_of(out, recipe_id, state_seconds).clear()
        return finished
    _check_target(out)
    started = time.monotonic()
    tokenizer = load_tokenizer(tokenizer_path or recipe.backbone.pretrained or "", recipe.backbone.revision)
    if recipe.backbone.decoder:
        tokenizer = with_mask_token(tokenizer)
    examples = training_examples(recipe, corpus, tokenizer, mixture_folder(recipe, out))
    run = _Run(recipe, assemble(recipe, tokenizer), examples, out, recipe_id, state_seconds, report_to)
    total, core = count_parameters(run.built.network)
    history = run.train()
    commit, dirty = git_state()
    record = dict(
        recipe=recipe.name, recipe_id=recipe_id, label=recipe.label, adapter=recipe.adapter, objective=recipe.objective.name,
        seed=recipe.seed, canvas=recipe.layout.name if recipe.layout else recipe.family,
        layout=recipe.layout.model_dump() if recipe.layout else None,
        length_head=head_settings(recipe), template=recipe.template, parameters=total, parameters_without_embeddings=core,
        steps=run.training.steps, **run.seen(), final_loss=_final_loss(history),
        corpus=data, commit=commit, dirty=dirty, packages=package_versions(), device=device_name(), finished=now(),
    )  # fmt: skip
    state = processes()
    run.built.finish()
    weights = whole_weights(run.built.network)
    head = run.built.head and (whole_weights(run.built.head) or run.built.head.state_dict())
    if state.is_main_process:
        _write(out, recipe, run.built.network, weights, head, tokenizer, history, record, started)
        run.states.clear()
    state.wait_for_everyone()
    return read_checkpoint(out)


def processes() -> PartialState:
    """The processes that train together; without `cpu`, accelerate sees only itself where there is no GPU."""
    return PartialState(cpu=not torch.cuda.is_available())


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


def training_examples(recipe: Recipe, corpus: Path | None, tokenizer, mixture: Path) -> Sequence[Example]:
    """The encoded examples of a recipe: in memory, or (sources) in memory-mapped shards."""
    training = recipe.training
    if recipe.mixture.source == "sources":
        with processes().main_process_first():
            digest = digest_of(tokenizer.backend_tokenizer.to_str())
            found: Sequence[Example] = tokenise(mixture, tokenizer, digest, recipe.template, training)
    else:
        found = file_examples(recipe, corpus, tokenizer)
    return blocks(found, training.max_length, tokenizer.eos_token_id) if training.blocks else found


def _lengths(examples: Sequence[Example]) -> Sequence[int]:
    if isinstance(examples, TokenShards):
        return examples.lengths  # type: ignore[return-value]
    return [len(example) for example in examples]


class _Run:
    """The stages of one training."""

    def __init__(
        self, recipe: Recipe, built: Assembled, examples: Sequence[Example], out: Path, recipe_id: str, seconds: float, report_to: str
    ):  # fmt: skip
        self.recipe, self.built, self.examples, self.report_to = recipe, built, examples, report_to
        self.lengths = _lengths(examples)
        self.training = recipe.training.settled(self._rows())
        self.states = states_of(out, recipe_id, seconds)
        self.logs = out.with_name(out.name + ".logs")
        self.what = f"train {recipe.name} (seed {recipe.seed})"
        self.plan = self._plan()

    def _rows(self) -> int:
        packing, room = self.recipe.training.packing, self.recipe.training.max_length
        return len(fill(range(len(self.lengths)), self._full_lengths(), room)) if packing else len(self.lengths)

    def _full_lengths(self) -> list[int]:
        layout = self.recipe.layout
        special = Layout(layout.name).overhead if layout else 1  # the end-of-sequence token
        return [int(length) + special for length in self.lengths]

    def _plan(self) -> BatchPlan:
        training, seed = self.training, self.recipe.seed
        assert training.steps is not None
        if training.packing:
            return PackedPlan(self._full_lengths(), training.batch_size, training.steps, seed, training.max_length)
        return BatchPlan(self.lengths, training.batch_size, training.steps, seed, training.bucket_batches)

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
            module, steps, seed=self.recipe.seed, what=self.what, states=self.states.stage("main"), keep_last=two,
            optimiser=optimiser_class(training), report_to=self.report_to, logs=self.logs / "main",
            **optimiser_arguments(training),
        )  # fmt: skip
        rows = [{"stage": "main", **row} for row in history]
        return rows + [{"stage": "length", **row} for row in self._train_length()] if two else rows

    def _train_length(self) -> list[dict]:
        spec, backbone, recipe = self.recipe.length, self.built.backbone, self.recipe
        assert spec is not None and backbone is not None
        weights = whole_weights(backbone.model, everywhere=True)
        if weights is not None:  # the main stage's shards are put together by its own forward only
            whole = unsharded(backbone.model, weights).to(backbone.device)
            backbone = MaskedBackbone(whole, backbone.ids, backbone.layout, backbone.max_length, backbone.length_head)
            self.built = replace(self.built, network=whole, trained=whole, backbone=backbone)
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
        steps = Steps(self.examples, plan, objective, recipe.seed)
        options = optimiser_arguments(self.training, rate=spec.learning_rate, steps=spec.steps, batch=spec.batch_size)
        options.update(neftune_alpha=None)
        return run_training(
            module, steps, seed=recipe.seed, what=f"{self.what}, length stage", states=self.states.stage("length"),
            report_to=self.report_to, logs=self.logs / "length", **options,
        )  # fmt: skip

    def seen(self) -> dict[str, int]:
        """Examples, tokens and loss tokens (of targets) that the main stage saw."""
        indices = [i for step in range(len(self.plan)) for i in self.plan[step]]
        if self.training.packing:
            indices = [i for row in indices for i in row]  # type: ignore[union-attr]
        seen = [self.examples[index] for index in indices]
        return {
            "examples": len(seen),
            "tokens": sum(len(e) + e.closed for e in seen),
            "loss_tokens": sum(len(e.target) + e.closed for e in seen),
        }


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


def unsharded(network, weights: dict):
    """A network like a sharded one, with its whole weights: transformers saves no sharded one."""
    whole = type(network)(network.config)
    whole.load_state_dict(weights, assign=True)
    whole.tie_weights()
    if network.can_generate():
        whole.generation_config = network.generation_config
    return whole


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
        whole = network if weights is None else unsharded(network, weights)
        whole.to(dtype=dtype).save_pretrained(partial)
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
            f"cannot write the checkpoint to {out}: {reason}. Free space and give the same command again: it goes on from the "
            "last state, if one was written."
        ) from error
