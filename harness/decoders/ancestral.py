"""Ancestral sampling of absorbing diffusion (MDLM, arXiv 2406.07524, linear schedule).

Going back from step s + 1 to s of T, each hidden position is revealed with probability 1/(s + 1), its token drawn from
the network's distribution, and kept. Its time of reveal is then uniform over the T steps: it is drawn once, and steps
that reveal nothing cost no pass. With temperature 0 the order alone is random (DiffusionLLM's `cmlm`).
"""

from __future__ import annotations

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded
from harness.decoders.board import Board
from harness.decoders.sampling import Sampler


@torch.inference_mode()
def ancestral(backbone: MaskedBackbone, canvas: Canvas, steps: int, rng: Sampler | None = None) -> Decoded:
    """Fill the targets of a canvas in at most `steps` passes, in a random order."""
    board = Board(backbone, canvas, steps, rng)
    reveal_BT = (board.rng.uniform_BT(board.place_BT, stream=0) * steps).long() + 1
    for step in range(1, steps + 1):
        now_BT = board.open_BT & (reveal_BT == step)
        if now_BT.any():
            board.write(now_BT, board.ask(now_BT, step))
    return board.done()
