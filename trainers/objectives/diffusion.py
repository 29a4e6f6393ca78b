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
from trainers.objectives import check_normalise, smoothed_nll
from trainers.objectives.masked import hide_exactly, pack_examples, uniform_counts
from trainers.packing import Reading


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

    def corrupt(self, batch: dict[str, torch.Tensor], rng: torch.Generator) -> dict[str, torch.Tensor]:
        """Adds the steps step_BK and the hidden positions hidden_BKT of K = 1 or 2 draws per example."""
        step_R, hidden_RT = self.draw(self._maskable_BT(batch), rng)
        shape = (-1, len(batch["tokens_BT"]))
        hidden_KBT = hidden_RT.unflatten(0, shape)
        return {**batch, "step_BK": step_R.unflatten(0, shape).T, "hidden_BKT": hidden_KBT.transpose(0, 1)}

    def _maskable_BT(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return batch["target_BT"] | batch["eos_BT"] if self.mask_eos else batch["target_BT"]

    def weights(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Number of draws; by token: number of maskable tokens, once per draw [1]."""
        draws = batch["step_BK"].numel()
        if self.normalise == "token":
            draws = int(self._maskable_BT(batch).sum()) * batch["step_BK"].shape[1]
        return torch.tensor([float(draws)])

    def loss_sums(self, network: MaskedBackbone, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Σ over draws of Σ_masked w(t)·nll/n (by token: without 1/n) [1]."""
        fields = dict(batch)
        step_BK, hidden_BKT, pack_B = fields.pop("step_BK"), fields.pop("hidden_BKT"), fields.pop("pack_B", None)
        rows, draws = step_BK.shape
        step_R, hidden_RT = step_BK.T.flatten(), hidden_BKT.transpose(0, 1).flatten(0, 1)
        clean = Canvas(**fields)
        if draws > 1:
            clean = clean.select(torch.arange(rows * draws, device=step_R.device) % rows)
        noised = clean.with_tokens(clean.tokens_BT.masked_fill(hidden_RT, self.ids.mask))
        if pack_B is not None:  # every draw fills rows of its own
            pack_B = torch.cat([pack_B + draw * (int(pack_B[-1]) + 1) for draw in range(draws)])
        logits_MV = Reading(network, noised, pack_B).logits_at(hidden_RT)
        nll_M = smoothed_nll(logits_MV, clean.tokens_BT[hidden_RT], self.label_smoothing)
        weight_R = self.schedule.weight(step_R)
        if self.normalise == "example":
            weight_R = weight_R * (1 / self._maskable_BT(batch).sum(1).float().repeat(draws))
        return (nll_M * weight_R.unsqueeze(1).expand(hidden_RT.shape)[hidden_RT]).sum().reshape(1)
