"""Left to right: one token per pass, the leftmost hidden one, as an autoregressive model writes (control of the papers)."""

from __future__ import annotations

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded
from harness.decoders.board import Board
from harness.decoders.sampling import Sampler


@torch.inference_mode()
def left_to_right(backbone: MaskedBackbone, canvas: Canvas, steps: int, rng: Sampler | None = None) -> Decoded:
    """Fill the targets of a canvas from the left; as many passes as tokens, so `steps` bounds nothing."""
    board, step = Board(backbone, canvas, steps, rng), 0
    while (open_BT := board.open_BT).any():
        step += 1
        first_BT = open_BT & (open_BT.cumsum(1) == 1)
        board.write(first_BT, board.ask(first_BT, step))
    return board.done()
