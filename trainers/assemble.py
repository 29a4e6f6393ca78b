"""From a recipe to what is trained: the network, its objective, and (masked LMs) the backbone with its length head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from harness.backbones import MaskedBackbone, check_layout, usable_length
from harness.canvas import Layout
from harness.config import ConfigError
from harness.lengths import make_length_head
from harness.loading import special_ids
from trainers.networks import build_network
from trainers.objectives import Objective, make_objective
from trainers.packing import check_packable, is_flash
from trainers.recipe import LoraSpec, Recipe


@dataclass(frozen=True)
class Assembled:
    """`trained` holds the parameters that the main stage trains; `network` is what is saved (with `head` beside it)."""

    network: Any
    trained: nn.Module
    objective: Objective
    backbone: MaskedBackbone | None
    adapted: Any = None

    @property
    def reads(self) -> Any:
        """What objectives call: the backbone of a masked LM, else the network."""
        return self.backbone or self.network

    @property
    def head(self) -> nn.Module | None:
        """The length head of a masked LM."""
        return self.backbone.length_head if self.backbone else None

    def release_head(self) -> None:
        """After training: the length head leaves the network."""
        if hasattr(self.network, "length_head"):
            del self.network.length_head

    def merge(self) -> None:
        """After training: adapters are folded into the weights, which must be whole (those of a shard: `unsharded`)."""
        if self.adapted is not None:
            self.adapted.merge_and_unload()


def assemble(recipe: Recipe, tokenizer, network=None) -> Assembled:
    """Build everything that a recipe trains; `network` replaces the recipe's own (for planning without weights).

    Raises:
        ConfigError: the tokenizer lacks a special token, or the lengths do not fit the network.
        ValueError: a setting that the objective does not have.
    """
    network = network if network is not None else build_network(recipe.backbone, recipe.family, tokenizer, recipe.seed)
    check_network(recipe, network.config)
    if recipe.training.gradient_checkpointing:
        network.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    built = _masked(recipe, network, tokenizer) if recipe.layout else _autoregressive(recipe, network, tokenizer)
    if hasattr(built.objective, "remember"):
        built.objective.remember(network)  # type: ignore[attr-defined]
    return _adapted(built, recipe.training.lora) if recipe.training.lora else built


def check_network(recipe: Recipe, config: Any) -> None:
    """ConfigError or BackboneError when the recipe reads rows in a way that a network of this configuration cannot."""
    if recipe.training.packing:
        check_packable(config)
    if is_flash(config):
        _check_flash(recipe)
    if recipe.layout is not None:
        check_layout(config, Layout(recipe.layout.name, recipe.layout.target_position))


def _check_flash(recipe: Recipe) -> None:
    """ConfigError where rows need a mask of ours: prompt-isolated ones, and packed ones but of decoders."""
    isolated = recipe.layout is not None and recipe.layout.name == "isolated"
    if isolated or (recipe.training.packing and recipe.family != "causal"):
        raise ConfigError(
            "backbone.attention: flash attention takes no mask, which "
            f"{'layout.name: isolated' if isolated else f'training.packing of a {recipe.family} network'} needs: "
            "use attention: sdpa."
        )


def _autoregressive(recipe: Recipe, network, tokenizer) -> Assembled:
    context = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
    if None in context.values():
        raise ConfigError(
            "the tokenizer lacks a pad or eos token, which training needs: name them, backbone.special_tokens: {eos: …, pad: …}."
        )
    objective = make_objective(recipe.objective.name, dict(recipe.objective.settings), **context)
    return Assembled(network, network, objective, None)


def _masked(recipe: Recipe, network, tokenizer) -> Assembled:
    assert recipe.layout is not None
    ids = special_ids(recipe.backbone.pretrained or recipe.name, tokenizer)
    layout = Layout(recipe.layout.name, recipe.layout.target_position)
    head = None
    if (settings := head_settings(recipe)) is not None:
        head = make_length_head(width=network.config.hidden_size, **settings)  # type: ignore[arg-type]
    backbone = MaskedBackbone(network, ids, layout, usable_length(network.config, tokenizer.model_max_length), head)
    if recipe.training.max_length + layout.overhead > backbone.max_length:
        raise ConfigError(
            f"training.max_length {recipe.training.max_length} + {layout.overhead} special tokens do not fit the network's "
            f"{backbone.max_length} positions."
        )
    objective = make_objective(recipe.objective.name, dict(recipe.objective.settings), ids=ids, layout=layout)
    staged = bool(recipe.length and recipe.length.steps)
    if head is not None and not staged and not getattr(objective, "length_weight", 0.0):
        raise ConfigError(
            f"length: nothing would train the head, which objective {recipe.objective.name} gives no weight: set length.steps, "
            "or (objective masked) length_weight, or remove length."
        )
    if head is not None and not staged:
        network.length_head = head  # trained with the network, written to a file of its own
    return Assembled(network, network, objective, backbone)


def head_settings(recipe: Recipe) -> dict[str, str | int] | None:
    """What `make_length_head` needs, and the checkpoint's record keeps."""
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


def _adapted(built: Assembled, spec: LoraSpec) -> Assembled:
    adapted = add_adapters(built.network, spec)
    if built.head is not None:
        built.head.requires_grad_(True)
    return Assembled(built.network, built.trained, built.objective, built.backbone, adapted)


def add_adapters(network, spec: LoraSpec) -> Any:
    """Low-rank adapters in place of the linear layers named by `spec`; everything else is frozen, but a length head."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    config = LoraConfig(
        r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=list(spec.modules) or "all-linear",
        exclude_modules=r"(.*\.)?length_head(\..*)?" if hasattr(network, "length_head") else None,
    )  # fmt: skip
    try:
        return LoraModel(network, config, "default")
    except ValueError as error:
        raise ConfigError(f"training.lora.modules {list(spec.modules)}: {str(error).splitlines()[0]}") from error


def device_name() -> str:
    """What training runs on, for records."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} thread(s)"


def processes() -> PartialState:
    """The processes that train together; without `cpu`, accelerate sees only itself where there is no GPU."""
    return PartialState(cpu=not torch.cuda.is_available())
