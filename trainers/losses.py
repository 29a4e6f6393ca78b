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

from harness.backbones import MaskedBackbone, load_masked
from harness.canvas import Canvas
from harness.records import CheckpointRecord, read_checkpoint, write_atomically
from harness.suites import ConfigError
from trainers.encode import INSTRUCTION, OUTPUT, TEMPLATE, Example
from trainers.objectives import pad_to, smoothed_nll
from trainers.objectives.masked import hide_exactly, pack_examples, uniform_counts
from trainers.packing import states_at

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
    tokens_BT, attend_BT = pad_to(rows, pad), pad_to([[1] * len(row) for row in rows], 0)
    role_BT = pad_to(roles, -1)[:, 1:]
    where_BT = role_BT >= 0
    states_MD = states_at(network, {"tokens_BT": tokens_BT, "attend_BT": attend_BT}, F.pad(where_BT, (0, 1)))
    nll_BT = torch.zeros(where_BT.shape)
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
        batch = objective.collate([example])
        sums, tokens = objective.loss_sums(network, batch), objective.weights(batch)
        made.append(ExampleLoss({"output": float(sums)}, {"output": int(tokens)}))
    return made


def _any_order(backbone: MaskedBackbone, example: Example, draws: int, seed: int) -> ExampleLoss:
    """Mean over draws of L/k · Σ_hidden nll, k of the L content tokens hidden, k uniform."""
    rng = torch.Generator().manual_seed(seed)
    clean = Canvas(**pack_examples(backbone.layout, backbone.ids, [example] * draws))
    size_B = clean.target_BT.sum(1)
    count_B = uniform_counts(size_B, rng)
    hidden_BT = hide_exactly(count_B, clean.target_BT, rng)
    noised = clean.with_tokens(clean.tokens_BT.masked_fill(hidden_BT, backbone.ids.mask))
    logits_MV = backbone.logits_at(backbone.hidden(noised), hidden_BT)
    nll_BT = torch.zeros(hidden_BT.shape)
    nll_BT[hidden_BT] = smoothed_nll(logits_MV, clean.tokens_BT[hidden_BT], 0.0)
    bound_B = nll_BT.sum(1) * size_B / count_B
    error = float(bound_B.std() / draws**0.5) if draws > 1 else math.nan
    return ExampleLoss({"output": float(bound_B.mean())}, {"output": len(example.target)}, error)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as `losses` wants it."""

    network: Any
    tokenizer: Any
    record: CheckpointRecord | None


def load(checkpoint: str) -> Loaded:
    """A checkpoint of ours (any kind), ready to be measured.

    Raises:
        RecordError: its training did not finish, or its files were changed.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    record = read_checkpoint(Path(checkpoint), verify=True)
    if record.canvas in ("joint", "isolated"):
        loaded = load_masked(checkpoint)
        return Loaded(loaded.backbone, loaded.tokenizer, record)
    auto = AutoModelForSeq2SeqLM if record.canvas == "seq2seq" else AutoModelForCausalLM
    network = auto.from_pretrained(checkpoint, use_safetensors=True, dtype=torch.float32).eval()
    return Loaded(network, AutoTokenizer.from_pretrained(checkpoint), record)


def write(found: Sequence[ExampleLoss], path: Path) -> None:
    """One line per example: its number, and nats and tokens of each role.

    Raises:
        RecordError: the file cannot be written.
    """
    names, text = sorted({name for loss in found for name in loss.nats}), io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["example", *(f"{name}_{what}" for name in names for what in ("nats", "tokens")), "standard_error"])
    for number, loss in enumerate(found):
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
