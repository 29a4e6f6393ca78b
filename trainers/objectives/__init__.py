"""Training objectives. Each returns sums and weights; `ObjectiveTrainer` alone divides. A new one: one file, one line.

Shapes: B examples, T tokens, V vocabulary; losses in nats.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Protocol

import torch

from harness.config import unknown
from trainers.encode import Example
from trainers.objective_names import OBJECTIVES


class Objective(Protocol):
    """Turns examples into a batch of tensors, corrupts it, and gives the loss as K sums to be divided by K weights.

    The loss to descend is Σ_k loss_sum_k / weight_k, both summed over all rows of an optimiser step: sums add up over
    micro-batches and processes, so that cutting a step in pieces changes nothing. Weights are known before any
    network runs. Rows are independent: `cut` takes some of them out of a batch that was corrupted as a whole.
    """

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Padded tensors of a batch; the letters after a name's last underscore are its axes, B first."""
        ...

    def corrupt(self, batch: dict[str, torch.Tensor], rng: torch.Generator) -> dict[str, torch.Tensor]:
        """The batch with the noise that this step draws (as it is, where nothing is drawn)."""
        ...

    def weights(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weight sums [K] of a corrupted batch."""
        ...

    def loss_sums(self, network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Loss sums [K] of a corrupted batch, nats; `network` is a transformers model or a MaskedBackbone."""
        ...


def make_objective(name: str, settings: dict, **context) -> Objective:
    """The objective called `name`.

    Raises:
        ValueError: a setting that it does not have, or a value that cannot be.
    """
    module, _, attribute = OBJECTIVES[name].target.partition(":")
    make = getattr(importlib.import_module(module), attribute)
    known = sorted(set(inspect.signature(make).parameters) - set(context))
    for setting in settings:
        if setting not in known:
            raise ValueError(f"objective {name}: " + unknown("setting", setting, known))
    return make(**settings, **context)


def divided(sums_K: torch.Tensor, weights_K: torch.Tensor) -> torch.Tensor:
    """The loss of sums and weights: the only division."""
    return (sums_K / weights_K.clamp(min=torch.finfo(torch.float32).tiny)).sum()


def cut(batch: dict[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    """Some rows of a batch, without the padding that only the other rows needed."""
    size = len(next(iter(batch.values())))
    if rows == slice(0, size):
        return batch
    part = {name: tensor[rows] for name, tensor in batch.items()}
    for axis in {name[-1] for name in part if name.startswith("attend_")}:
        width = int(part[f"attend_B{axis}"].any(0).nonzero().max()) + 1
        part = {name: t[..., :width] if name.rsplit("_", 1)[1][-1] == axis else t for name, t in part.items()}
    return part


def check_normalise(value: str) -> None:
    """ValueError unless a loss is weighed by "token" or by "example"."""
    if value not in ("token", "example"):
        raise ValueError(f"normalise={value!r}: expected 'token' or 'example'")


def pad_to(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Right-padded int64 tensor of id lists."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)


def smoothed_nll(
    logits_MV: torch.Tensor, target_M: torch.Tensor, smoothing: float, z_loss: float = 0.0
) -> torch.Tensor:
    """(1 − ε)·(−log p(target)) + ε·mean over V of (−log p) + z_loss·log²Z, per position [M], float32."""
    logits_MV = logits_MV.float()
    if not smoothing:
        return _NegativeLogLikelihood.apply(logits_MV, target_M, z_loss)  # type: ignore[return-value]
    total_M = logits_MV.logsumexp(-1)
    nll_M = total_M - logits_MV.gather(1, target_M.unsqueeze(1)).squeeze(1)
    return (1 - smoothing) * nll_M + smoothing * (total_M - logits_MV.mean(-1)) + z_loss * total_M.square()


class _NegativeLogLikelihood(torch.autograd.Function):
    """logsumexp − logit of the target (+ z_loss·logsumexp²), with one matrix of the logits' size in backward (two with z),
    where autograd makes four.

    The same operations in the same order as autograd's, so that not a bit differs: with a quarter of a million tokens the
    logits are the memory of a step.
    """

    @staticmethod
    def forward(ctx, logits_MV: torch.Tensor, target_M: torch.Tensor, z_loss: float) -> torch.Tensor:  # type: ignore[override]
        total_M = logits_MV.logsumexp(-1)
        ctx.save_for_backward(logits_MV, target_M, total_M)
        ctx.z_loss = z_loss
        nll_M = total_M - logits_MV.gather(1, target_M.unsqueeze(1)).squeeze(1)
        return nll_M + z_loss * total_M.square() if z_loss else nll_M

    @staticmethod
    def backward(ctx, gradient_M: torch.Tensor):  # type: ignore[override]
        logits_MV, target_M, total_M = ctx.saved_tensors
        share_MV = (logits_MV - total_M.unsqueeze(1)).exp_()
        minus_M1 = -gradient_M.unsqueeze(1)
        if not ctx.z_loss:
            return share_MV.mul_(-minus_M1).scatter_add_(1, target_M.unsqueeze(1), minus_M1), None, None
        square_M = (gradient_M * ctx.z_loss) * (2 * total_M)
        gradient_MV = (share_MV * square_M.unsqueeze(1)).scatter_add_(1, target_M.unsqueeze(1), minus_M1)
        return gradient_MV.add_(share_MV.mul_(-minus_M1)), None, None
