"""Encoder-decoder training as mT0 does it: prompt to the encoder, answer and `</s>` to the decoder.

mT0 weighs every example the same (AVERAGE_PER_SEQUENCE) and adds a z-loss of 1e-4 (facts A5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from trainers.encode import Example
from trainers.objectives import check_normalise, pad_to, smoothed_nll
from trainers.packing import Packing


class Seq2Seq:
    """Teacher-forced decoder loss; decoder input starts with the network's decoder start token."""

    def __init__(self, *, pad: int, eos: int, normalise: Literal["token", "example"] = "example", z_loss: float = 0.0):
        check_normalise(normalise)
        self.pad, self.eos, self.normalise, self.z_loss = pad, eos, normalise, z_loss

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """prompt_BS with attend_BS, target_BT with attend_BT, and weight_BT (0 on padding)."""
        prompts = [list(e.prompt) for e in examples]
        targets = [[*e.target, self.eos] for e in examples]
        attend_BT = pad_to([[1] * len(row) for row in targets], 0)
        weight_BT = attend_BT.float()
        if self.normalise == "example":
            weight_BT /= weight_BT.sum(1, keepdim=True)
        return {
            "prompt_BS": pad_to(prompts, self.pad),
            "attend_BS": pad_to([[1] * len(row) for row in prompts], 0),
            "target_BT": pad_to(targets, self.pad),
            "attend_BT": attend_BT,
            "weight_BT": weight_BT,
        }

    def corrupt(self, batch: dict[str, torch.Tensor], rng: torch.Generator) -> dict[str, torch.Tensor]:
        """Nothing is drawn."""
        del rng
        return batch

    def weights(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the target tokens' weights [1]."""
        return batch["weight_BT"].sum().reshape(1)

    def loss_sums(self, network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of −log p(answer token | prompt, answer so far), plus z_loss·log²Z [1]."""
        target_BT, weight_BT = batch["target_BT"], batch["weight_BT"]
        start = torch.full_like(target_BT[:, :1], network.config.decoder_start_token_id)
        read: dict[str, Any] = {"input_ids": batch["prompt_BS"], "attention_mask": batch["attend_BS"]}
        written: dict[str, Any] = {"input_ids": torch.cat([start, target_BT[:, :-1]], 1)}
        where_BT = weight_BT > 0
        where, across = where_BT, read["attention_mask"]
        if "pack_B" in batch:
            prompts, answers = (Packing.of(batch[f"attend_B{axis}"], batch["pack_B"]) for axis in "ST")
            read = {
                "input_ids": prompts.pack(read["input_ids"]),
                "attention_mask": prompts.mask(prompts, network.dtype),
            }
            written = {
                "input_ids": answers.pack(written["input_ids"]),
                "attention_mask": answers.mask(answers, network.dtype, causal=True),
            }
            where, across = answers.pack(where_BT), answers.mask(prompts, network.dtype)
        hidden = network.get_decoder()(
            **written,
            encoder_hidden_states=network.get_encoder()(**read)[0],
            encoder_attention_mask=across,
            use_cache=False,
        )[0]
        if getattr(network.config, "scale_decoder_outputs", False):  # T5 v1.0 ties and scales; T5 v1.1 and mT5 do not
            hidden = hidden * network.config.d_model**-0.5
        logits_MV = network.get_output_embeddings()(hidden[where])
        nll_M = smoothed_nll(logits_MV, target_BT[where_BT], 0.0, self.z_loss)
        return (nll_M * weight_BT[where_BT]).sum().reshape(1)
