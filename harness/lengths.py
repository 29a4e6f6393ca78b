"""Length heads: log p(number of answer tokens | prompt), one of the two published shapes each.

Class ↔ length: class c stands for L = c content tokens (bos and eos not counted), c = 0 … classes − 1.
The papers count specials in (Instruct-XMLR: L + 2; DiffusionLLM: L − 1 as class); the shift changes no prediction
and one convention keeps trainers and decoders from disagreeing.
- `PooledEmbeddingHead` (Instruct-XMLR; facts B1): mean of the prompt's final states × a class embedding, no bias.
- `TransformerHead` (DiffusionLLM §1.4): one encoder layer over frozen prompt states, mean over tokens,
  Linear + tanh, Linear to classes. `probe` hidden tokens, read behind the prompt, are ours (the paper: 0): a network
  that keeps its knowledge of the answer at the answer's places shows it to the head there.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def masked_mean_BD(states_BTD: torch.Tensor, keep_BT: torch.Tensor) -> torch.Tensor:
    """Mean of the kept states of each row, [B, D]."""
    weight_BT1 = keep_BT.unsqueeze(-1).to(states_BTD.dtype)
    return (states_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)


class PooledEmbeddingHead(nn.Module):
    """Mean-pooled prompt states [B, T, D] → class logits [B, C] through a bias-free class embedding."""

    probe = 0

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.embedding = nn.Linear(width, classes, bias=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, states_BTD: torch.Tensor, keep_BT: torch.Tensor) -> torch.Tensor:
        """Class logits [B, C]; `keep_BT` marks the prompt tokens."""
        return self.embedding(masked_mean_BD(states_BTD, keep_BT))


class TransformerHead(nn.Module):
    """One Transformer encoder layer over prompt states [B, T, D], mean, Linear-tanh-Linear → logits [B, C]."""

    def __init__(self, width: int, classes: int, heads: int, inner: int, probe: int = 0):
        super().__init__()
        self.probe = probe
        self.layer = nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, batch_first=True, norm_first=True)
        self.dense = nn.Linear(width, inner)
        self.out = nn.Linear(inner, classes)

    def forward(self, states_BTD: torch.Tensor, keep_BT: torch.Tensor) -> torch.Tensor:
        """Class logits [B, C]; `keep_BT` marks the prompt tokens."""
        states_BTD = self.layer(states_BTD, src_key_padding_mask=~keep_BT)
        return self.out(torch.tanh(self.dense(masked_mean_BD(states_BTD, keep_BT))))


def make_length_head(
    kind: str, width: int, classes: int, heads: int = 2, inner: int | None = None, probe: int = 0
) -> nn.Module:
    """The head called `pooled_embedding` or `transformer`; ValueError names the two."""
    if kind == "pooled_embedding":
        return PooledEmbeddingHead(width, classes)
    if kind == "transformer":
        return TransformerHead(width, classes, heads, inner or 4 * width, probe)
    raise ValueError(f"unknown length head '{kind}': expected 'pooled_embedding' or 'transformer'.")


def length_loss_sum(logits_BC: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Sum over rows of −log p(length), nats; lengths beyond the last class count as the last class."""
    classes_B = lengths_B.clamp(max=logits_BC.shape[1] - 1)
    return F.cross_entropy(logits_BC.float(), classes_B, reduction="sum")


def top_lengths(logits_BC: torch.Tensor, beam: int, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The K ≤ beam most probable lengths, 1 ≤ L ≤ limit, of each row: (lengths [B, K] int64, log-probs in nats [B, K])."""
    allowed_BC = logits_BC.float().log_softmax(-1)[:, 1 : max(1, limit) + 1]
    logprob_BK, class_BK = allowed_BC.topk(min(beam, allowed_BC.shape[1]), dim=-1)
    return class_BK + 1, logprob_BK
