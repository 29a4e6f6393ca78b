"""A backbone: a loaded masked language model with its special ids, layout and (where it has one) length head.

Position i predicts token i. The vocabulary projection runs only at the positions asked for: with XLM-R's 250k
tokens this is the memory bill. Where one comes from: harness/loading.py.
Shapes: B rows, T tokens, D width, V vocabulary, M positions asked for.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from harness.canvas import Canvas, Layout, PackedCanvas, SpecialIds
from harness.prompt_states import AnswerCanvas, LayerCache, PromptStates
from harness.windows import lost_windows, masks_by_kind

SHIFT = "anyorder_shift"  # in config.json of a decoder that was made a masked LM: position i predicts token i + 1
# RoBERTa's family numbers positions from padding id + 1, and loses that many of its position embeddings.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "roberta-prelayernorm"}


class BackboneError(ValueError):
    """A checkpoint cannot be used as asked; the message says what it is, what was expected and what to do."""


class MaskedBackbone:
    """A masked LM in a layout: `hidden(canvas)` then `logits_at(hidden, positions)`.

    Args:
        model: a transformers `*ForMaskedLM` network.
        ids: bos, eos, pad and mask token ids.
        layout: how prompt and target share a sequence.
        max_length: most tokens a row may have, special tokens included.
        length_head: network from prompt states to length classes, or None.

    Raises:
        BackboneError: the layout needs a mask that would replace the network's sliding windows.
    """

    def __init__(
        self,
        model: Any,
        ids: SpecialIds,
        layout: Layout | None = None,
        max_length: int = 512,
        length_head: nn.Module | None = None,
    ):
        self.model, self.ids, self.layout = model, ids, layout or Layout()
        self.max_length, self.length_head = max_length, length_head
        self.vocabulary: int = model.config.vocab_size
        self._head = _vocabulary_head(model)
        check_layout(model.config, self.layout)
        self._position_offset = position_offset(model.config)
        self._shifted, self._weight = bool(getattr(model.config, SHIFT, False)), next(model.parameters())
        _note_signatures(model)
        # Prompts can be read once, exactly: the prompt cannot see the answer, and the network takes a cache.
        self.takes_cache = _takes_cache(model)
        self.remembers = self.layout.isolated and self.takes_cache

    @property
    def device(self) -> torch.device:
        """Where the network's weights lie."""
        return self._weight.device

    def compile(self) -> None:
        """torch.compile of the network for every batch size and length; the first passes take tens of seconds.

        Raises:
            BackboneError: on a processor without a C++ compiler.
        """
        names = (os.environ.get("CXX"), "c++", "g++", "clang++")
        if self.device.type == "cpu" and not any(shutil.which(name) for name in names if name):
            raise BackboneError(
                "compile=true needs a C++ compiler on a CPU (g++ or clang++, or CXX=PATH): none is found."
            )
        self.model.base_model.compile(dynamic=True)

    def hidden(self, canvas: Canvas) -> torch.Tensor:
        """Final hidden states [B, T, D] of a canvas; one forward pass."""
        if isinstance(canvas, AnswerCanvas):
            mask = self._given(canvas.memory.attention_BTK(canvas))
            return self._forward(canvas, {"attention_mask": mask, "past_key_values": LayerCache(canvas.memory)})
        if self.layout.isolated or isinstance(canvas, PackedCanvas):
            return self._forward(canvas, {"attention_mask": self._given(self.layout.attention_BTT(canvas))})
        return self._forward(canvas, {"attention_mask": canvas.attend_BT.long()})

    def _given(self, allowed_BTK: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """A boolean mask [B, T, K] as the network takes it, one for all layers or (sliding windows) for each kind of them."""
        by_kind = masks_by_kind(self.model.config, allowed_BTK)
        if by_kind is None:
            return self._four_dimensional(allowed_BTK)
        return {kind: self._four_dimensional(mask) for kind, mask in by_kind.items()}

    def _four_dimensional(self, allowed_BTK: torch.Tensor) -> torch.Tensor:
        """[B, 1, T, K]; eager attention adds what it is given to the scores."""
        if getattr(self.model.config, "_attn_implementation", None) != "eager":
            return allowed_BTK.unsqueeze(1)
        dtype = self.model.dtype
        low_BTK = torch.zeros_like(allowed_BTK, dtype=dtype).masked_fill(~allowed_BTK, torch.finfo(dtype).min)
        return low_BTK.unsqueeze(1)

    def _forward(self, canvas: Canvas, arguments: dict[str, Any]) -> torch.Tensor:
        # A segment of a canvas does not begin at position 0, isolated answers and packed examples restart.
        if (
            self.layout.target_position is not None
            or self.layout.isolated
            or isinstance(canvas, AnswerCanvas | PackedCanvas)
        ):
            arguments["position_ids"] = canvas.positions_BT + self._position_offset
        return self.model.base_model(input_ids=canvas.tokens_BT, **arguments)[0]

    def hidden_and_states(self, canvas: Canvas) -> tuple[torch.Tensor, PromptStates]:
        """Final hidden states [B, T, D] of a canvas and the keys and values of all its positions; one forward pass."""
        cache = LayerCache()
        mask = self._given(self.layout.attention_BTT(canvas))
        hidden_BTD = self._forward(canvas, {"attention_mask": mask, "past_key_values": cache})
        return hidden_BTD, cache.recorded(canvas.attend_BT)

    def logits_at(self, hidden_BTD: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """Vocabulary logits [M, V] at the M true entries of a boolean mask [B, T], in row-major order."""
        if self._shifted:
            return self._head(hidden_BTD[:, :-1][positions_BT[:, 1:]])
        return self._head(hidden_BTD[positions_BT])

    def length_canvas(self, prompts: Sequence[Sequence[int]]) -> Canvas:
        """What the length head reads of each prompt (its end, where prompt and probe do not fit the network)."""
        probe = 0 if self.length_head is None else int(self.length_head.probe)  # type: ignore[arg-type]
        room = self.max_length - self.layout.overhead - probe
        return self.layout.prompt_only([prompt[max(0, len(prompt) - room) :] for prompt in prompts], self.ids, probe)

    def length_logits(self, hidden_BTD: torch.Tensor, canvas: Canvas) -> torch.Tensor:
        """Length-class logits [B, C] from the states of a `length_canvas`.

        Raises:
            BackboneError: the checkpoint has no length head.
        """
        if self.length_head is None:
            raise BackboneError(
                "this checkpoint has no length head, so length=predicted cannot work: use length=fixed with "
                "max_gen_toks, or train one with a recipe that has a `length` section (python -m trainers train RECIPE)."
            )
        return self.length_head(hidden_BTD, canvas.prompt_BT)


def check_layout(config: Any, layout: Layout) -> None:
    """BackboneError when the isolated layout's mask would replace the sliding windows of a network."""
    if layout.isolated and (lost := lost_windows(config)):
        raise BackboneError(f"layout isolated: {lost}: use layout joint, or a network without windows.")


def make_any_order(model: Any) -> None:
    """Turn a decoder into a masked LM: every token sees every other; position i still predicts token i + 1 (Dream)."""
    setattr(model.config, SHIFT, True)
    model.config.is_causal = False
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False


def _note_signatures(model: Any) -> None:
    """Write the signature of each kind of layer's feed-forward step where `inspect` finds it at once.

    transformers works it out anew in every layer of every pass; in a small network that takes as long as the step.
    """
    for kind in {type(module) for module in model.modules() if hasattr(module, "feed_forward_chunk")}:
        kind.feed_forward_chunk.__signature__ = inspect.signature(kind.feed_forward_chunk)


def _takes_cache(model: Any) -> bool:
    return "past_key_values" in inspect.signature(model.base_model.forward).parameters


def position_offset(config) -> int:
    """First position id that a network of this configuration expects."""
    return config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0


def usable_length(config, tokenizer_limit: int | None = None) -> int:
    """Most tokens a row may have: position embeddings less the offset, or the tokenizer's limit where positions are free."""
    positions = getattr(config, "max_position_embeddings", None)
    limits = [positions - position_offset(config)] if positions and positions > 0 else []
    if tokenizer_limit and tokenizer_limit < 1_000_000:
        limits.append(tokenizer_limit)
    return min(limits) if limits else 512


def _vocabulary_head(model: Any):
    """The map from final states to vocabulary logits, found by the names transformers' families use."""
    parts = {name: getattr(model, name, None) for name in ("lm_head", "cls", "head", "decoder", "vocab_projector")}
    if parts["lm_head"] is not None:
        return parts["lm_head"]
    if parts["cls"] is not None:
        return parts["cls"]
    head, decoder = parts["head"], parts["decoder"]
    if head is not None and decoder is not None:
        return lambda states: decoder(head(states))
    if parts["vocab_projector"] is not None:
        return lambda x: model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(x))))
    raise BackboneError(
        f"{type(model).__name__}: its vocabulary head is not one of the known shapes (lm_head, cls, head + decoder, "
        "vocab_projector); add it to _vocabulary_head."
    )
