"""Causal language modelling of instructions: IT, IM (loss over instructions) and BLOOMZ's per-example weighting.

IT: loss on the answer and its `</s>`. IM (Shi et al. 2024, arXiv 2405.14394, Eq. 4): also on the instruction's
tokens, template tokens excluded. `normalise="example"`: every example weighs the same, each of its loss tokens
1/n (BLOOMZ; Instruction Modelling's micro-batches of one); "token": every loss token weighs the same.
NEFTune (Jain et al. 2023) is the Trainer's own `neftune_noise_alpha`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from trainers.encode import Example
from trainers.objectives import LossSums, check_normalise, pad_to, smoothed_nll


class Causal:
    """Next-token loss on the roles asked for; projection to the vocabulary only where there is loss."""

    def __init__(
        self,
        *,
        pad: int,
        eos: int,
        instruction_loss: bool = False,
        normalise: Literal["token", "example"] = "token",
        **_ids,
    ):
        check_normalise(normalise)
        self.pad, self.eos, self.instruction_loss, self.normalise = pad, eos, instruction_loss, normalise

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """tokens_BT, attend_BT, and weight_BT: the loss weight of each token as a prediction target."""
        rows = [[*e.prompt, *e.target, self.eos] for e in examples]
        kept = [
            [self.instruction_loss and role for role in e.instruction] + [True] * (len(e.target) + 1) for e in examples
        ]
        tokens_BT = pad_to(rows, self.pad)
        weight_BT = pad_to([[int(k) for k in keep] for keep in kept], 0).float()
        weight_BT[:, 0] = 0  # nothing comes before the first token
        if self.normalise == "example":
            weight_BT /= weight_BT.sum(1, keepdim=True).clamp(min=1)
        attend_BT = pad_to([[1] * len(row) for row in rows], 0)
        return {"tokens_BT": tokens_BT, "attend_BT": attend_BT, "weight_BT": weight_BT}

    def loss(self, network, batch: dict[str, torch.Tensor], rng: torch.Generator) -> LossSums:
        """Weighted sum of −log p(token | what came before)."""
        del rng
        hidden_BTD = network.base_model(
            input_ids=batch["tokens_BT"], attention_mask=batch["attend_BT"], use_cache=False
        )[0]
        weight_BT = batch["weight_BT"][:, 1:]
        where_BT = weight_BT > 0
        logits_MV = network.get_output_embeddings()(hidden_BTD[:, :-1][where_BT])
        nll_M = smoothed_nll(logits_MV, batch["tokens_BT"][:, 1:][where_BT], 0.0)
        return LossSums((nll_M * weight_BT[where_BT]).sum(), weight_BT.sum())
