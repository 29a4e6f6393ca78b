"""Conditional masked language modelling with a length head: the Instruct-XMLR objective (ICLR 2024; facts B1).

Per example, n = floor(u·L) + 1 of the L answer tokens are hidden (u uniform; bos and eos never), loss on those
only, as a mean over the hidden tokens of the batch (`normalise="example"`, our deviation: every example weighs the
same, as in the other recipes), label smoothing 0.1; 15 % of the prompt's tokens are hidden as
noise without loss; plus `length_weight` × the length head's loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas, Layout, SpecialIds
from harness.lengths import length_loss_sum
from trainers.encode import Example
from trainers.objectives import check_normalise, smoothed_nll
from trainers.packing import Reading


def pack_examples(layout: Layout, ids: SpecialIds, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """A batch of examples as the tensors of a Canvas."""
    canvas = layout.pack([(e.prompt, e.target) for e in examples], ids)
    return {name: getattr(canvas, name) for name in Canvas.__dataclass_fields__}


def hide_exactly(count_B: torch.Tensor, pool_BT: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """count_B uniformly random positions of the pool per row, boolean [B, T]."""
    draw_BT = torch.rand(pool_BT.shape, generator=rng).to(pool_BT.device).masked_fill(~pool_BT, 2.0)
    rank_BT = draw_BT.argsort(1).argsort(1)
    return (rank_BT < count_B.unsqueeze(1)) & pool_BT


def uniform_counts(size_B: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """How many of size_B positions to hide, uniform in 1 … size: floor(u·size) + 1 [B]."""
    u_B = torch.rand(size_B.shape, generator=rng).to(size_B.device)
    return (u_B * size_B).floor().long() + 1


class Masked:
    """Uniform masking of the answer, noise on the prompt, length loss."""

    def __init__(
        self,
        *,
        ids: SpecialIds,
        layout: Layout,
        prompt_noise: float = 0.15,
        label_smoothing: float = 0.1,
        length_weight: float = 0.1,
        normalise: Literal["token", "example"] = "token",
    ):
        check_normalise(normalise)
        if not 0 <= prompt_noise < 1 or not 0 <= label_smoothing < 1 or length_weight < 0:
            raise ValueError("prompt_noise and label_smoothing must lie in [0, 1), length_weight must not be negative")
        self.ids, self.layout = ids, layout
        self.prompt_noise, self.label_smoothing, self.length_weight = prompt_noise, label_smoothing, length_weight
        self.normalise = normalise

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The tensors of a clean Canvas; corruption happens in `loss`, with its generator."""
        return pack_examples(self.layout, self.ids, examples)

    def hide(self, canvas: Canvas, rng: torch.Generator) -> tuple[Canvas, torch.Tensor]:
        """(canvas with answer and prompt tokens hidden, hidden answer positions [B, T])."""
        hidden_BT = hide_exactly(uniform_counts(canvas.target_BT.sum(1), rng), canvas.target_BT, rng)
        special_BT = (canvas.tokens_BT == self.ids.bos) | (canvas.tokens_BT == self.ids.eos)
        noise_BT = torch.rand(canvas.tokens_BT.shape, generator=rng).to(special_BT.device) < self.prompt_noise
        noise_BT = noise_BT & canvas.prompt_BT & ~special_BT
        return canvas.with_tokens(canvas.tokens_BT.masked_fill(hidden_BT | noise_BT, self.ids.mask)), hidden_BT

    def corrupt(self, batch: dict[str, torch.Tensor], rng: torch.Generator) -> dict[str, torch.Tensor]:
        """Adds noised_BT, the tokens with some hidden, and hidden_BT, the answer positions among them."""
        noised, hidden_BT = self.hide(Canvas(**batch), rng)
        return {**batch, "noised_BT": noised.tokens_BT, "hidden_BT": hidden_BT}

    def weights(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Hidden answer tokens, or examples; and examples for the length loss [2]."""
        hidden_BT = batch["hidden_BT"]
        size = float(len(hidden_BT))
        return torch.tensor([size if self.normalise == "example" else float(hidden_BT.sum()), size])

    def loss_sums(self, network: MaskedBackbone, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum over hidden answer tokens (each 1, or 1/their number in its row), and weighted length loss [2]."""
        fields = dict(batch)
        noised_BT, hidden_BT, pack_B = fields.pop("noised_BT"), fields.pop("hidden_BT"), fields.pop("pack_B", None)
        clean = Canvas(**fields)
        read = Reading(network, clean.with_tokens(noised_BT), pack_B)
        nll_M = smoothed_nll(read.logits_at(hidden_BT), clean.tokens_BT[hidden_BT], self.label_smoothing)
        length_sum = torch.zeros((), device=nll_M.device)
        if network.length_head is not None and self.length_weight:
            if not self.layout.isolated:
                # a joint layout's prompt states have seen the answer's length: read the head off prompts alone
                read = Reading(network, _prompt_only(clean), pack_B)
            logits_BC = network.length_logits(read.states_BTD(), clean)
            length_sum = self.length_weight * length_loss_sum(logits_BC, clean.target_BT.sum(1))
        if self.normalise == "example":
            nll_M = nll_M * (1 / hidden_BT.sum(1)).unsqueeze(1).expand(hidden_BT.shape)[hidden_BT]
        return torch.stack([nll_M.sum(), length_sum])


def _prompt_only(canvas: Canvas) -> Canvas:
    """The same rows with everything but the prompt hidden from attention."""
    return Canvas(
        canvas.tokens_BT,
        canvas.target_BT & False,
        canvas.eos_BT & False,
        canvas.prompt_BT,
        canvas.prompt_BT,
        canvas.positions_BT,
    )
