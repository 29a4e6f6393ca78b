"""A board: a canvas while it is being filled, shared by all decoders.

It holds the tokens so far, the log-probability each was accepted with, and the passes each row has cost. `ask` is one
forward pass over the rows that still have a question, so finished rows leave the batch; no row's answer depends on
which other rows are in its pass.
Shapes: B rows, T tokens, V vocabulary, M positions asked for; log-probabilities in nats.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import Decoded, masked_canvas
from harness.decoders.block_cache import BlockCache
from harness.decoders.sampling import Sampler
from harness.rows import ScoringError, positions_at_once

Rule = Literal["low_confidence", "entropy", "margin"]
RULES: tuple[Rule, ...] = ("low_confidence", "entropy", "margin")
_WATCHER: ContextVar[Callable[[list[int]], None] | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(tell: Callable[[list[int]], None]) -> Iterator[None]:
    """Whoever decodes a single row here with a decoder that takes no token back tells its final tokens, from the first."""
    token = _WATCHER.set(tell)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@dataclass(frozen=True)
class Guess:
    """Answer of one pass at the positions asked for (0 elsewhere): token, its log-probability, how certain (higher: more)."""

    token_BT: torch.Tensor
    score_BT: torch.Tensor
    certainty_BT: torch.Tensor


class Board:
    """The state of one decoding; everything target starts hidden. takes_back: whether `hide` may be called.

    Raises:
        ValueError: steps < 1.
    """

    def __init__(
        self,
        backbone: MaskedBackbone,
        canvas: Canvas,
        steps: int,
        rng: Sampler | None = None,
        takes_back: bool = False,
    ):
        if steps < 1:
            raise ValueError(f"steps={steps}: a decoder needs at least 1 forward pass.")
        self.backbone, self.steps, self.rng = backbone, steps, rng or Sampler()
        self.canvas = masked_canvas(canvas, backbone.ids.mask)
        self.target_BT, self.tokens_BT = canvas.target_BT, self.canvas.tokens_BT
        self.logprob_BT = torch.zeros(self.tokens_BT.shape, device=self.tokens_BT.device)
        self.length_B = canvas.target_BT.sum(1)
        self.passes_B = torch.zeros_like(self.length_B)
        self.positions_at_once = positions_at_once(backbone)
        self.block_cache: BlockCache | None = None
        self._watcher = None if takes_back or len(self.length_B) > 1 else _WATCHER.get()

    @cached_property
    def place_BT(self) -> torch.Tensor:
        """Number of each target position in its answer, from 0 (-1 before it)."""
        return self.target_BT.cumsum(1) - 1

    @cached_property
    def _endless_B(self) -> torch.Tensor:
        return ~self.canvas.eos_BT.any(1)

    @property
    def hidden_BT(self) -> torch.Tensor:
        """Target positions that hold no token."""
        return (self.tokens_BT == self.backbone.ids.mask) & self.target_BT

    @property
    def open_BT(self) -> torch.Tensor:
        """Hidden positions, for decoders that never take a token back: none in a row whose answer is complete.

        An answer ends at its first eos where the canvas has no eos of its own; what stands behind cannot change it.
        """
        hidden_BT = self.hidden_BT
        if not self._endless_B.any():
            return hidden_BT
        end_BT = (self.tokens_BT == self.backbone.ids.eos) & self.target_BT
        before_BT = hidden_BT & (end_BT.cumsum(1) == 0)
        complete_B = self._endless_B & end_BT.any(1) & ~before_BT.any(1)
        return hidden_BT & ~complete_B.unsqueeze(1)

    def ask(self, at_BT: torch.Tensor, step: int, rule: Rule = "low_confidence") -> Guess:
        """One forward pass over the rows with true entries in at_BT; sampled tokens are drawn for this `step`."""
        asking_B = at_BT.any(1)
        asking = asking_B.tolist()
        if not any(asking):
            return Guess(torch.zeros_like(self.tokens_BT), *[torch.zeros_like(self.logprob_BT)] * 2)
        canvas, asked_BT = self.canvas.with_tokens(self.tokens_BT), at_BT
        if not all(asking):
            canvas, asked_BT = canvas.select(asking_B), at_BT[asking_B]
        if self.block_cache is None:
            hidden_BTD = self.backbone.hidden(canvas)
        else:
            hidden_BTD = self.block_cache.hidden(canvas, asked_BT, asking_B)
        uniform_M = self.rng.numbers(at_BT, self.place_BT, step)
        token_M, score_M, certainty_M = self._read(hidden_BTD, asked_BT, uniform_M, rule)
        if not math.isfinite(score_M.sum(dtype=torch.float32).item()):
            raise ScoringError(
                "the network gave NaN or infinite logits while decoding: its weights or its dtype are broken."
            )
        self.passes_B += asking_B
        token_BT = torch.zeros_like(self.tokens_BT).masked_scatter_(at_BT, token_M)
        score_BT = torch.zeros_like(self.logprob_BT).masked_scatter_(at_BT, score_M)
        if rule == RULES[0]:
            return Guess(token_BT, score_BT, score_BT)
        return Guess(token_BT, score_BT, torch.zeros_like(score_BT).masked_scatter_(at_BT, certainty_M))

    def _read(self, hidden_BTD: torch.Tensor, asked_BT: torch.Tensor, uniform_M: torch.Tensor | None, rule: Rule):
        """Token, log-probability and certainty at the positions asked for; logits in slices of bounded size."""
        if asked_BT.numel() <= self.positions_at_once:
            return self._answer(self.backbone.logits_at(hidden_BTD, asked_BT), uniform_M, rule)
        place_M, parts = asked_BT.flatten().nonzero().squeeze(1), []
        for at in range(0, len(place_M), self.positions_at_once):
            here = slice(at, at + self.positions_at_once)
            where_BT = torch.zeros_like(asked_BT.flatten()).index_fill_(0, place_M[here], True).view(asked_BT.shape)
            drawn_M = None if uniform_M is None else uniform_M[here]
            parts.append(self._answer(self.backbone.logits_at(hidden_BTD, where_BT), drawn_M, rule))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _answer(self, logits_MV: torch.Tensor, uniform_M: torch.Tensor | None, rule: Rule):
        """Token, log-probability and certainty for each row of logits, [M] each."""
        logits_MV = logits_MV.float()
        logits_MV[:, self.backbone.ids.mask] = -torch.inf  # the mask token can never be written
        logprob_MV = logits_MV.log_softmax(-1)
        token_M = self.rng.choose(logprob_MV, uniform_M)
        score_M = logprob_MV.gather(1, token_M.unsqueeze(1)).squeeze(1)
        return token_M, score_M, certainty(rule, logprob_MV, score_M)

    def write(self, where_BT: torch.Tensor, guess: Guess) -> None:
        """Accept a guess at some positions."""
        self.tokens_BT = torch.where(where_BT, guess.token_BT, self.tokens_BT)
        self.logprob_BT = torch.where(where_BT, guess.score_BT, self.logprob_BT)
        if self._watcher is not None:
            settled_T = self.target_BT[0] & (self.hidden_BT[0].cumsum(0) == 0)
            self._watcher(self.tokens_BT[0][settled_T].tolist())

    def hide(self, where_BT: torch.Tensor) -> None:
        """Take tokens back; the log-probability they were accepted with stays known."""
        self.tokens_BT = self.tokens_BT.masked_fill(where_BT, self.backbone.ids.mask)

    def done(self) -> Decoded:
        """The result; positions behind the end of a complete answer are closed with eos."""
        tokens_BT = self.tokens_BT.masked_fill(self.hidden_BT, self.backbone.ids.eos)
        return Decoded(tokens_BT, self.logprob_BT, self.passes_B)


def certainty(rule: Rule, logprob_MV: torch.Tensor, score_M: torch.Tensor) -> torch.Tensor:
    """How certain a network is at each position, higher is more [M].

    low_confidence: log-probability of the chosen token (LLaDA); entropy: minus the distribution's entropy, margin:
    difference of the two largest probabilities (Dream's `entropy` and `topk_margin`).
    """
    if rule == "low_confidence":
        return score_M
    if rule == "margin":
        best_M2 = logprob_MV.exp().topk(2, dim=-1).values
        return best_M2[:, 0] - best_M2[:, 1]
    return -torch.special.entr(logprob_MV.exp()).sum(-1)
