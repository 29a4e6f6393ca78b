"""Decoders: pure functions that fill the target of a canvas. A new one is one file and one line here.

`decode(backbone, canvas, steps, rng, **settings) → Decoded`; prompt, bos and eos never change, an item's result
does not depend on the other rows of the batch. No tokenizer, no metric, no length policy inside. `rng` is a
`harness.decoders.sampling.Sampler`; without one every token is the most probable one.
Shapes: B rows, T tokens; log-probabilities in nats.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from harness.canvas import Canvas
from harness.config import unknown

DECODERS = {
    "ancestral": "harness.decoders.ancestral:ancestral",
    "confidence": "harness.decoders.confidence:confidence",
    "left_to_right": "harness.decoders.left_to_right:left_to_right",
    "mask_predict": "harness.decoders.mask_predict:mask_predict",
    "reparameterized": "harness.decoders.reparameterized:reparameterized",
}
COMMON = ("backbone", "canvas", "steps", "rng")


@dataclass(frozen=True)
class Decoded:
    """Filled tokens_BT, logprob_BT of each target token when it was accepted (0 elsewhere), passes per row [B]."""

    tokens_BT: torch.Tensor
    logprob_BT: torch.Tensor
    forward_passes_B: torch.Tensor


def get_decoder(name: str) -> Callable[..., Decoded]:
    """The decoder called `name`; ValueError lists the known ones."""
    if name not in DECODERS:
        raise ValueError(unknown("decoder", name, list(DECODERS)))
    module, _, attribute = DECODERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def own_settings(name: str) -> tuple[str, ...]:
    """Names of the settings that only this decoder has, from its signature."""
    return tuple(inspect.signature(get_decoder(name)).parameters)[len(COMMON) :]


def masked_canvas(canvas: Canvas, mask: int) -> Canvas:
    """The canvas with every target position hidden."""
    return canvas.with_tokens(canvas.tokens_BT.masked_fill(canvas.target_BT, mask))


def lowest(score_BT: torch.Tensor, pool_BT: torch.Tensor, count_B: torch.Tensor) -> torch.Tensor:
    """Exactly count_B positions of the pool with the lowest scores per row (ties: leftmost first), boolean [B, T]."""
    return (rank_in(score_BT, pool_BT) < count_B.unsqueeze(1)) & pool_BT


def rank_in(score_BT: torch.Tensor, pool_BT: torch.Tensor) -> torch.Tensor:
    """0-based rank of each position of the pool by score, lowest first (ties: leftmost first); others come after."""
    order = score_BT.masked_fill(~pool_BT, torch.inf).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
