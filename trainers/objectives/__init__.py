"""Training objectives. Each returns sums and weights; `ObjectiveTrainer` alone divides. A new one: one file, one line.

Shapes: B examples, T tokens, V vocabulary; losses in nats.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from trainers.encode import Example


@dataclass(frozen=True)
class Entry:
    """Where an objective lives and which kind of network it trains."""

    target: str
    family: Literal["causal", "seq2seq", "masked"]


OBJECTIVES = {
    "causal": Entry("trainers.objectives.causal:Causal", "causal"),
    "seq2seq": Entry("trainers.objectives.seq2seq:Seq2Seq", "seq2seq"),
    "masked": Entry("trainers.objectives.masked:Masked", "masked"),
    "diffusion": Entry("trainers.objectives.diffusion:Diffusion", "masked"),
}


@dataclass(frozen=True)
class LossSums:
    """loss_sum / weight_sum is the loss to descend; `extra` is added to it as it is."""

    loss_sum: torch.Tensor
    weight_sum: torch.Tensor
    extra: torch.Tensor | None = None


class Objective(Protocol):
    """Turns examples into a batch of tensors, and a batch into loss sums."""

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Padded tensors of a batch."""
        ...

    def loss(self, network, batch: dict[str, torch.Tensor], rng: torch.Generator) -> LossSums:
        """Loss sums of a batch; `network` is a transformers model or a MaskedBackbone."""
        ...


def make_objective(name: str, settings: dict, **context) -> Objective:
    """The objective called `name`.

    Raises:
        ValueError: a setting that it does not have, or a value that cannot be.
    """
    module, _, attribute = OBJECTIVES[name].target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)(**settings, **context)
    except TypeError as error:
        raise ValueError(f"objective {name}: {error}") from error


def check_normalise(value: str) -> None:
    """ValueError unless a loss is weighed by "token" or by "example"."""
    if value not in ("token", "example"):
        raise ValueError(f"normalise={value!r}: expected 'token' or 'example'")


def pad_to(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Right-padded int64 tensor of id lists."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)


def smoothed_nll(logits_MV: torch.Tensor, target_M: torch.Tensor, smoothing: float) -> torch.Tensor:
    """(1 − ε)·(−log p(target)) + ε·mean over V of (−log p), per position [M], float32."""
    logits_MV = logits_MV.float()
    total_M = logits_MV.logsumexp(-1)
    nll_M = total_M - logits_MV.gather(1, target_M.unsqueeze(1)).squeeze(1)
    if not smoothing:
        return nll_M
    return (1 - smoothing) * nll_M + smoothing * (total_M - logits_MV.mean(-1))
