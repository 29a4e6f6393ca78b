"""Mask-Predict (Ghazvininejad et al. 2019, arXiv 1904.09324), in the settings of Instruct-XMLR.

1. Everything hidden: fill each position with its argmax and keep its log-probability.
2. After pass s of T, hide the floor(N·(1 − s/T)) positions of lowest stored log-probability again.
3. Predict the hidden ones anew; tokens that stayed keep the log-probability they were accepted with.
"""

from __future__ import annotations

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded, candidates, lowest, masked_canvas
from harness.noise import masked_after


@torch.inference_mode()
def mask_predict(
    backbone: MaskedBackbone, canvas: Canvas, steps: int, rng: torch.Generator | None = None, floor_one: bool = False
) -> Decoded:
    """Fill the targets of a canvas in at most `steps` parallel passes (greedy; `rng` is not used).

    Args:
        floor_one: hide at least one position until the last pass, as the original does; Instruct-XMLR does not.

    A row whose count of positions to hide is 0 is finished and leaves the batch.
    """
    del rng
    work = masked_canvas(canvas, backbone.ids.mask)
    tokens, hidden = work.tokens_BT.clone(), canvas.target_BT.clone()
    logprob = torch.zeros(tokens.shape, device=tokens.device)
    length = canvas.target_BT.sum(1)
    passes = torch.zeros_like(length)
    for step in range(1, steps + 1):
        rows = hidden.any(1).nonzero().squeeze(1)
        if not len(rows):
            break
        token, score = candidates(backbone, canvas.with_tokens(tokens).select(rows), hidden[rows])
        where = torch.zeros_like(hidden)
        where[rows] = hidden[rows]
        tokens[where], logprob[where] = token, score
        passes[rows] += 1
        count = masked_after(step, steps, length, "linear")
        if floor_one and step < steps:
            count = count.clamp(min=1).minimum(length)
        count = count * hidden.any(1)
        hidden = lowest(logprob, canvas.target_BT, count)
        tokens = tokens.masked_fill(hidden, backbone.ids.mask)
    return Decoded(tokens, logprob, passes)
