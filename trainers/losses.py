"""Losses of a checkpoint on a data set: per example, per role, and the analyses of Instruction Modelling.

For decoders the loss of every token by role: instruction, template, output (facts A8: per-example mean over output tokens).
For encoder-decoders: output tokens. For masked and diffusion LMs: the bound of any-order writing (LLaDA, eq. 6), estimated
with `draws` seeded draws per example, in nats per output token; deterministic per example, whatever the batch.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.config import ConfigError, unknown
from harness.loading import RECIPE_FILE, checkpoint_record, explained, load_masked
from harness.records import CheckpointRecord, write_atomically
from harness.templates import TEMPLATES
from trainers.encode import INSTRUCTION, OUTPUT, TEMPLATE, Encoded, Example, encode
from trainers.networks import load_tokenizer
from trainers.objective_names import OBJECTIVES
from trainers.objectives import pad_to, smoothed_nll
from trainers.objectives.masked import hide_exactly, pack_examples, uniform_counts
from trainers.packing import states_at
from trainers.recipe import load_recipe

ROLES = {"instruction": INSTRUCTION, "template": TEMPLATE, "output": OUTPUT}


@dataclass(frozen=True)
class ExampleLoss:
    """Summed losses (nats) and token counts by role; `standard_error` of the output's sum where it was sampled."""

    nats: dict[str, float]
    tokens: dict[str, int]
    standard_error: float = 0.0

    def mean(self, role: str) -> float:
        """Nats per token of a role; NaN where it has no token."""
        return self.nats[role] / self.tokens[role] if self.tokens.get(role) else math.nan


def batches(examples: Sequence[Example], size: int) -> Iterator[tuple[list[int], list[Example]]]:
    """Batches of similar lengths, with the examples' numbers."""
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, [examples[i] for i in chosen]


@torch.inference_mode()
def losses(
    network: Any,
    examples: Sequence[Example],
    *,
    pad: int,
    eos: int,
    batch_size: int = 16,
    draws: int = 32,
    seed: int = 0,
) -> list[ExampleLoss]:
    """The loss of every example; `network` is a transformers decoder or encoder-decoder, or a MaskedBackbone."""
    found: list[ExampleLoss | None] = [None] * len(examples)
    for numbers, batch in batches(examples, batch_size):
        if isinstance(network, MaskedBackbone):
            made = [
                _any_order(network, example, draws, seed + number)
                for number, example in zip(numbers, batch, strict=True)
            ]
        elif getattr(network.config, "is_encoder_decoder", False):
            made = _seq2seq(network, batch, pad, eos)
        else:
            made = _causal(network, batch, pad, eos)
        for number, loss in zip(numbers, made, strict=True):
            found[number] = loss
    return found  # type: ignore[return-value]


def _causal(network, examples: Sequence[Example], pad: int, eos: int) -> list[ExampleLoss]:
    rows = [[*e.prompt, *e.target, *([eos] if e.closed else [])] for e in examples]
    roles = [
        [*map(int, e.roles), *[OUTPUT] * (len(row) - len(e.prompt))] for e, row in zip(examples, rows, strict=True)
    ]
    padded = (pad_to(rows, pad), pad_to([[1] * len(row) for row in rows], 0), pad_to(roles, -1)[:, 1:])
    tokens_BT, attend_BT, role_BT = (tensor.to(network.device) for tensor in padded)
    where_BT = role_BT >= 0
    states_MD = states_at(network, {"tokens_BT": tokens_BT, "attend_BT": attend_BT}, F.pad(where_BT, (0, 1)))
    nll_BT = torch.zeros(where_BT.shape, device=network.device)
    nll_BT[where_BT] = smoothed_nll(network.get_output_embeddings()(states_MD), tokens_BT[:, 1:][where_BT], 0.0)
    made = []
    for nll_T, role_T in zip(nll_BT, role_BT, strict=True):
        kept = {name: role_T == role for name, role in ROLES.items()}
        made.append(
            ExampleLoss({n: float(nll_T[k].sum()) for n, k in kept.items()}, {n: int(k.sum()) for n, k in kept.items()})
        )
    return made


def _seq2seq(network, examples: Sequence[Example], pad: int, eos: int) -> list[ExampleLoss]:
    from trainers.objectives.seq2seq import Seq2Seq

    objective = Seq2Seq(pad=pad, eos=eos, normalise="token")
    made = []
    for example in examples:
        batch = {name: tensor.to(network.device) for name, tensor in objective.collate([example]).items()}
        sums, tokens = objective.loss_sums(network, batch), objective.weights(batch)
        made.append(ExampleLoss({"output": float(sums)}, {"output": int(tokens)}))
    return made


def _any_order(backbone: MaskedBackbone, example: Example, draws: int, seed: int) -> ExampleLoss:
    """Mean over draws of L/k · Σ_hidden nll, k of the L content tokens hidden, k uniform."""
    rng = torch.Generator().manual_seed(seed)
    clean = Canvas(**pack_examples(backbone.layout, backbone.ids, [example] * draws)).to(backbone.device)
    size_B = clean.target_BT.sum(1)
    count_B = uniform_counts(size_B, rng)
    hidden_BT = hide_exactly(count_B, clean.target_BT, rng)
    noised = clean.with_tokens(clean.tokens_BT.masked_fill(hidden_BT, backbone.ids.mask))
    logits_MV = backbone.logits_at(backbone.hidden(noised), hidden_BT)
    nll_BT = torch.zeros(hidden_BT.shape, device=backbone.device)
    nll_BT[hidden_BT] = smoothed_nll(logits_MV, clean.tokens_BT[hidden_BT], 0.0)
    bound_B = nll_BT.sum(1) * size_B / count_B
    error = float(bound_B.std() / draws**0.5) if draws > 1 else math.nan
    return ExampleLoss({"output": float(bound_B.mean())}, {"output": len(example.target)}, error)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as `losses` wants it, and how its records become examples (`room`: most tokens of one, None: any)."""

    network: Any
    tokenizer: Any
    record: CheckpointRecord | None
    template: str = "plain"
    room: int | None = None
    too_long: str = "drop"
    special_tokens: str = "none"

    def encode(self, records: Sequence[dict]) -> Encoded:
        """Records as this checkpoint read them in training; those of others: whole, or (too long for the network) dropped."""
        longest = 2**31 if self.room is None else self.room
        return encode(records, self.tokenizer, self.template, longest, self.too_long, self.special_tokens)


def load(
    checkpoint: str, objective: str | None = None, template: str | None = None, device: str | None = None
) -> Loaded:
    """A checkpoint, ready to be measured: ours of any kind, or a hub id or folder whose `objective` is stated.

    Args:
        objective, template: of a checkpoint that is not ours (keys of OBJECTIVES and TEMPLATES); ours say it themselves.
        device: default: cuda if there is one.

    Raises:
        BackboneError: its training did not finish, its files were changed, or it cannot be loaded.
        ConfigError: no objective, an unknown one or template, or any for a checkpoint of ours; no fast tokenizer.
    """
    record = checkpoint_record(checkpoint)
    _check_stated(checkpoint, record, objective, template)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if record is not None:
        kind = "masked" if record.canvas in ("joint", "isolated") else record.canvas
    else:
        kind = OBJECTIVES[str(objective)].family
    tokenizer = load_tokenizer(checkpoint)
    network = (
        load_masked(checkpoint, device=device).backbone if kind == "masked" else _written(checkpoint, kind, device)
    )
    if tokenizer.eos_token_id is None and kind != "masked":
        raise ConfigError(f"the tokenizer of '{checkpoint}' has no end-of-sequence token, which ends every answer.")
    if record is not None:
        training, own = load_recipe(Path(checkpoint) / RECIPE_FILE).training, record.prompt_special_tokens
        return Loaded(network, tokenizer, record, record.template, training.max_length, training.too_long, own)
    own = "none" if kind == "masked" else "tokenizer"  # a masked LM's layout sets its own
    return Loaded(network, tokenizer, None, template or "plain", _room(network, kind), special_tokens=own)


def _check_stated(
    checkpoint: str, record: CheckpointRecord | None, objective: str | None, template: str | None
) -> None:
    if record is not None and (objective or template):
        raise ConfigError(
            f"{checkpoint} says itself how it was trained ({record.canvas}, {record.template}): leave --objective and --template out."
        )
    if record is None and objective is None:
        raise ConfigError(
            f"'{checkpoint}' is no checkpoint of ours: name what it is trained for with --objective {', '.join(OBJECTIVES)}."
        )
    for what, value, known in (("objective", objective, OBJECTIVES), ("template", template, TEMPLATES)):
        if value is not None and value not in known:
            raise ConfigError(unknown(what, value, list(known)))


def _written(checkpoint: str, kind: str, device: str) -> Any:
    """A decoder or encoder-decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto = AutoModelForSeq2SeqLM if kind == "seq2seq" else AutoModelForCausalLM
    with explained(checkpoint):
        network: Any = auto.from_pretrained(checkpoint, use_safetensors=True, dtype=torch.float32)
    return network.to(device).eval()


def _room(network: Any, kind: str) -> int | None:
    """Most tokens of prompt and target together that a network has positions for; None where it counts none."""
    if isinstance(network, MaskedBackbone):
        return network.max_length - network.layout.overhead
    positions = getattr(network.config, "max_position_embeddings", None)
    return positions - 1 if positions and kind == "causal" else positions  # a decoder's end-of-sequence token


def write(found: Sequence[ExampleLoss], path: Path, numbers: Sequence[int] | None = None) -> None:
    """One line per example: its record's number (default: its own), and nats and tokens of each role.

    Raises:
        RecordError: the file cannot be written.
    """
    names, text = sorted({name for loss in found for name in loss.nats}), io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["example", *(f"{name}_{what}" for name in names for what in ("nats", "tokens")), "standard_error"])
    for number, loss in zip(range(len(found)) if numbers is None else numbers, found, strict=True):
        cells = [value for name in names for value in (f"{loss.nats[name]:.6f}", loss.tokens[name])]
        table.writerow([number, *cells, f"{loss.standard_error:.6f}"])
    write_atomically(path, text.getvalue())


def overlap_with_training(answers: Sequence[str], references: Sequence[str]) -> float:
    """Mean BLEU (0–100, sacrebleu) of a model's answers to training prompts against the training answers.

    Up to 4-grams, per answer, without the orders that an answer is too short for: over the whole corpus, answers of one word
    would have BLEU 0, right or wrong.
    """
    import sacrebleu

    if len(answers) != len(references) or not answers:
        raise ConfigError(f"{len(answers)} answers for {len(references)} references: one for each is needed.")
    pairs = zip(answers, references, strict=True)
    scores = [sacrebleu.sentence_bleu(a, [b], use_effective_order=True).score for a, b in pairs]
    return float(sum(scores) / len(scores))
