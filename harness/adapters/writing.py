"""Writing answers with a masked LM: lengths, one batch of all candidates, the best of each, cut at eos.

1. Read the prompts once where that is exact (prompt-isolated layout), else with every pass.
2. Choose the answer's length(s) by the policy; every candidate is one row of a canvas.
3. Decode all rows in one batch; keep the best candidate of each prompt: by the log-probabilities of its tokens when they
   were accepted, or by the adapter's scorer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from harness.adapters.settings import MaskedSettings
from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.decoders import get_decoder
from harness.decoders.length import beam_scores, predicted_lengths
from harness.decoders.sampling import Sampler, sampler_of
from harness.prompt_states import PromptStates, answer_canvas
from harness.rows import RowEngine, ScoringError
from harness.scorers import Item

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
    if memory is not None and len(owner) > len(prompts):
        memory = memory[torch.tensor(owner, device=backbone.device)]
    canvas = _canvas(backbone, [prompts[row] for row in owner], flat, settings, memory)
    rng = _sampler(settings, [f"{names[row]}/{n}" for row, n in zip(owner, flat, strict=True)])
    decoded = get_decoder(settings.decoder)(backbone, canvas, settings.steps, rng, **settings.of_decoder())
    filled = iter(decoded.tokens_BT[canvas.target_BT].tolist())
    rows = [list(islice(filled, n)) for n in flat]
    best, passes = range(len(owner)), int(decoded.forward_passes_B.sum())
    if len(owner) > len(prompts):
        total_B = (decoded.logprob_BT * canvas.target_BT).sum(1).double()
        if settings.beam_score == "scorer":
            total_B, more = _rescored(backbone, [prompts[row] for row in owner], rows, settings)
            passes += more
        prior_B = total_B.new_tensor([p for options in lengths for p in options.values()])
        best = _best(beam_scores(settings.beam_score, total_B, canvas.target_BT.sum(1), prior_B).tolist(), owner)
    return Written([_ended(rows[candidate], backbone.ids.eos) for candidate in best], passes)


def _best(scores: Sequence[float], owner: Sequence[int]) -> list[int]:
    """The best candidate of each prompt, as an index of the decoded rows (ties: the more probable length)."""
    best: dict[int, int] = {}
    for candidate, row in enumerate(owner):
        if row not in best or scores[candidate] > scores[best[row]]:
            best[row] = candidate
    return [best[row] for row in sorted(best)]


def _rescored(
    backbone: MaskedBackbone, prompts: Prompts, candidates: Prompts, settings: MaskedSettings
) -> tuple[torch.Tensor, int]:
    """log p(candidate | its length, prompt) in nats by the settings' scorer [B], and the rows that this took."""
    engine = RowEngine(backbone)
    items = [Item(tuple(prompt), tuple(ids)) for prompt, ids in zip(prompts, candidates, strict=True)]
    scores = [scored.logprob for scored in settings.estimator.score(items, engine)]
    return torch.tensor(scores, dtype=torch.float64, device=backbone.device), engine.rows_computed


def _sampler(settings: MaskedSettings, names: Sequence[str]) -> Sampler:
    """What answers are drawn with; nothing is hashed where nothing is drawn."""
    return sampler_of(settings.temperature, settings.top_p, settings.seed, names if settings.drawn else ())


def _read(
    backbone: MaskedBackbone, prompts: Prompts, settings: MaskedSettings, oracle: Sequence[int | None]
) -> tuple[PromptStates | None, list[dict[int, float]]]:
    """What is remembered of the prompts, and the candidate lengths of each with their log-probabilities."""
    memory, longest = None, settings.max_gen_toks
    # With one pass and the length known, reading the prompt apart would be a second pass.
    repeated = settings.length == "predicted" or not settings.one_pass
    remembering = settings.prompt_cache == "auto" and backbone.remembers and repeated
    if settings.length == "predicted" or remembering:
        canvas = backbone.length_canvas(prompts).to(backbone.device)
        hidden_BPD, memory = backbone.hidden_and_states(canvas) if remembering else (backbone.hidden(canvas), None)
        if settings.length == "predicted":
            logits_BC = backbone.length_logits(hidden_BPD, canvas)
            return memory, predicted_lengths(logits_BC, settings.length_beam, longest)
    if settings.length == "oracle":
        known = [n for n in oracle if n is not None]
        if len(known) < len(prompts):
            raise ValueError("length=oracle needs the reference's length of every prompt.")
        return memory, [{min(n or 1, longest): 0.0} for n in known]
    return memory, [{longest: 0.0}] * len(prompts)


def _canvas(
    backbone: MaskedBackbone,
    prompts: Prompts,
    lengths: Sequence[int],
    settings: MaskedSettings,
    memory: PromptStates | None,
) -> Canvas:
    layout = backbone.layout
    for prompt, n in zip(prompts, lengths, strict=True):
        if n > layout.target_room(backbone.max_length) or len(prompt) + n + layout.overhead > backbone.max_length:
            raise ScoringError(
                f"a prompt of {len(prompt)} tokens and an answer of {n} do not fit: the model has "
                f"{backbone.max_length} positions, {layout.overhead} of them for special tokens; shorten the prompt "
                f"or lower max_gen_toks={settings.max_gen_toks}."
            )
    targets = [[backbone.ids.mask] * n for n in lengths]
    if memory is None:
        canvas = layout.pack(list(zip(prompts, targets, strict=True)), backbone.ids).to(backbone.device)
    else:
        canvas = answer_canvas(layout, targets, memory, backbone.ids)
    return canvas.without_eos() if settings.length == "eos" else canvas


def _ended(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
