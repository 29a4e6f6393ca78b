"""Decoders: pure functions that fill the target of a canvas. A new one is one file and one line here.

`decode(backbone, canvas, steps, rng, **settings) → Decoded`; prompt, bos and eos never change, an item's result
does not depend on the other rows of the batch. No tokenizer, no metric, no length policy inside.
Shapes: B rows, T tokens, V vocabulary; log-probabilities in nats.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.rows import ScoringError
from harness.suites import unknown

DECODERS = {
    "mask_predict": "harness.decoders.mask_predict:mask_predict",
    "reparameterized": "harness.decoders.reparameterized:reparameterized",
}


@dataclass(frozen=True)
class Decoded:
    """Filled tokens_BT, logprob_BT of each target token when it was accepted (0 elsewhere), passes per row [B]."""

    tokens_BT: torch.Tensor
    logprob_BT: torch.Tensor
    forward_passes_B: torch.Tensor

    def mean_logprob(self, canvas: Canvas) -> torch.Tensor:
        """Mean log-probability of each row's target tokens [B]: how both papers rank a length beam."""
        return (self.logprob_BT * canvas.target_BT).sum(1) / canvas.target_BT.sum(1).clamp(min=1)


def get_decoder(name: str) -> Callable[..., Decoded]:
    """The decoder called `name`; ValueError lists the known ones."""
    if name not in DECODERS:
        raise ValueError(unknown("decoder", name, list(DECODERS)))
    module, _, attribute = DECODERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def masked_canvas(canvas: Canvas, mask: int) -> Canvas:
    """The canvas with every target position hidden."""
    return canvas.with_tokens(canvas.tokens_BT.masked_fill(canvas.target_BT, mask))


def candidates(backbone: MaskedBackbone, canvas: Canvas, at_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Argmax token and its log-probability at the true entries of at_BT ([M], [M]); one forward pass.

    The mask token can never be written.
    """
    logits_MV = backbone.logits_at(backbone.hidden(canvas), at_BT).float()
    logits_MV[:, backbone.ids.mask] = -torch.inf
    best, token = logits_MV.max(-1)
    score = best - logits_MV.logsumexp(-1)
    if not torch.isfinite(score).all():
        raise ScoringError(
            "the network gave NaN or infinite logits while decoding: its weights or its dtype are broken."
        )
    return token, score


def lowest(score_BT: torch.Tensor, pool_BT: torch.Tensor, count_B: torch.Tensor) -> torch.Tensor:
    """Exactly count_B positions of the pool with the lowest scores per row (ties: leftmost first), boolean [B, T]."""
    ranked = score_BT.masked_fill(~pool_BT, torch.inf).argsort(dim=1, stable=True)
    rank_BT = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1]).expand_as(ranked).to(ranked.device)
    )
    return (rank_BT < count_B.unsqueeze(1)) & pool_BT
