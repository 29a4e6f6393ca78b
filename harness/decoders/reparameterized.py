"""Reparameterized decoding of absorbing diffusion (RDM, arXiv 2302.05737; DiffusionLLM, arXiv 2308.12219).

Per pass s of T: one forward over the canvas; every maskable position gets the log-probability of its argmax; the
k = floor(N·r(s)) positions of lowest score become (or stay) noise, filled ones included; hidden positions outside
them are written. `condition="conditional"` re-hides a filled position only if the network still predicts the held
token with a score below the one it was accepted with.
"""

from __future__ import annotations

from typing import Literal

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded, candidates, lowest, masked_canvas
from harness.noise import masked_after


@torch.inference_mode()
def reparameterized(
    backbone: MaskedBackbone,
    canvas: Canvas,
    steps: int,
    rng: torch.Generator | None = None,
    schedule: Literal["cosine", "linear"] = "cosine",
    condition: Literal["unconditional", "conditional"] = "unconditional",
) -> Decoded:
    """Fill the targets of a canvas in at most `steps` passes (argmax, deterministic selection; `rng` is not used).

    Each pass costs the whole canvas. A pass that would ask the network the same question again is skipped: with
    nothing re-hidden and nothing newly written the next pass has the same input, so its scores are reused.
    """
    del rng
    work = masked_canvas(canvas, backbone.ids.mask)
    tokens, target = work.tokens_BT.clone(), canvas.target_BT
    stored = torch.zeros(tokens.shape, device=tokens.device)
    length = target.sum(1)
    passes = torch.zeros_like(length)
    token_now, score_now = torch.zeros_like(tokens), torch.zeros_like(stored)
    changed = length > 0
    for step in range(1, steps + 1):
        rows = changed.nonzero().squeeze(1)
        if len(rows):
            token, score = candidates(backbone, canvas.with_tokens(tokens).select(rows), target[rows])
            where = torch.zeros_like(target)
            where[rows] = target[rows]
            token_now[where], score_now[where] = token, score
            passes[rows] += 1
        hidden = (tokens == backbone.ids.mask) & target
        noise = lowest(score_now, target, masked_after(step, steps, length, schedule))
        if condition == "conditional":
            noise = noise & (hidden | ((token_now == tokens) & (score_now < stored)))
        write = hidden & ~noise
        before = tokens
        tokens = torch.where(write, token_now, tokens)
        stored = torch.where(write, score_now, stored)
        tokens = tokens.masked_fill(noise, backbone.ids.mask)
        changed = (tokens != before).any(1)
        if not ((tokens == backbone.ids.mask) & target).any() and not changed.any():
            break
    return Decoded(tokens, stored, passes)
