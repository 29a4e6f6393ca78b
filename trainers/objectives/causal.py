"""Causal language modelling of instructions: IT, IM (loss over instructions) and BLOOMZ's per-example weighting.

IT: loss on the answers and their `</s>`. IM (Shi et al. 2024, arXiv 2405.14394, Eq. 4): also on the instructions'
tokens, template tokens excluded; as released (facts A2) every template token but the opening marker's carries loss,
too (`template_loss`). `normalise="example"`: every example weighs the same, each of its loss tokens 1/n (BLOOMZ;
Instruction Modelling's micro-batches of one); "token": every loss token weighs the same. NEFTune (Jain et al. 2023):
trainers.neftune.

KL (facts A3): loss + kl_weight·KL to the network as it was before training. "full" is the divergence over the whole
vocabulary; "target_token" the released estimate log p(x) − log p_ref(x) at the label alone, whose gradient is −1
times that of the loss: at weight 1 the two cancel and nothing is learnt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional as F

from trainers.encode import INSTRUCTION, OUTPUT, Example
from trainers.objectives import check_normalise, pad_to, smoothed_nll
from trainers.packing import states_at


class Causal:
    """Next-token loss on the roles asked for; projection to the vocabulary only where there is loss."""

    def __init__(
        self,
        *,
        pad: int,
        eos: int,
        instruction_loss: bool = False,
        template_loss: bool = False,
        normalise: Literal["token", "example"] = "token",
        kl_weight: float = 0.0,
        kl_estimate: Literal["full", "target_token"] = "full",
    ):
        check_normalise(normalise)
        if kl_weight < 0 or kl_estimate not in ("full", "target_token"):
            raise ValueError(f"kl_weight {kl_weight} must not be negative, kl_estimate be 'full' or 'target_token'")
        self.pad, self.eos, self.normalise = pad, eos, normalise
        self.instruction_loss, self.template_loss = instruction_loss, template_loss
        self.kl_weight, self.kl_estimate = kl_weight, kl_estimate
        self._reference = None

    def remember(self, network) -> None:
        """Keep a frozen copy of the untrained network, where the KL term needs one."""
        if self.kl_weight:
            self._reference = copy.deepcopy(network).eval().requires_grad_(False)

    def _kept(self, example: Example) -> list[bool]:
        """Whether each token of a row carries loss."""
        opening = next((i for i, role in enumerate(example.roles) if role), len(example.roles))
        prompt = [
            role == OUTPUT
            or (self.instruction_loss and role == INSTRUCTION)
            or (self.template_loss and not role and index >= opening)
            for index, role in enumerate(example.roles)
        ]
        return prompt + [True] * (len(example.target) + example.closed)

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """tokens_BT, attend_BT, and weight_BT: the loss weight of each token as a prediction target."""
        rows = [[*e.prompt, *e.target, *([self.eos] if e.closed else [])] for e in examples]
        weight_BT = pad_to([[int(kept) for kept in self._kept(e)] for e in examples], 0).float()
        weight_BT[:, 0] = 0  # nothing comes before the first token
        if self.normalise == "example":
            weight_BT /= weight_BT.sum(1, keepdim=True).clamp(min=1)
        attend_BT = pad_to([[1] * len(row) for row in rows], 0)
        return {"tokens_BT": pad_to(rows, self.pad), "attend_BT": attend_BT, "weight_BT": weight_BT}

    def corrupt(self, batch: dict[str, torch.Tensor], rng: torch.Generator) -> dict[str, torch.Tensor]:
        """Nothing is drawn."""
        del rng
        return batch

    def weights(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the loss tokens' weights [1]."""
        return batch["weight_BT"][:, 1:].sum().reshape(1)

    def loss_sums(self, network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of −log p(token | what came before) [1]."""
        weight_BT = batch["weight_BT"][:, 1:]
        where_BT = weight_BT > 0
        target_M = batch["tokens_BT"][:, 1:][where_BT]
        before_BT = F.pad(where_BT, (0, 1))  # the place from which a token is predicted
        logits_MV = network.get_output_embeddings()(states_at(network, batch, before_BT))
        nll_M = smoothed_nll(logits_MV, target_M, 0.0)
        if self._reference is not None:
            nll_M = nll_M + self.kl_weight * self._kl(logits_MV, target_M, batch, before_BT)
        return (nll_M * weight_BT[where_BT]).sum().reshape(1)

    def _kl(self, logits_MV: torch.Tensor, target_M: torch.Tensor, batch, before_BT: torch.Tensor) -> torch.Tensor:
        """Divergence from the reference at each loss position [M], nats."""
        reference = self._reference
        assert reference is not None
        if reference.device != logits_MV.device:  # once: nothing that moves the network knows of it
            reference.to(logits_MV.device)
        with torch.no_grad():
            states_MD = states_at(reference, batch, before_BT)
            reference_MV = reference.get_output_embeddings()(states_MD).float().log_softmax(-1)
        logprob_MV = logits_MV.float().log_softmax(-1)
        if self.kl_estimate == "full":
            return (logprob_MV.exp() * (logprob_MV - reference_MV)).sum(-1)
        return (logprob_MV - reference_MV).gather(1, target_M.unsqueeze(1)).squeeze(1)
