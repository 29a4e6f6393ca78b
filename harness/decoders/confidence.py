"""Confidence decoding (LLaDA, arXiv 2502.09992; Dream, arXiv 2508.15487; Fast-dLLM, arXiv 2505.22618).

1. Predict the hidden positions of the leftmost unfinished block (semi-autoregressive; one block is the whole answer).
2. Keep the tokens that the network is most certain of; what is kept is never taken back.
How many are kept per pass:
- by the step budget: so many that floor(N·(1 − s/T)) stay hidden after pass s of T, leftmost blocks first. Where
  `block_length` divides N and the number of blocks divides T, that is LLaDA's T/blocks passes per block; elsewhere a
  pass may finish one block and begin the next, and the last block is shorter (answers differ in length).
- `threshold` τ: all of the block with probability ≥ τ, at least one (Fast-dLLM);
- `factor` f: the n-th most probable of the block while its probability ≥ 1 − f/(n + 1), at least one (Fast-dLLM).
The last two take as many passes as the answer needs, as in their paper: `steps` does not bound them.
"""

from __future__ import annotations

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.config import unknown
from harness.decoders import Decoded, lowest, rank_in
from harness.decoders.block_cache import BLOCK_CACHES, BlockCache, BlockCaching
from harness.decoders.board import RULES, Board, Guess, Rule
from harness.decoders.sampling import Sampler
from harness.noise import masked_after


@torch.inference_mode()
def confidence(
    backbone: MaskedBackbone,
    canvas: Canvas,
    steps: int,
    rng: Sampler | None = None,
    rule: Rule = "low_confidence",
    block_length: int = 0,
    threshold: float = 0.0,
    factor: float = 0.0,
    block_cache: BlockCaching = "off",
) -> Decoded:
    """Fill the targets of a canvas, most certain tokens first.

    Args:
        rule: what certainty is, see `harness.decoders.board.certainty`.
        block_length: tokens of a block; 0 = the whole answer is one block.
        threshold, factor: see the module's first lines; 0 = not used, at most one of them.
        block_cache: an approximation, see `harness.decoders.block_cache`; "off" computes every pass in full.
    """
    check(rule, block_length, threshold, factor, block_cache)
    board, step = Board(backbone, canvas, steps, rng), 0
    block_BT = board.place_BT // block_length if block_length else torch.zeros_like(board.place_BT)
    if block_cache != "off":
        board.block_cache = BlockCache(backbone, block_BT, block_cache)
    while (open_BT := board.open_BT).any():
        step += 1
        count_B = open_BT.any(1).long()
        if not (threshold or factor):
            count_B = (open_BT.sum(1) - masked_after(step, steps, board.length_B, "linear")).clamp(min=0)
        pool_BT = leftmost_blocks(open_BT, block_BT, count_B)
        if pool_BT.any():
            guess = board.ask(pool_BT, step, rule)
            keep_BT = most_certain(guess, pool_BT, block_BT, count_B)
            if threshold or factor:
                keep_BT = keep_BT | accepted(guess.score_BT, pool_BT, threshold, factor)
            board.write(keep_BT, guess)
    return board.done()


def leftmost_blocks(open_BT: torch.Tensor, block_BT: torch.Tensor, count_B: torch.Tensor) -> torch.Tensor:
    """The open positions of the leftmost blocks that hold at least count_B of them (none for a count of 0)."""
    nth_BT = open_BT & (open_BT.cumsum(1) == count_B.unsqueeze(1))
    last_B1 = block_BT.masked_fill(~nth_BT, -1).amax(1, keepdim=True)
    return open_BT & (block_BT <= last_B1)


def most_certain(guess: Guess, pool_BT: torch.Tensor, block_BT: torch.Tensor, count_B: torch.Tensor) -> torch.Tensor:
    """count_B positions of the pool: earlier blocks first, then the more certain (ties: leftmost first)."""
    rank_BT = rank_in(-guess.certainty_BT, pool_BT)
    return lowest((block_BT * rank_BT.shape[1] + rank_BT).double(), pool_BT, count_B)


def accepted(score_BT: torch.Tensor, pool_BT: torch.Tensor, threshold: float, factor: float) -> torch.Tensor:
    """Positions of the pool whose probability passes the threshold, or the factor rule at their rank (1 = highest)."""
    least_BT: torch.Tensor | float = threshold
    if factor:
        least_BT = 1 - factor / (rank_in(-score_BT, pool_BT).double() + 2)
    return pool_BT & (score_BT.double().exp() >= least_BT)


def check(rule: str, block_length: int, threshold: float, factor: float, block_cache: str = "off") -> None:
    """ValueError says which setting is wrong, and what would do."""
    if block_cache not in BLOCK_CACHES:
        raise ValueError(unknown("block_cache", block_cache, list(BLOCK_CACHES)))
    if block_cache != "off" and block_length < 1:
        raise ValueError(f"block_cache={block_cache} works block by block: give a block_length, as block_length=8.")
    if rule not in RULES:
        raise ValueError(unknown("confidence rule", rule, list(RULES)))
    if block_length < 0:
        raise ValueError(f"block_length={block_length}: expected a number of tokens, or 0 for one block.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: a probability between 0 and 1; 0 commits by the step budget instead.")
    if factor < 0:
        raise ValueError(f"factor={factor}: must be positive; 0 commits by the step budget instead.")
    if threshold and factor:
        raise ValueError(f"threshold={threshold} and factor={factor} are two rules for the same thing: give one.")
