"""What a recipe will cost before anything is spent: parameters, tokens, steps, memory, and time from a short probe.

The network is built without memory (meta device) from the recipe's family and shape. Tokens come from the data where it is
at hand, else from the longest rows allowed. Memory: 4 bytes a weight and gradient, 8 of AdamW's moments, activations after
Korthikanti et al. 2022 (arXiv 2205.05198, Table 2: 34 bytes per token, width and layer at 16 bits, 2 where recomputed), and
the logits of loss positions. Time: a probe of real steps on this machine, or the FLOPs (6 per weight and token) at a rate.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from harness.suites import ConfigError
from trainers.assemble import assemble, check_network
from trainers.batches import BatchPlan, Steps
from trainers.encode import Example, encode
from trainers.mixture import read_records, training_files
from trainers.networks import count_parameters, network_config, network_of, tokenizer_of
from trainers.objectives import divided
from trainers.recipe import Recipe
from trainers.sources import stream

SAMPLE = 2000


@dataclass(frozen=True)
class Plan:
    """Sizes in tokens and bytes, time in seconds (None: not measured and no rate given)."""

    name: str
    parameters: int
    parameters_without_embeddings: int
    steps: int | None
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
            f"steps {self.steps if self.steps is not None else 'unknown until the mixture is made'}, {self.tokens_per_step:,.0f} tokens a step ({self.tokens_from})",
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
    examples = _sample(recipe, corpus, tokenizer) if tokenizer is not None else None
    training = recipe.training.settled(len(examples)) if examples and recipe.training.steps is None else recipe.training
    if examples:
        per_row = sum(len(e) + e.closed for e in examples) / len(examples)
        tokens_per_step, origin = per_row * training.batch_size, f"measured on {len(examples):,} examples"
        if training.packing:
            tokens_per_step, origin = float(training.max_length * training.batch_size), "packed rows, full"
    else:
        tokens_per_step, origin = float(training.max_length * training.batch_size), "at most: no data at hand"
    tokens = tokens_per_step * training.steps if training.steps else None
    flops = 6.0 * core * tokens if tokens is not None else None
    seconds, seconds_from = None, "no probe: weights or data are not at hand; --rate FLOP/s reckons without"
    if rate and flops is not None:
        seconds, seconds_from = flops / rate, f"at {rate:.3g} FLOP/s"
    elif examples and training.steps and probe_seconds > 0:
        per_step, count = probe(recipe, tokenizer, examples, probe_seconds)
        seconds, seconds_from = per_step * training.steps, f"probe of {count} steps, {per_step:.4f} s each"
    return Plan(
        recipe.name, total, core, training.steps, tokens_per_step, origin, tokens, flops,
        memory(recipe, network, total, tokens_per_step), seconds, seconds_from,
    )  # fmt: skip


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
        known = {"vocab_size": len(tokenizer)} if tokenizer is not None else {}
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


def _sample(recipe: Recipe, corpus: Path | None, tokenizer) -> Sequence[Example] | None:
    """Encoded examples of the recipe's first records, or None where the data is not here."""
    if recipe.mixture.source == "embedded" and corpus is None:
        return None
    try:
        files = training_files(recipe.mixture, corpus)
        if recipe.mixture.source == "sources":
            records = [record for _, _, _, record in itertools.islice(stream(recipe.mixture.sources), SAMPLE)]
            records = [record for record in records if record["inputs"] and record["targets"]]
        else:
            records = read_records(files, min(SAMPLE, recipe.mixture.records or SAMPLE))
    except ConfigError as error:
        if "no such file" in str(error):
            return None
        raise
    options = (recipe.training.max_length, recipe.training.too_long, recipe.prompt_special_tokens)
    return encode(records, tokenizer, recipe.template, *options).examples


def probe(recipe: Recipe, tokenizer, examples: Sequence[Example], seconds: float) -> tuple[float, int]:
    """(seconds per optimiser step, steps measured): forward, backward and update of real batches; the first is not counted."""
    built = assemble(recipe, tokenizer)
    training = recipe.training.settled(len(examples))
    size = min(training.batch_size, len(examples))
    rows = BatchPlan([len(e) for e in examples], size, 10_000, recipe.seed, training.bucket_batches)
    steps = Steps(examples, rows, built.objective, recipe.seed, accumulation=training.accumulation, micro_tokens=training.micro_tokens)  # fmt: skip
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


def as_data(planned: Plan) -> dict:
    """For programs."""
    return asdict(planned)
