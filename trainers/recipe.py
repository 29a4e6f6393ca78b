"""A recipe: everything needed to regenerate one checkpoint, as one strict YAML file.

Unknown keys are errors with the nearest known name. `recipe_id` hashes what can change the weights, and only that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.config import ConfigError, Frozen, as_model, unknown
from harness.records import digest_of
from harness.templates import TEMPLATES
from trainers.families import chosen
from trainers.objective_names import OBJECTIVES
from trainers.sources import SourceSpec

Scalar = str | int | float | bool | None


class BackboneSpec(Frozen):
    """Where the network comes from: a hub id or folder (`pretrained`), or from scratch, a shape of a transformers family.

    Beside `pretrained`, family and shape say what the network must look like (and `trainers plan` needs no download).
    `decoder: true` makes a masked LM of a decoder: full attention, and position i predicts token i + 1, as Dream does it.

    `special_tokens` names those of the tokenizer's own tokens that it does not say are bos, eos or pad (Galactica's).

    `initializer_std` replaces the family's own, `embedding_std` that of the token embeddings (mT5 draws them with 1,
    which with tied and unscaled logits starts a small network at a loss of 15 nats). `position_init: sinusoidal` starts learned position embeddings as
    sinusoids of wavelengths 2π … 2π·`position_base` with the tokens' standard deviation times `position_scale`: a
    pretrained network has long learnt that near positions are alike, a small one from scratch has no time to.
    `position_scale` widens T5's relative biases, too. All of these only when trained from scratch.
    """

    family: str | None = None
    shape: dict[str, Any] = {}
    pretrained: str | None = None
    revision: str = "main"
    decoder: bool = False
    special_tokens: dict[Literal["bos", "eos", "pad"], str] = Field(default={}, exclude_if=lambda value: not value)
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    initializer_std: float | None = Field(default=None, gt=0)
    embedding_std: float | None = Field(default=None, gt=0)
    position_scale: float = Field(default=1.0, gt=0)
    position_init: Literal["random", "sinusoidal"] = "random"
    position_base: float = Field(default=1000.0, gt=1)

    @model_validator(mode="after")
    def _one_origin(self) -> BackboneSpec:
        if self.family is None and self.pretrained is None:
            raise ValueError("give family (with shape), or pretrained, or both")
        return self


class LayoutSpec(Frozen):
    """How a masked LM reads prompt and target; see harness.canvas.Layout."""

    name: Literal["joint", "isolated"] = "joint"
    target_position: int | None = Field(default=None, ge=0)


class ObjectiveSpec(Frozen):
    """The loss: `name` is a key of trainers.objectives.OBJECTIVES, the rest are its settings."""

    name: str
    settings: dict[str, Scalar] = {}


class LengthSpec(Frozen):
    """The length head and, with `steps` > 0, its own training stage on a frozen backbone.

    probe: hidden tokens that the frozen network reads behind the prompt, for the head to look at (the paper: 0).
    """

    kind: Literal["pooled_embedding", "transformer"]
    classes: int = Field(default=64, ge=2)
    heads: int = Field(default=2, ge=1)
    inner: int | None = None
    probe: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _probe_of_a_stage(self) -> LengthSpec:
        if self.probe and (self.kind != "transformer" or not self.steps):
            raise ValueError("probe: needs kind: transformer and a stage of its own (steps)")
        return self


class MixtureSpec(Frozen):
    """Training records: the suite's embedded corpus, JSONL files with `inputs` and `targets`, or `sources` that are mixed.

    For `sources` (trainers.mixture): `held_out` names data sets and tasks that must not be trained on; `guard` files of
    evaluation items that no row may share `guard_words` words in a row with; `cap` rows per (data set, config, split,
    template), chosen by `cap_order`; `records` rows in all, or a `share` of all rows, with the composition of language ×
    task × template kept; `validation` is the share of documents set aside.
    """

    source: Literal["embedded", "jsonl", "sources"] = "embedded"
    files: tuple[str, ...] = ()
    records: int | None = Field(default=None, ge=1)
    sources: tuple[SourceSpec, ...] = ()
    held_out: tuple[str, ...] = ()
    guard: tuple[str, ...] = ()
    guard_words: int = Field(default=13, ge=3)
    dedupe: bool = True
    cap: int | None = Field(default=None, ge=1)
    cap_order: Literal["random", "shortest", "first"] = "random"
    share: float | None = Field(default=None, gt=0)
    validation: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _files_named(self) -> MixtureSpec:
        if (self.source == "jsonl") != bool(self.files):
            raise ValueError("files belongs to source: jsonl, which needs at least one file")
        if (self.source == "sources") != bool(self.sources):
            raise ValueError("sources belongs to source: sources, which needs at least one")
        if self.records is not None and self.share is not None:
            raise ValueError("records and share both set the size: give one of them")
        if len({source.portion is None for source in self.sources}) > 1:
            raise ValueError("portion: give one to every source, or to none")
        return self


class LoraSpec(Frozen):
    """Low-rank adapters (peft) on the linear layers whose names end with one of `modules` (none: on all)."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    modules: tuple[str, ...] = ()


class TrainingSpec(Frozen):
    """Optimisation; `batch_size` counts examples (packed: rows) per optimiser step, over all processes.

    A step's batch is worked on in `accumulation` equal parts per process, or in as few as keep each within
    `micro_tokens` padded tokens; neither changes the gradient, but through dropout and NEFTune, whose draws and (NEFTune) size
    depend on the pieces. Give `steps`, or `epochs` over the mixture.
    `warmup_stable_decay` holds the rate until the last fifth of the steps, then lowers it to 0. `packing`: rows of up
    to `max_length` tokens (prompts, answers and special tokens together) hold several examples, each of which sees itself alone;
    else batches are random, and `micro_tokens` cuts each into pieces of like length with the gradient of the whole, or, with
    `bucket_batches` > 1, of one length each, from windows of so many: quickest without `micro_tokens`, but where the loss
    is per token, the tokens of short examples then weigh more than those of long ones (README: a worse held-out loss).
    `dtype: bfloat16` computes in bfloat16 and keeps weights and moments in float32. Adafactor is T5's: updates scaled
    by the parameters' size, no first moment. `too_long` says what becomes of examples over `max_length` tokens.
    `blocks`: continual pretraining on all texts end to end, in blocks of `max_length`.
    """

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt", "warmup_stable_decay"] = (
        "cosine"
    )
    warmup_steps: int = Field(default=100, ge=0)
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    optimiser: Literal["adamw", "adafactor"] = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, gt=0, lt=1)
    beta2: float = Field(default=0.98, gt=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    clip: float = Field(default=1.0, ge=0)
    dtype: Literal["float32", "bfloat16"] = "float32"
    neftune_alpha: float | None = Field(default=None, gt=0)
    bucket_batches: int = Field(default=1, ge=1)
    max_length: int = Field(default=160, ge=8)
    too_long: Literal["drop", "cut_end", "cut_prompt"] = "drop"
    blocks: bool = False
    accumulation: int = Field(default=1, ge=1)
    micro_tokens: int | None = Field(default=None, ge=1)
    packing: bool = False
    gradient_checkpointing: bool = False
    lora: LoraSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSpec:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs, not both and not neither")
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulation {self.accumulation}")
        if self.accumulation > 1 and self.micro_tokens is not None:
            raise ValueError("accumulation and micro_tokens both cut the batch: give one of them")
        return self

    @property
    def text_room(self) -> int:
        """Most tokens of an example that is neither cut nor dropped: any number where texts are joined into blocks."""
        return 2**31 - 1 if self.blocks else self.max_length

    def settled(self, rows: int) -> TrainingSpec:
        """The same with `steps` and `warmup_steps` as numbers, for a mixture of `rows` examples (or packed rows)."""
        steps = self.steps or max(1, round((self.epochs or 0) * rows / self.batch_size))
        warmup = self.warmup_steps if self.warmup_ratio is None else round(self.warmup_ratio * steps)
        return self.model_copy(update={"steps": steps, "epochs": None, "warmup_steps": warmup, "warmup_ratio": None})


class Recipe(Frozen):
    """One checkpoint's recipe; see trainers/recipes/*.yaml.

    `prompt_special_tokens: tokenizer` puts around every prompt what the tokenizer puts around a text of its own accord
    (`<s>` before it for Llama, `</s>` behind it for T5); none: neither. `ar` and `encdec` obey the checkpoint's record.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    label: str
    source: str
    adapter: str
    backbone: BackboneSpec
    objective: ObjectiveSpec
    layout: LayoutSpec | None = None
    length: LengthSpec | None = None
    template: str = "plain"
    prompt_special_tokens: Literal["none", "tokenizer"] = Field(
        default="none", exclude_if=lambda value: value == "none"
    )
    mixture: MixtureSpec = MixtureSpec()
    training: TrainingSpec
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _known_names(self) -> Recipe:
        if self.objective.name not in OBJECTIVES:
            raise ValueError(unknown("objective", self.objective.name, list(OBJECTIVES)))
        if self.template not in TEMPLATES:
            raise ValueError(unknown("template", self.template, list(TEMPLATES)))
        masked = OBJECTIVES[self.objective.name].family == "masked"
        if masked != (self.layout is not None):
            raise ValueError(
                f"objective {self.objective.name} " + ("needs a layout" if masked else "has no layout: remove it")
            )
        if masked and self.prompt_special_tokens != "none":
            raise ValueError("prompt_special_tokens: a masked LM's layout sets its own: remove it")
        if self.length is not None and not masked:
            raise ValueError("length: only masked LMs have a length head")
        if self.training.blocks and (self.family != "causal" or self.training.packing):
            raise ValueError("training.blocks: continual pretraining is for decoders, without packing")
        if self.length is not None and self.length.probe and self.layout is not None and self.layout.name != "joint":
            raise ValueError(
                "length.probe: needs layout.name: joint, where the answer's places see the prompt and it them"
            )
        return self

    @property
    def family(self) -> str:
        """causal, seq2seq or masked: which kind of network the objective trains."""
        return OBJECTIVES[self.objective.name].family

    def recipe_id(self, corpus: dict[str, str]) -> str:
        """Digest of what can change the weights: the recipe without its labels, and the sha256 of its data."""
        what = self.model_dump(mode="json", exclude={"name", "label", "source", "adapter"})
        return digest_of({"recipe": what, "corpus": corpus})


def load_recipe(path: Path, *, seed: int | None = None, steps: int | None = None) -> Recipe:
    """A recipe file (or `file.yaml@choice,…`, see trainers.families), with another seed or number of steps (of the main stage; at most as many of length's) where asked.

    Raises:
        ConfigError: no such file, unknown key (nearest named) or a value that cannot be.
    """
    recipe = as_model(chosen(path), path, Recipe)
    if seed is not None:
        recipe = recipe.model_copy(update={"seed": seed})
    if steps is not None:
        if steps < 1:
            raise ConfigError(f"--steps {steps}: must be at least 1.")
        recipe = recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"steps": steps, "epochs": None})}
        )
        if recipe.length is not None:
            shorter = recipe.length.model_copy(update={"steps": min(recipe.length.steps, steps)})
            recipe = recipe.model_copy(update={"length": shorter})
    return recipe
