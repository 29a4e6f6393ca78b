"""Length policies: how many tokens an answer gets before it is decoded.

`predicted` asks the checkpoint's length head (with `length_beam` candidates), `oracle` takes the reference's length
(flagged in every record, never ranked beside honest rows), `fixed` takes `max_gen_toks`, `eos` takes `max_gen_toks`
hidden tokens without a closing eos: the answer ends at the first eos that the network writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch

from harness.backbones import MaskedBackbone
from harness.lengths import top_lengths
from harness.rows import ScoringError
from harness.suites import BeamRule

POLICIES = ("predicted", "oracle", "fixed", "eos")
# How the candidates of a length beam are ranked, higher is better:
# content_mean: mean log-probability of the tokens when they were accepted (Mask-Predict, DiffusionLLM);
# row_mean: the same over the whole row, bos and eos counting as 0 (Instruct-XMLR's generator): favours shorter ones;
# with_length: sum of those log-probabilities + log p(length | prompt), nats (ours: the papers leave the length out);
# scorer: log p(candidate | length, prompt) of the adapter's scoring engine + log p(length | prompt), nats; extra rows.
BEAM_RULES: tuple[BeamRule, ...] = get_args(BeamRule)


@torch.inference_mode()
def length_logprobs(backbone: MaskedBackbone, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """log p(L | prompt) in nats, float64 [prompts, L = 0 … max_length]; lengths beyond the head's classes share the last.

    Raises:
        BackboneError: the checkpoint has no length head.
    """
    canvas = backbone.length_canvas(prompts).to(backbone.device)
    logits = backbone.length_logits(backbone.hidden(canvas), canvas)
    known = logits.float().log_softmax(-1).double().cpu().numpy()
    if not np.isfinite(known).all():
        raise ScoringError("the length head gave NaN or infinite logits: its weights are broken.")
    return np.pad(known, ((0, 0), (0, max(0, backbone.max_length + 1 - known.shape[1]))), mode="edge")


def predicted_lengths(logits_BC: torch.Tensor, beam: int, limit: int) -> list[dict[int, float]]:
    """The `beam` most probable answer lengths (tokens, ≥ 1, ≤ limit) of each row of a length head's logits, best first,
    each with its log-probability in nats.
    """
    if not math.isfinite(logits_BC.sum(dtype=torch.float32).item()):
        raise ScoringError("the length head gave NaN or infinite logits: its weights are broken.")
    lengths, logprobs = top_lengths(logits_BC, beam, limit)
    return [dict(zip(*row, strict=True)) for row in zip(lengths.tolist(), logprobs.tolist(), strict=True)]


def beam_scores(rule: str, logprob_sum_B: torch.Tensor, length_B: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    """What candidates of a length beam are ranked by [B]; prior_B: log p(length | prompt). For "scorer", the sum is its."""
    if rule in ("with_length", "scorer"):
        return logprob_sum_B + prior_B
    return logprob_sum_B / (length_B + (2 if rule == "row_mean" else 0)).clamp(min=1)
