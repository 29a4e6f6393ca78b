"""Training measured against plain ways of doing it, in the same run: throughput, overhead, memory of a large vocabulary.

Ratios, not times, are what carries over to other machines. Everything runs on networks with random weights.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from trainers.batches import BatchPlan, PackedPlan, Steps
from trainers.encode import Example
from trainers.objectives import divided
from trainers.objectives.causal import Causal
from trainers.trainer import ObjectiveModule, run_training

ALPACA_PROMPT, ALPACA_TARGET = (20.0, 0.6), (45.0, 1.0)  # medians and log-sds in tokens, near Alpaca's word counts


@dataclass(frozen=True)
class Measured:
    """Median seconds of the repeats of our way and of the plain one, and what the ratio is of."""

    what: str
    ours: float
    plain: float
    ratio: float
    repeats: int
    note: str


def examples(count: int, vocabulary: int, longest: int, seed: int = 0) -> list[Example]:
    """Examples whose lengths follow an Alpaca-like log-normal law, with random tokens."""
    rng = random.Random(seed)

    def ids(median: float, spread: float) -> tuple[int, ...]:
        size = max(1, min(longest // 2 - 1, round(median * rng.lognormvariate(0.0, spread))))
        return tuple(rng.randrange(8, vocabulary) for _ in range(size))

    made = []
    for _ in range(count):
        prompt = ids(*ALPACA_PROMPT)
        made.append(Example(prompt, ids(*ALPACA_TARGET), (1,) * len(prompt)))
    return made


def decoder(vocabulary: int, width: int, layers: int) -> Any:
    """A Llama-class decoder with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64), num_key_value_heads=max(1, width // 64), max_position_embeddings=2048,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def plain_trainer(network, data: list[Example], order: list[list[int]], eos: int, pad: int) -> float:
    """Seconds of a stock Trainer on batches padded to their longest row, in the order given, on the network's own loss."""
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    def collate(rows: list[Example]) -> dict[str, torch.Tensor]:
        width = max(len(e) for e in rows) + 1
        full = [[*e.prompt, *e.target, eos] for e in rows]
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in full])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in full])
        labels = ids.masked_fill(mask == 0, -100)
        for label, example in zip(labels, rows, strict=True):
            label[: len(example.prompt)] = -100
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    class Plain(Trainer):
        def get_train_dataloader(self):
            return self.accelerator.prepare(DataLoader(data, batch_sampler=order, collate_fn=collate))  # type: ignore[arg-type]

    arguments = TrainingArguments(
        output_dir="unused", max_steps=len(order), per_device_train_batch_size=len(order[0]), save_strategy="no",
        report_to="none", disable_tqdm=True, logging_strategy="no", remove_unused_columns=False, log_level="error",
        use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Plain(model=network, args=arguments, train_dataset=data)  # type: ignore[arg-type]
    return _timed(trainer.train)


def ours(network, data: list[Example], plan: BatchPlan, eos: int, pad: int, batch: int) -> float:
    """Seconds of ObjectiveTrainer on the same examples."""
    objective = Causal(pad=pad, eos=eos)
    module, steps = ObjectiveModule(network, objective, network), Steps(data, plan, objective, 0)
    options = {"max_steps": len(plan), "per_device_train_batch_size": batch, "learning_rate": 5e-5}
    return _timed(
        lambda: run_training(module, steps, seed=0, what="measured", bf16=torch.cuda.is_available(), **options)
    )


def bare_loop(network, data: list[Example], plan: BatchPlan, eos: int, pad: int) -> float:
    """Seconds of the same steps in a loop of our own: collate, forward, backward, clip, AdamW."""
    objective = Causal(pad=pad, eos=eos)
    steps = Steps(data, plan, objective, 0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-5)

    def run() -> None:
        for number in range(len(steps)):
            item = steps[number]
            batch = {name: tensor.to(device) for name, tensor in item["parts"][0].items()}
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = divided(objective.loss_sums(network, batch), item["weights"].to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

    return _timed(run)


def _timed(run: Callable) -> float:
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(width: int = 128, layers: int = 2, vocabulary: int = 8000, rows: int = 512, batch: int = 16, repeats: int = 3) -> list[Measured]:  # fmt: skip
    """Throughput (tokens/s, ours ÷ plain: bucketed, and packed), and overhead (seconds, ours ÷ bare loop)."""
    data = examples(rows, vocabulary, 512)
    lengths, full = [len(e) for e in data], [len(e) + 1 for e in data]
    steps = rows // batch
    order = list(range(rows))
    random.Random(1).shuffle(order)
    shuffled = [order[at : at + batch] for at in range(0, steps * batch, batch)]
    bucketed = BatchPlan(lengths, batch, steps, 0, 50)
    room, packed_rows = 512, 4
    packed = PackedPlan(full, packed_rows, len(PackedPlan(full, packed_rows, 1, 0, room).epoch(0)), 0, room)
    tokens = {
        "plain": sum(full[i] for step in shuffled for i in step),
        "bucketed": sum(full[i] for s in range(len(bucketed)) for i in bucketed[s]),
        "packed": sum(full[i] for s in range(len(packed)) for row in packed[s] for i in row),  # type: ignore[union-attr]
    }
    times: dict[str, list[float]] = {name: [] for name in ("plain", "bucketed", "packed", "bare")}
    for _ in range(repeats):
        make = lambda: decoder(vocabulary, width, layers)  # noqa: E731
        times["plain"].append(plain_trainer(make(), data, shuffled, 2, 1))
        times["bucketed"].append(ours(make(), data, bucketed, 2, 1, batch))
        times["packed"].append(ours(make(), data, packed, 2, 1, packed_rows))
        times["bare"].append(bare_loop(make(), data, bucketed, 2, 1))
    found = {name: statistics.median(values) for name, values in times.items()}
    rate = {name: tokens[name] / found[name] for name in tokens}
    shape = f"width {width}, {layers} layers, vocabulary {vocabulary}, {tokens['plain']} tokens"
    return [
        Measured("tokens/s, bucketed ÷ plain Trainer", rate["bucketed"], rate["plain"], rate["bucketed"] / rate["plain"], repeats, shape),
        Measured("tokens/s, packed ÷ plain Trainer", rate["packed"], rate["plain"], rate["packed"] / rate["plain"], repeats, f"{shape}; rows of {room}"),
        Measured("seconds, ObjectiveTrainer ÷ bare loop", found["bucketed"], found["bare"], found["bucketed"] / found["bare"], repeats, shape),
    ]  # fmt: skip


def logits_memory(
    vocabulary: int = 250_002, width: int = 64, tokens: int = 512, rows: int = 2, share: float = 0.15
) -> Measured:
    """Peak bytes of forward and backward with the projection at `share` of the positions ÷ at all of them.

    Counted in saved and live tensors by torch's own profiler, so it is the same on every machine.
    """
    network = decoder(vocabulary, width, 1)
    size = int(tokens * share)
    data = [
        Example(tuple([9] * (tokens - size)), tuple([11] * (size - 1)), (1,) * (tokens - size)) for _ in range(rows)
    ]
    objective = Causal(pad=1, eos=2)
    batch = objective.collate(data)

    def some() -> torch.Tensor:
        return divided(objective.loss_sums(network, batch), objective.weights(batch))

    def everywhere() -> torch.Tensor:
        labels = batch["tokens_BT"].masked_fill(batch["weight_BT"] == 0, -100)
        return network(input_ids=batch["tokens_BT"], attention_mask=batch["attend_BT"], labels=labels).loss

    peaks = [_peak(step, network) for step in (some, everywhere)]
    note = f"{rows} × {tokens} tokens, {share:.0%} with loss, vocabulary {vocabulary}, width {width}"
    what = "peak bytes above the weights, loss positions ÷ every position"
    return Measured(what, peaks[0], peaks[1], peaks[0] / peaks[1], 1, note)


def _peak(step: Callable[[], torch.Tensor], network) -> float:
    """Most bytes allocated at a time during a forward and backward pass, above what was there before."""
    from torch.profiler import ProfilerActivity, profile

    network.zero_grad(set_to_none=False)
    step().backward()  # gradients exist from here on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step().backward()
    live = peak = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            live += event.nbytes()  # type: ignore[attr-defined]
            peak = max(peak, live)
    return float(peak)


def report(measured: list[Measured]) -> list[dict]:
    """For JSON."""
    return [asdict(one) for one in measured]
