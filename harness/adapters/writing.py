"""Writing answers with a masked LM: lengths, one batch of all candidates, the best of each, cut at eos.

1. Read the prompts once where that is exact (prompt-isolated layout), else with every pass.
2. Choose the answer's length(s) by the policy; every candidate is one row of a canvas.
3. Decode all rows in one batch; keep the best candidate of each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.adapters.settings import MaskedSettings
from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import get_decoder
from harness.decoders.length import beam_scores, predicted_lengths
from harness.decoders.sampling import sampler_of
from harness.prompt_states import PromptStates, answer_only
from harness.rows import ScoringError

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Written:
    """Answer tokens of each prompt (nothing from the first eos on), and forward-pass rows over answers, all candidates."""

    tokens: list[list[int]]
    forward_passes: int


@torch.inference_mode()
def write(
    backbone: MaskedBackbone,
    prompts: Prompts,
    settings: MaskedSettings,
    oracle: Sequence[int | None],
    names: Sequence[str],
) -> Written:
    """Answers to a batch of prompts; oracle: reference lengths (`length=oracle` only), names: what draws belong to.

    Raises:
        BackboneError: length=predicted and the checkpoint has no length head.
        ScoringError: a prompt and its answer do not fit the model, or its numbers are broken.
    """
    memory, lengths = _read(backbone, prompts, settings, oracle)
    owner = [row for row, options in enumerate(lengths) for _ in options]
    flat = [n for options in lengths for n in options]
    canvas = _canvas(backbone, [prompts[row] for row in owner], flat, settings)
    if memory is not None:
        canvas = answer_only(canvas, memory[torch.tensor(owner, device=backbone.device)])
    rng = sampler_of(
        settings.temperature, settings.top_p, settings.seed,
        [f"{names[row]}/{n}" for row, n in zip(owner, flat, strict=True)],
    )  # fmt: skip
    decoded = get_decoder(settings.decoder)(backbone, canvas, settings.steps, rng, **settings.of_decoder())
    length_B = torch.tensor(flat, device=backbone.device)
    scores = beam_scores(settings.beam_score, (decoded.logprob_BT * canvas.target_BT).sum(1), length_B).tolist()
    best: dict[int, int] = {}
    for candidate, row in enumerate(owner):
        if row not in best or scores[candidate] > scores[best[row]]:
            best[row] = candidate
    rows = [row[mask].tolist() for row, mask in zip(decoded.tokens_BT, canvas.target_BT, strict=True)]
    tokens = [_ended(rows[best[row]], backbone.ids.eos) for row in range(len(prompts))]
    return Written(tokens, int(decoded.forward_passes_B.sum()))


def _read(
    backbone: MaskedBackbone, prompts: Prompts, settings: MaskedSettings, oracle: Sequence[int | None]
) -> tuple[PromptStates | None, list[list[int]]]:
    """What is remembered of the prompts, and the candidate lengths of each."""
    memory, hidden_BPD, longest = None, None, settings.max_gen_toks
    canvas = backbone.length_canvas(prompts).to(backbone.device)
    # With one pass and the length known, reading the prompt apart would be a second pass.
    repeated = settings.length == "predicted" or not settings.one_pass
    if settings.prompt_cache == "auto" and backbone.remembers and repeated:
        hidden_BPD, memory = backbone.read_prompts(canvas)
    if settings.length == "predicted":
        hidden_BPD = backbone.hidden(canvas) if hidden_BPD is None else hidden_BPD
        logits_BC = backbone.length_logits(hidden_BPD, canvas)
        return memory, predicted_lengths(logits_BC, settings.length_beam, [longest] * len(prompts))
    if settings.length == "oracle":
        known = [n for n in oracle if n is not None]
        if len(known) < len(prompts):
            raise ValueError("length=oracle needs the reference's length of every prompt.")
        return memory, [[min(n or 1, longest)] for n in known]
    return memory, [[longest]] * len(prompts)


def _canvas(backbone: MaskedBackbone, prompts: Prompts, lengths: Sequence[int], settings: MaskedSettings) -> Canvas:
    layout = backbone.layout
    for prompt, n in zip(prompts, lengths, strict=True):
        if n > layout.target_room(backbone.max_length) or len(prompt) + n + layout.overhead > backbone.max_length:
            raise ScoringError(
                f"a prompt of {len(prompt)} tokens and an answer of {n} do not fit: the model has "
                f"{backbone.max_length} positions, {layout.overhead} of them for special tokens; shorten the prompt "
                f"or lower max_gen_toks={settings.max_gen_toks}."
            )
    pairs = [(list(p), [backbone.ids.mask] * n) for p, n in zip(prompts, lengths, strict=True)]
    canvas = layout.pack(pairs, backbone.ids).to(backbone.device)
    return canvas.without_eos() if settings.length == "eos" else canvas


def _ended(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
