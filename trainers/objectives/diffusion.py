"""Absorbing-state diffusion as DiffusionLLM trains it (arXiv 2308.12219; facts §1.3).

Per example two coupled steps t1, t2 ~ Uniform{1…T}: the larger masks each answer token (eos included) with
probability t/T, the smaller keeps each of those masks with probability min/max, so the second set is nested in the
first; equal draws mask independently. loss = mean over the 2B rows of Σ_masked w(t)·nll / n, n = maskable tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas, Layout, SpecialIds
from harness.noise import LinearSchedule
from trainers.encode import Example
from trainers.objectives import LossSums, check_normalise, smoothed_nll
from trainers.objectives.masked import hide_exactly, pack_examples, uniform_counts


class Diffusion:
    """Coupled draws, weight w(t) of the schedule, per-example normalisation by maskable tokens.

    Args:
        coupled: two nested draws per example (the paper); False draws one, at half the cost per step.
        mask_eos: the answer's `</s>` can be masked and is predicted (the paper trains it, and decodes with it given).
        exact_count: hide exactly n·t of the n maskable tokens, n·t uniform in 1…n, instead of each with probability
            t: the same bound (LLaDA, arXiv 2502.09992, eq. 6), and no example without a hidden token. Not coupled.
        normalise: "example" (the paper): every example weighs the same; "token": every maskable token does.
    """

    def __init__(
        self,
        *,
        ids: SpecialIds,
        layout: Layout,
        timesteps: int = 50,
        weighting: Literal["linear", "constant", "elbo"] = "linear",
        coupled: bool = True,
        mask_eos: bool = True,
        exact_count: bool = False,
        normalise: Literal["token", "example"] = "example",
        label_smoothing: float = 0.0,
        **_ids,
    ):
        if weighting not in ("linear", "constant", "elbo"):
            raise ValueError(f"weighting={weighting!r}: expected 'linear', 'constant' or 'elbo'")
        if timesteps < 1:
            raise ValueError(f"timesteps={timesteps}: must be at least 1")
        self.ids, self.layout, self.schedule = ids, layout, LinearSchedule(timesteps, weighting)
        check_normalise(normalise)
        if exact_count and coupled:
            raise ValueError("exact_count draws one set per example: set coupled: false")
        self.coupled, self.mask_eos, self.label_smoothing = coupled, mask_eos, label_smoothing
        self.exact_count, self.normalise = exact_count, normalise

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The tensors of a clean Canvas; corruption happens in `loss`, with its generator."""
        return pack_examples(self.layout, self.ids, examples)

    def draw(self, maskable_BT: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(steps [B'], hidden [B', T]) with B' = 2B when coupled: first the larger steps, then the nested smaller."""
        size, total = maskable_BT.shape, self.schedule.timesteps
        if self.exact_count:
            size_B = maskable_BT.sum(1).cpu()
            count_B = uniform_counts(size_B, rng)
            return count_B / size_B * total, hide_exactly(count_B, maskable_BT.cpu(), rng)
        pair_2B = torch.randint(1, total + 1, (2, size[0]), generator=rng)
        if not self.coupled:
            hidden_BT = torch.rand(size, generator=rng) < (pair_2B[0] / total).unsqueeze(1)
            return pair_2B[0], hidden_BT & maskable_BT.cpu()
        high_B, low_B = pair_2B.max(0).values, pair_2B.min(0).values
        first_BT = torch.rand(size, generator=rng) < (high_B / total).unsqueeze(1)
        draw_BT = torch.rand(size, generator=rng)
        nested_BT = first_BT & (draw_BT < (low_B / high_B).unsqueeze(1))
        alone_BT = draw_BT < (low_B / total).unsqueeze(1)
        second_BT = torch.where((high_B == low_B).unsqueeze(1), alone_BT, nested_BT)
        return torch.cat([high_B, low_B]), torch.cat([first_BT, second_BT]) & maskable_BT.cpu().repeat(2, 1)

    def loss(self, network: MaskedBackbone, batch: dict[str, torch.Tensor], rng: torch.Generator) -> LossSums:
        """Σ over rows of Σ_masked w(t)·nll/n, with the number of rows as weight; by token: without 1/n, and Σ n."""
        clean = Canvas(**batch)
        maskable_BT = clean.target_BT | clean.eos_BT if self.mask_eos else clean.target_BT
        step_B, hidden_BT = (drawn.to(clean.tokens_BT.device) for drawn in self.draw(maskable_BT, rng))
        if self.coupled:
            clean = clean.select(torch.arange(len(step_B), device=step_B.device) % len(maskable_BT))
            maskable_BT = maskable_BT.repeat(2, 1)
        noised = clean.with_tokens(clean.tokens_BT.masked_fill(hidden_BT, self.ids.mask))
        logits_MV = network.logits_at(network.hidden(noised), hidden_BT)
        nll_M = smoothed_nll(logits_MV, clean.tokens_BT[hidden_BT], self.label_smoothing)
        size_B = maskable_BT.sum(1).float()
        share_B = torch.ones_like(size_B) if self.normalise == "token" else 1 / size_B
        weight_M = (self.schedule.weight(step_B) * share_B).unsqueeze(1).expand(hidden_BT.shape)[hidden_BT]
        return LossSums((nll_M * weight_M).sum(), (size_B * share_B).sum())
