"""Sampling: how a decoder draws a token, from counters alone.

The uniform number behind a token is a function of (key of the item, step, place in the answer), so that an item's
answer is the same alone, in any batch and on any number of processes. The token is the inverse of the cumulative
distribution at that number: one number per token, whatever the size of the vocabulary.
Shapes: B rows, T tokens, V vocabulary, M positions asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.scorers.masks import key_of, uniforms


@dataclass(frozen=True)
class Sampler:
    """temperature 0 takes the most probable token; top_p keeps the fewest tokens that hold that much probability.

    keys_B: one 64-bit key per row; see `sampler_of`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    keys_B: tuple[np.uint64, ...] = ()

    def numbers(self, at_BT: torch.Tensor, place_BT: torch.Tensor, step: int) -> torch.Tensor | None:
        """The uniform numbers that decide the tokens at the true entries of at_BT (row-major, [M]); None: none needed.

        place_BT: a position's number in its answer.
        """
        return self.uniform_BT(place_BT, stream=step)[at_BT] if self.temperature else None

    def choose(self, logits_MV: torch.Tensor, uniform_M: torch.Tensor | None) -> torch.Tensor:
        """The tokens [M] that these numbers stand for; the most probable ones without numbers."""
        if uniform_M is None:
            return logits_MV.argmax(-1)
        mass_MV = nucleus((logits_MV.double() / self.temperature).softmax(-1), self.top_p).cumsum(-1)
        level_M1 = (uniform_M * mass_MV[:, -1]).unsqueeze(1)
        return torch.searchsorted(mass_MV, level_M1, right=True).squeeze(1).clamp(max=logits_MV.shape[1] - 1)

    def uniform_BT(self, place_BT: torch.Tensor, stream: int) -> torch.Tensor:
        """A uniform number in [0, 1) for every place, float64; anything outside the answer (place −1) gets one, too."""
        keys_B = self.keys_B or (key_of(0, ""),) * len(place_BT)
        place = place_BT.clamp(min=0).cpu().numpy()
        rows = [uniforms(key, stream, int(row.max()) + 1)[row] for key, row in zip(keys_B, place, strict=True)]
        return torch.from_numpy(np.stack(rows)).to(place_BT.device)


def sampler_of(temperature: float, top_p: float, seed: int, names: Sequence[str]) -> Sampler:
    """A sampler whose row b belongs to the item called names[b]."""
    return Sampler(temperature, top_p, tuple(key_of(seed, name) for name in names))


def nucleus(mass_MV: torch.Tensor, top_p: float) -> torch.Tensor:
    """The distribution with everything outside its nucleus set to 0, not renormalised (Holtzman et al. 2020)."""
    if top_p >= 1:
        return mass_MV
    sorted_MV, order_MV = mass_MV.sort(dim=-1, descending=True, stable=True)
    kept_MV = sorted_MV * (sorted_MV.cumsum(-1) - sorted_MV < top_p)
    return torch.zeros_like(mass_MV).scatter_(-1, order_MV, kept_MV)
