"""The length stage (DiffusionLLM §1.4): a length head trained on prompts alone, over a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.lengths import length_loss_sum
from trainers.encode import Example
from trainers.objectives import LossSums


class LengthStage:
    """−log p(number of answer tokens | prompt); gradients reach the head only."""

    def __init__(self, backbone: MaskedBackbone):
        self.canvas = backbone.length_canvas

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The tensors of a prompt-only Canvas, and length_B in content tokens."""
        canvas = self.canvas([e.prompt for e in examples])
        batch = {name: getattr(canvas, name) for name in Canvas.__dataclass_fields__}
        return {**batch, "length_B": torch.tensor([len(e.target) for e in examples])}

    def loss(self, network: MaskedBackbone, batch: dict[str, torch.Tensor], rng: torch.Generator) -> LossSums:
        """Sum over examples, weight = number of examples."""
        del rng
        fields = dict(batch)
        length_B = fields.pop("length_B")
        canvas = Canvas(**fields)
        with torch.no_grad():
            states_BTD = network.hidden(canvas)
        loss_sum = length_loss_sum(network.length_logits(states_BTD, canvas), length_B)
        return LossSums(loss_sum, torch.tensor(float(len(length_B)), device=loss_sum.device))
