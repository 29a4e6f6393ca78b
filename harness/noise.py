"""Noise schedules of absorbing-state diffusion, shared by objective, scorer and decoder.

t ∈ [0, 1], t = 1 is fully masked; alpha(t) is the probability that a token is still visible.
`weight(t)` multiplies the cross-entropy of a masked token in the training loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class LinearSchedule:
    """alpha(t) = 1 − t on a grid of `timesteps`, as in DiffusionLLM (T = 50).

    weight "linear": T·(1 − (t−1)/T) for step t = 1…T (the reparameterised bound of RDM, DiffusionLLM A.1);
    "constant": T; "elbo": T/t, i.e. 1/masked fraction (LLaDA, MDLM).
    """

    timesteps: int = 50
    weighting: Literal["linear", "constant", "elbo"] = "linear"

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        """Probability that a token is visible at time t ∈ [0, 1]."""
        return 1 - t

    def weight(self, step: torch.Tensor) -> torch.Tensor:
        """Loss weight of steps in (0, T], whole ones or not (float tensor of the same shape)."""
        step = step.float()
        if self.weighting == "linear":
            return self.timesteps - (step - 1)
        if self.weighting == "elbo":
            return self.timesteps / step
        return torch.full_like(step, float(self.timesteps))


def masked_after(step: int, steps: int, maskable: torch.Tensor, curve: Literal["linear", "cosine"]) -> torch.Tensor:
    """How many of `maskable` tokens stay masked after refinement pass `step` (1-based) of `steps`.

    linear: floor(N·(1 − step/steps)) (Mask-Predict); cosine: floor(N·cos(π·step/(2·steps))) (DiffusionLLM).
    int64 tensor like `maskable`; 0 after the last pass.
    """
    if step >= steps:
        return torch.zeros_like(maskable)
    return (maskable.double() * masked_ratio(step, steps, curve) + 1e-9).floor().long()


def masked_ratio(step: int, steps: int, curve: Literal["linear", "cosine"]) -> float:
    """Share of an answer that stays masked after pass `step` (1-based) of `steps`: 1 − s/T, or cos(π·s/(2·T)); 0 at the end."""
    if step >= steps:
        return 0.0
    return 1 - step / steps if curve == "linear" else math.cos(math.pi * step / (2 * steps))
