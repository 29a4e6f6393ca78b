"""Mask-Predict (Ghazvininejad et al. 2019, arXiv 1904.09324), in the settings of Instruct-XMLR.

1. Everything hidden: fill each position with its argmax and keep its log-probability.
2. After pass s of T, hide the floor(N·(1 − s/T)) positions of lowest stored log-probability again.
3. Predict the hidden ones anew; tokens that stayed keep the log-probability they were accepted with.
"""

from __future__ import annotations

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded, lowest
from harness.decoders.board import Board
from harness.decoders.sampling import Sampler
from harness.noise import masked_after


@torch.inference_mode()
def mask_predict(
    backbone: MaskedBackbone, canvas: Canvas, steps: int, rng: Sampler | None = None, floor_one: bool = False
) -> Decoded:
    """Fill the targets of a canvas in at most `steps` parallel passes.

    Args:
        floor_one: hide at least one position until the last pass, as the original does; Instruct-XMLR does not.

    A row whose count of positions to hide is 0 is finished and leaves the batch.
    """
    board = Board(backbone, canvas, steps, rng, takes_back=True)
    for step in range(1, steps + 1):
        hidden_BT = board.hidden_BT
        if not hidden_BT.any():
            break
        board.write(hidden_BT, board.ask(hidden_BT, step))
        if step == steps:
            break
        count_B = masked_after(step, steps, board.length_B, "linear")
        if floor_one:
            count_B = count_B.clamp(min=1).minimum(board.length_B)
        board.hide(lowest(board.logprob_BT, board.target_BT, count_B * hidden_BT.any(1)))
    return board.done()
