"""Reparameterized decoding of absorbing diffusion (RDM, arXiv 2302.05737; DiffusionLLM, arXiv 2308.12219).

Per pass s of T: one forward over the canvas; every maskable position gets the log-probability of its argmax; the
k = floor(N·r(s)) positions of lowest score become (or stay) noise, filled ones included; hidden positions outside
them are written. `selection="stochastic"` ranks by score + noise·r(s)·Gumbel, drawn per item, pass and place.
`condition="conditional"` re-hides a filled position only if the network still predicts the held
token with a score below the one it was accepted with.
"""

from __future__ import annotations

from typing import Literal

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded, lowest
from harness.decoders.board import Board, Guess
from harness.decoders.sampling import Sampler
from harness.noise import masked_after, masked_ratio


@torch.inference_mode()
def reparameterized(
    backbone: MaskedBackbone,
    canvas: Canvas,
    steps: int,
    rng: Sampler | None = None,
    schedule: Literal["cosine", "linear"] = "cosine",
    condition: Literal["unconditional", "conditional"] = "unconditional",
    selection: Literal["deterministic", "stochastic"] = "deterministic",
    noise: float = 1.0,
) -> Decoded:
    """Fill the targets of a canvas in at most `steps` passes.

    Each pass costs the whole canvas. Two kinds of pass are left out, neither of which can change an answer: one over a
    canvas that did not change since the last pass (its guess is used again, drawn tokens included), and one over a
    filled row of which nothing may become noise any more.
    """
    board = Board(backbone, canvas, steps, rng, takes_back=True)
    target_BT, changed_B = board.target_BT, board.length_B > 0
    guess = board.ask(torch.zeros_like(target_BT), 0)
    for step in range(1, steps + 1):
        count_B, hidden_BT = masked_after(step, steps, board.length_B, schedule), board.hidden_BT
        alive_B = hidden_BT.any(1) | (count_B > 0)
        if not alive_B.any():
            break
        guess = _renewed(guess, board, target_BT & (alive_B & changed_B).unsqueeze(1), step)
        rank_BT = guess.score_BT
        if selection == "stochastic":
            rank_BT = rank_BT + noise * masked_ratio(step, steps, schedule) * _gumbel(board, step)
        noise_BT = lowest(rank_BT, target_BT, count_B)
        if condition == "conditional":
            doubted_BT = (guess.token_BT == board.tokens_BT) & (guess.score_BT < board.logprob_BT)
            noise_BT = noise_BT & (hidden_BT | doubted_BT)
        before_BT = board.tokens_BT
        board.write(hidden_BT & ~noise_BT, guess)
        board.hide(noise_BT)
        changed_B = (board.tokens_BT != before_BT).any(1)
    return board.done()


def _gumbel(board: Board, step: int) -> torch.Tensor:
    """Standard Gumbel numbers for every place, other ones than those that tokens are drawn with."""
    uniform_BT = board.rng.uniform_BT(board.place_BT, stream=board.steps + step).clamp(1e-12, 1 - 1e-12)
    return -(-uniform_BT.log()).log()


def _renewed(old: Guess, board: Board, at_BT: torch.Tensor, step: int) -> Guess:
    """The old guess, replaced at the positions asked for."""
    if not at_BT.any():
        return old
    new = board.ask(at_BT, step)
    return Guess(*(torch.where(at_BT, getattr(new, n), getattr(old, n)) for n in Guess.__dataclass_fields__))
