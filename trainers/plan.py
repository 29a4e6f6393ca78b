"""What a recipe will cost before anything is spent: parameters, tokens, steps, memory, and time from a short probe.

The network is built without memory (meta device) from the recipe's family and shape. Tokens come from the data where it is
at hand (all of it, or a sample: trainers.sample), else from the longest rows allowed. Epochs become steps by the number of
rows in the whole mixture, never by a sample's. Memory: 4 bytes a weight and gradient, 8 of AdamW's moments, activations after
Korthikanti et al. 2022 (arXiv 2205.05198, Table 2: 34 bytes per token, width and layer at 16 bits, 2 where recomputed), and
the logits of loss positions. Time: a probe of real steps on this machine, or the FLOPs (6 per weight and token) at a rate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from harness.config import ConfigError
from trainers.assemble import assemble, check_network
from trainers.batches import BatchPlan, Steps
from trainers.encode import Example, blocks, encode
from trainers.networks import count_parameters, network_config, network_of, of_tokenizer, tokenizer_of
from trainers.objectives import divided
from trainers.packing import fill
from trainers.recipe import Recipe
from trainers.sample import FEW, Sample, sample
from trainers.stages import batch_plan, row_lengths

PROBED = 1_000_000  # steps, more than a probe gets to


@dataclass(frozen=True)
class Plan:
    """Sizes in tokens and bytes, time in seconds (None: not measured and no rate given)."""

    name: str
    parameters: int
    parameters_without_embeddings: int
    steps: int | None
    steps_from: str
    tokens_per_step: float
    tokens_from: str
    tokens: float | None
    flops: float | None
    memory: dict[str, float]
    seconds: float | None
    seconds_from: str

    def lines(self) -> list[str]:
        """For people."""
        memory = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in self.memory.items())
        duration = "unknown" if self.seconds is None else f"{self.seconds:,.0f} s = {self.seconds / 3600:,.2f} h"
        return [
            f"{self.name}: {self.parameters:,} parameters, {self.parameters_without_embeddings:,} without embeddings",
            f"steps {'unknown' if self.steps is None else format(self.steps, ',')} ({self.steps_from})",
            f"{self.tokens_per_step:,.0f} tokens a step ({self.tokens_from})",
            f"tokens {self.tokens:,.0f}, FLOPs {self.flops:.3g}" if self.tokens is not None and self.flops is not None else "tokens unknown",
            f"memory of one process, GiB: {memory}; together {sum(self.memory.values()) / 2**30:.2f}",
            f"time {duration} ({self.seconds_from})",
        ]  # fmt: skip


def plan(
    recipe: Recipe,
    *,
    corpus: Path | None = None,
    tokenizer_path: str | None = None,
    probe_seconds: float = 30.0,
    rate: float | None = None,
) -> Plan:
    """The plan of a recipe; with a tokenizer and data (and weights) at hand the probe runs real steps.

    Args:
        rate: FLOP/s to reckon with instead of a probe.

    Raises:
        ConfigError, BackboneError: the recipe names neither family nor a configuration that can be had, or reads rows
            in a way that its network cannot.
    """
    tokenizer = _tokenizer(recipe, tokenizer_path)
    network = meta_network(recipe, tokenizer)
    check_network(recipe, network.config)
    total, core = count_parameters(network)
    examples, taken = _examples(recipe, corpus, tokenizer) if tokenizer is not None else ([], None)
    steps, steps_from = _steps(recipe, examples, taken)
    tokens_per_step, origin = _tokens_per_step(recipe, examples, taken)
    tokens = tokens_per_step * steps if steps else None
    flops = 6.0 * core * tokens if tokens is not None else None
    seconds, seconds_from = None, "no probe: weights or data are not at hand; --rate FLOP/s reckons without"
    if rate and flops is not None:
        seconds, seconds_from = flops / rate, f"at {rate:.3g} FLOP/s"
    elif examples and probe_seconds > 0:
        per_step, count = probe(recipe, tokenizer, examples, probe_seconds)
        seconds = per_step * steps if steps else None
        seconds_from = f"probe of {count} steps, {per_step:.4f} s each"
    return Plan(
        recipe.name, total, core, steps, steps_from, tokens_per_step, origin, tokens, flops,
        memory(recipe, network, total, tokens_per_step), seconds, seconds_from,
    )  # fmt: skip


def _steps(recipe: Recipe, examples: Sequence[Example], taken: Sample | None) -> tuple[int | None, str]:
    """(steps, where they are from); None where nothing was counted."""
    training = recipe.training
    if training.steps is not None:
        return training.steps, "as the recipe says"
    if taken is None or not examples:
        return None, "no data at hand whose rows could be counted"
    if taken.rows is None:
        return None, "the mixture is too large to be counted here, or on the hub: python -m trainers mixture counts it"
    what = "packed rows" if training.packing else "blocks" if training.blocks else "examples"
    rows = len(_packed_rows(recipe, examples)) if training.packing else len(examples)
    if taken.whole:
        return training.settled(rows).steps, f"{training.epochs:g} epochs of {rows:,} {what}"
    rows = round(rows * taken.rows / len(taken.records))
    known = f"reckoned from {len(taken.records):,} of {taken.rows:,} training rows"
    return training.settled(rows).steps, f"about: {training.epochs:g} epochs of {rows:,} {what}, {known}"


def _tokens_per_step(recipe: Recipe, examples: Sequence[Example], taken: Sample | None) -> tuple[float, str]:
    training = recipe.training
    if not examples:
        return float(training.max_length * training.batch_size), "at most: no data at hand"
    if training.packing:
        rows = [[len(examples[i]) + examples[i].closed for i in row] for row in _packed_rows(recipe, examples)]
        per_row = sum(map(sum, rows)) / max(1, len(rows))
    else:
        per_row = sum(len(e) + e.closed for e in examples) / len(examples)
    part = "the first " if taken is not None and taken.rows is None and len(taken.records) >= FEW else ""
    return per_row * training.batch_size, f"measured on {part}{len(examples):,} examples"


def _packed_rows(recipe: Recipe, examples: Sequence[Example]) -> list[list[int]]:
    lengths = row_lengths(recipe, examples).tolist()
    return fill(range(len(lengths)), lengths, recipe.training.max_length)


def own_plan(recipe: Recipe, examples: Sequence[Example], batch_size: int) -> BatchPlan:
    """The batches that training would make of these examples, `batch_size` rows (packed ones where it packs) a step."""
    training = recipe.training.model_copy(update={"batch_size": batch_size, "steps": PROBED, "epochs": None})
    return batch_plan(training, row_lengths(recipe, examples), recipe.seed)


def _tokenizer(recipe: Recipe, path: str | None):
    if path is None and (recipe.backbone.pretrained is None or not Path(recipe.backbone.pretrained).is_dir()):
        return None
    return tokenizer_of(recipe.backbone, path)


def meta_network(recipe: Recipe, tokenizer=None):
    """The recipe's network without memory behind its weights."""
    spec = recipe.backbone
    if spec.family is None:
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(str(spec.pretrained), revision=spec.revision)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"backbone: '{spec.pretrained}' cannot be had ({str(error).splitlines()[0]}); name its family and shape to plan."
            ) from error
    else:
        known = of_tokenizer(tokenizer) if tokenizer is not None else {}
        config = network_config(spec, recipe.family, **known)
    with torch.device("meta"):
        return network_of(config, spec, recipe.family)


def memory(recipe: Recipe, network, parameters: int, tokens_per_step: float) -> dict[str, float]:
    """Bytes of one process that holds everything (DDP; FSDP2 and ZeRO-3 divide the first three)."""
    training, config = recipe.training, network.config
    moments = 8.0 if training.optimiser == "adamw" else 4.0 * 2 / config.hidden_size
    trained = 1.0 if training.lora is None else 0.0
    width, layers = config.hidden_size, config.num_hidden_layers * (2 if recipe.family == "seq2seq" else 1)
    tokens = float(training.micro_tokens or tokens_per_step / training.accumulation)
    tokens *= 2 if recipe.objective.settings.get("coupled", recipe.objective.name == "diffusion") else 1
    width_bytes = 1.0 if training.dtype == "bfloat16" else 2.0
    kept = 2.0 * layers + 34.0 if training.gradient_checkpointing else 34.0 * layers
    reference = 1.0 if recipe.objective.settings.get("kl_weight") else 0.0
    return {
        "weights": 4.0 * parameters * (1 + reference),
        "gradients": 4.0 * parameters * trained,
        "moments": moments * parameters * trained,
        "activations": kept * width_bytes * tokens * width,
        "logits, if half of the tokens carry loss": 12.0 * tokens / 2 * config.vocab_size,
    }


def _examples(recipe: Recipe, corpus: Path | None, tokenizer) -> tuple[list[Example], Sample | None]:
    """Encoded examples of a sample of the recipe's records, and the sample; none where the data is not here."""
    training = recipe.training
    if recipe.mixture.source == "embedded" and corpus is None:
        return [], None
    try:
        taken = sample(recipe.mixture, corpus, count=training.steps is None)
    except ConfigError as error:
        if "no such file" in str(error):
            return [], None
        raise
    options = (training.text_room, training.too_long, recipe.prompt_special_tokens)
    made = encode(taken.records, tokenizer, recipe.template, *options).examples
    return blocks(made, training.max_length, tokenizer.eos_token_id) if training.blocks else made, taken


def probe(recipe: Recipe, tokenizer, examples: Sequence[Example], seconds: float) -> tuple[float, int]:
    """(seconds per optimiser step, steps measured): forward, backward and update of real batches; the first is not counted.

    Where the examples fill fewer rows than a step has, its time is that of these rows times how often they go into it.
    """
    built = assemble(recipe, tokenizer)
    training = recipe.training
    size = min(training.batch_size, _rows_at_least(recipe, examples))
    steps = Steps(examples, own_plan(recipe, examples, size), built.objective, recipe.seed, accumulation=training.accumulation, micro_tokens=training.micro_tokens)  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    built.trained.to(device).train()
    optimiser = torch.optim.AdamW([p for p in built.trained.parameters() if p.requires_grad], lr=0.0)
    started, count, step = 0.0, -1, 0
    while count < 1 or time.monotonic() - started < seconds:
        if count < 0:
            started = time.monotonic()
        item = steps[step]
        for part in item["parts"]:
            batch = {name: tensor.to(device) for name, tensor in part.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=training.dtype == "bfloat16"):
                loss = divided(built.objective.loss_sums(built.reads, batch), item["weights"].to(device))
            loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        step, count = step + 1, count + 1
        if count == 0:
            started = time.monotonic()
    return (time.monotonic() - started) / count * (training.batch_size / size), count


def _rows_at_least(recipe: Recipe, examples: Sequence[Example]) -> int:
    """How many rows the examples fill in any order."""
    if not recipe.training.packing:
        return len(examples)
    room = recipe.training.max_length
    lengths_N = row_lengths(recipe, examples)
    fitting = int(lengths_N[lengths_N <= room].sum())
    return max(1, -(-fitting // room))


def as_data(planned: Plan) -> dict:
    """For programs."""
    return asdict(planned)
