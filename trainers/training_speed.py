"""Training measured against plain ways of doing it, in the same run: throughput at equal loss, and the Trainer's overhead.

The plain way is a stock transformers Trainer on shuffled batches padded to their longest row, with the network's own loss;
the bare loop is our own steps without a Trainer. All train the same network from the same weights on the same examples,
one after the other in every repeat (another seed, another order of the ways), so that what else the machine does hits all
alike. Ratios within a repeat are what carries over; processor time is robust on a shared machine, wall time is what a user
waits for. What the Trainer adds to a step does not depend on the network: it is measured on a tiny one, where it shows, and
set against the bare loop's step. Text is a seeded chain of tokens, with something to learn, in lengths near Alpaca's.
"""

from __future__ import annotations

import functools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from trainers.batches import BatchPlan, PackedPlan, Steps
from trainers.compared import Compared, paired
from trainers.encode import Example
from trainers.module import ObjectiveModule
from trainers.objectives import divided
from trainers.objectives.causal import Causal
from trainers.trainer import run_training

ALPACA_PROMPT, ALPACA_TARGET = (20.0, 0.6), (45.0, 1.0)  # medians and log-sds in tokens, near Alpaca's word counts
PAD, EOS, WORDS = 1, 2, 8  # ids; the first of the words
RATE = 1e-3
SETTLED = 5  # steps before the clock runs: memory is allocated, caches are filled
LONGEST = 512  # tokens of an example
OURS = ("cut", "bucketed", "packed")  # ways to make batches, see `ways`


@dataclass(frozen=True)
class Setting:
    """What is measured: a decoder's shape, examples (and held-out ones), how often they are seen, examples per step, and
    the padded tokens of a piece of one, where steps are cut by length."""

    width: int = 128
    layers: int = 2
    vocabulary: int = 4000
    examples: int = 2048
    held_out: int = 256
    batch: int = 32
    epochs: int = 1
    micro_tokens: int = 2048


@dataclass(frozen=True)
class Timed:
    """One training: wall and processor seconds and real tokens of its timed steps, and the held-out loss after it
    (nats per target token)."""

    wall: float
    processor: float
    tokens: int
    steps: int
    loss: float


def examples(count: int, vocabulary: int, seed: int = 0) -> list[Example]:
    """Examples in Alpaca-like (log-normal) lengths; half of the tokens follow from the one before, half are Zipf's."""
    rng = random.Random(seed)
    after = random.Random("successors").sample(range(WORDS, vocabulary), vocabulary - WORDS)
    weights = torch.arange(1, vocabulary - WORDS + 1).reciprocal().cumsum(0).tolist()

    def ids(median: float, spread: float, before: int) -> list[int]:
        size = max(1, min(LONGEST // 2 - 1, round(median * rng.lognormvariate(0.0, spread))))
        made = rng.choices(range(WORDS, vocabulary), cum_weights=weights, k=size)
        for place in range(size):
            if rng.random() < 0.5:
                made[place] = after[(made[place - 1] if place else before) - WORDS]
        return made

    def example() -> Example:
        prompt = ids(*ALPACA_PROMPT, before=WORDS)
        return Example(tuple(prompt), tuple(ids(*ALPACA_TARGET, before=prompt[-1])), (1,) * len(prompt))

    return [example() for _ in range(count)]


def decoder(vocabulary: int, width: int, layers: int, seed: int = 0) -> Any:
    """A Llama-class decoder with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    heads = max(1, width // 64)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=2048,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def padded(rows: Sequence[Example]) -> dict[str, torch.Tensor]:
    """A stock collator's batch: padded to the longest row, labels −100 on prompts and padding."""
    full = [[*e.prompt, *e.target, EOS] for e in rows]
    width = max(map(len, full))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in full])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in full])
    labels = ids.masked_fill(mask == 0, -100)
    for label, example in zip(labels, rows, strict=True):
        label[: len(example.prompt)] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train_plainly(network, data: list[Example], plan: BatchPlan) -> None:
    """A stock Trainer with its defaults, every batch padded to its longest row."""
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    class Plain(Trainer):
        def get_train_dataloader(self):
            return self.accelerator.prepare(DataLoader(data, batch_sampler=[*plan], collate_fn=padded))  # type: ignore[arg-type]

    arguments = TrainingArguments(
        output_dir="unused", max_steps=len(plan), per_device_train_batch_size=plan.batch_size, save_strategy="no",
        report_to="none", disable_tqdm=True, logging_strategy="no", remove_unused_columns=False, log_level="error",
        use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available(), learning_rate=RATE,
    )  # fmt: skip
    trainer = Plain(model=network, args=arguments, train_dataset=data)  # type: ignore[arg-type]
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def train_ours(network, data: list[Example], plan: BatchPlan, micro_tokens: int | None = None) -> None:
    """ObjectiveTrainer, as recipes run it."""
    objective = Causal(pad=PAD, eos=EOS)
    steps = Steps(data, plan, objective, 0, micro_tokens=micro_tokens)
    module = ObjectiveModule(network, objective, network)
    options = {"max_steps": len(plan), "per_device_train_batch_size": plan.batch_size, "learning_rate": RATE}
    run_training(module, steps, seed=0, what="measured", bf16=torch.cuda.is_available(), **options)


def train_bare(network, data: list[Example], plan: BatchPlan) -> None:
    """The same steps in a loop of our own: collate, forward, backward, clip, AdamW."""
    objective = Causal(pad=PAD, eos=EOS)
    steps = Steps(data, plan, objective, 0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, fused=True)
    for number in range(len(steps)):
        item = steps[number]
        batch = {name: tensor.to(device) for name, tensor in item["parts"][0].items()}
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = divided(objective.loss_sums(network, batch), item["weights"].to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()


def clocked(train: Callable[[], None], after: Callable[[int], None] | None = None) -> list[tuple[float, float]]:
    """(wall, processor) seconds after every optimiser step of a training, whoever runs its loop.

    `after` is called with the number of each step, from 1; the clocks stand still meanwhile.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    marks: list[tuple[float, float]] = []
    stood = [0.0, 0.0]

    def mark(*_) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter(), time.process_time()
        marks.append((now[0] - stood[0], now[1] - stood[1]))
        if after is not None:
            after(len(marks))
            stood[0] += time.perf_counter() - now[0]
            stood[1] += time.process_time() - now[1]

    handle = register_optimizer_step_post_hook(mark)
    try:
        train()
    finally:
        handle.remove()
    return marks


@torch.no_grad()
def held_out_loss(network, data: Sequence[Example]) -> float:
    """Mean nats per target token; the network is left in the mode it was in."""
    objective, training, device = Causal(pad=PAD, eos=EOS), network.training, network.device
    network.eval()
    batches = [objective.collate(data[at : at + 32]) for at in range(0, len(data), 32)]
    weights = sum(objective.weights(batch) for batch in batches)
    moved = ({name: tensor.to(device) for name, tensor in batch.items()} for batch in batches)
    loss = float(sum(objective.loss_sums(network, batch).cpu() for batch in moved) / weights)
    network.train(training)
    return loss


def measure(setting: Setting = Setting(), repeats: int = 5) -> list[Compared]:  # noqa: B008  frozen
    """Throughput and held-out loss of our batches against a plain Trainer's; overhead over a bare loop."""
    tiny = replace(setting, width=16, layers=1, vocabulary=64, batch=16)
    times = turns(setting, repeats, ("plain", *OURS, "bare"))
    return compare(times, setting) + overhead(turns(tiny, repeats, ("bucketed", "bare")), times["bare"])


def turns(setting: Setting, repeats: int, names: Sequence[str]) -> dict[str, list[Timed]]:
    """Every way in turn, as often as asked, each repeat on a seed of its own and beginning with another way."""
    times: dict[str, list[Timed]] = {name: [] for name in names}
    for repeat in range(repeats):
        timed, first = _timed(setting, repeat), repeat % len(names)
        for name in (*names[first:], *names[:first]):
            times[name].append(timed[name]())
    return times


@dataclass(frozen=True)
class Way:
    """One way to train: which examples each step sees, and who trains."""

    plan: BatchPlan
    train: Callable[[Any, list[Example], BatchPlan], None]

    def seen(self) -> list[list[int]]:
        """The examples of every step."""
        if isinstance(self.plan, PackedPlan):
            return [[index for row in step for index in row] for step in self.plan]  # type: ignore[union-attr]
        return [*self.plan]


def ways(setting: Setting, lengths: list[int], seed: int) -> dict[str, Way]:
    """Every way to train `epochs` times over examples of so many tokens.

    plain: random batches, padded. cut: the same batches, in pieces of like length. bucketed: batches of like length.
    packed: rows of several examples, about as many a step.
    """
    steps = setting.epochs * (len(lengths) // setting.batch)
    plain = BatchPlan(lengths, setting.batch, steps, seed, 1)
    bucketed = BatchPlan(lengths, setting.batch, steps, seed, 50)
    pieces = functools.partial(train_ours, micro_tokens=setting.micro_tokens)
    return {
        "plain": Way(plain, train_plainly),
        "cut": Way(plain, pieces),
        "bucketed": Way(bucketed, train_ours),
        "packed": Way(packed_plan(setting, lengths, seed), train_ours),
        "bare": Way(bucketed, train_bare),
    }


def packed_plan(setting: Setting, lengths: list[int], seed: int) -> PackedPlan:
    """Packed rows whose steps see as many examples on average as the other ways'."""
    tokens = setting.batch * statistics.mean(lengths)
    rows = max(1, int(tokens / LONGEST))
    room = max(LONGEST, round(tokens / rows))
    while len(plan := PackedPlan(lengths, rows, 1, seed, room).epoch(0)) > len(lengths) // setting.batch:
        room += 8  # rows are never quite full
    return PackedPlan(lengths, rows, setting.epochs * len(plan), seed, room)


def _timed(setting: Setting, seed: int) -> dict[str, Callable[[], Timed]]:
    """Every way to train over a seed's examples, to be clocked."""
    data = examples(setting.examples + setting.held_out, setting.vocabulary, seed)
    data, held_out = data[: setting.examples], data[setting.examples :]
    full = [len(example) + 1 for example in data]

    def run(way: Way) -> Timed:
        network, seen = decoder(setting.vocabulary, setting.width, setting.layers, seed), way.seen()
        marks = clocked(lambda: way.train(network, data, way.plan))
        wall, processor = (last - first for first, last in zip(marks[SETTLED - 1], marks[-1], strict=True))
        tokens = sum(full[index] for step in seen[SETTLED:] for index in step)
        return Timed(wall, processor, tokens, len(seen) - SETTLED, held_out_loss(network, held_out))

    return {name: functools.partial(run, way) for name, way in ways(setting, full, seed).items()}


def compare(times: dict[str, list[Timed]], setting: Setting) -> list[Compared]:
    """What the repeats of every way say, pair by pair."""
    shape = ", ".join(f"{field.name} {getattr(setting, field.name)}" for field in fields(setting))
    seeds = statistics.stdev(one.loss for one in times["plain"]) if len(times["plain"]) > 1 else float("nan")
    found = []
    for way in OURS:
        for clock in ("wall", "processor"):
            rates = [[one.tokens / getattr(one, clock) for one in times[name]] for name in (way, "plain")]
            found.append(
                paired(f"throughput, {way} ÷ plain Trainer", f"tokens/s ({clock})", "ratio", rates[0], rates[1], shape)
            )
        losses = [[one.loss for one in times[name]] for name in (way, "plain")]
        note = f"standard deviation of the plain Trainer's over seeds: {seeds:.4f}; {shape}"
        found.append(
            paired(
                f"held-out loss, {way} − plain Trainer",
                "nats per target token",
                "difference",
                losses[0],
                losses[1],
                note,
            )
        )
    return found


def overhead(tiny: dict[str, list[Timed]], bare: list[Timed]) -> list[Compared]:
    """A step with what ObjectiveTrainer adds to it (on a tiny network), against the bare loop's step."""
    found = []
    for clock in ("wall", "processor"):
        ours, loop, step = (
            [getattr(t, clock) / t.steps for t in some] for some in (tiny["bucketed"], tiny["bare"], bare)
        )
        with_it = [s + a - b for a, b, s in zip(ours, loop, step, strict=True)]
        added = statistics.median(a - b for a, b in zip(ours, loop, strict=True))
        note = f"{1000 * added:.2f} ms a step, measured on a tiny network"
        found.append(
            paired("a step with ObjectiveTrainer ÷ in a bare loop", f"s/step ({clock})", "ratio", with_it, step, note)
        )
    return found
