"""Decoding speed and quality of a suite's checkpoints, under one protocol.

Tokens per second count generated tokens only: no prompt, nothing after the end-of-sequence token. Tokenising and
detokenising are outside the clock, so that networks are compared and not string code. All modes decode the same items
in turn, once to warm up and then `repeats` times, so that whatever else the machine does meets all of them; median,
smallest and largest are kept. Autoregressive rows use `generate` with its KV cache. Peak memory is what the accelerator reports; a CPU has no such counter (left empty).
"""

from __future__ import annotations

import csv
import io
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.adapters.settings import MaskedSettings
from harness.config import ConfigError
from harness.evaluate import load_of_suite, use_embedded_corpus
from harness.progress import bar
from harness.records import write_atomically
from harness.registration import task_manager
from harness.suites import SpeedMode, SpeedPlan, Suite

COLUMNS = (
    "suite", "mode", "system", "seed", "label", "batch_size", "repeats", "items", "generated_tokens",
    "tokens_per_second_median", "tokens_per_second_min", "tokens_per_second_max", "latency_ms_median",
    "forward_passes_per_item", "quality_exact_match", "quality_token_f1", "peak_memory_mib", "approximate", "device",
)  # fmt: skip
Answers = tuple[list[list[int]], float]  # token ids per item, forward passes per item


def measure_suite(suite: Suite, results: Path) -> str:
    """Measure every mode of `suite.speed`; writes results/<suite>/speed/decoding.csv and returns it as text.

    Raises:
        ConfigError: the suite has no speed section.
    """
    if suite.speed is None:
        raise ConfigError(f"suite {suite.name} has no speed section: nothing to measure.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    task = task_manager([suite.speed.task]).load(suite.speed.task)["tasks"][suite.speed.task]
    docs = list(task.test_docs())
    loaded: dict[str, Any] = {}
    for mode in suite.speed.modes:
        if mode.system not in loaded:
            loaded[mode.system] = load_of_suite(suite, root, mode.system)
    rows = {}
    for size in suite.speed.batch_sizes:
        timed = [Timed(loaded[mode.system], mode, suite.speed, size, docs, task) for mode in suite.speed.modes]
        for turn in bar(range(suite.speed.repeats + 1), what=f"speed {suite.name}, batch {size}", unit="turns"):
            for one in timed:
                one.turn(keep=turn > 0)
        rows |= {(one.mode.name, size): one.row(suite) for one in timed}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[mode.name, size] for mode in suite.speed.modes for size in suite.speed.batch_sizes)
    write_atomically(root / "speed" / "decoding.csv", text.getvalue())
    return text.getvalue()


class Timed:
    """One mode at one batch size, timed turn by turn; at batch 1 on a quarter of the items, each being a whole batch."""

    def __init__(self, model, mode: SpeedMode, plan: SpeedPlan, size: int, docs: Sequence[dict], task):
        self.model, self.mode, self.size, self.task = model, mode, size, task
        count = min(len(docs), plan.items)
        self.docs = docs[: count if size > 1 else max(1, count // 4)]
        prompts = [
            model.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in few_shot(docs, task, mode.shots)[: len(self.docs)]
        ]
        self.batches = [prompts[at : at + size] for at in range(0, len(prompts), size)]
        self.settings = settings_of(model, mode, longest=longest_answer(task))
        self.answer = answering(model, self.settings, longest=longest_answer(task))
        self.seconds: list[float] = []
        self.answers: list[list[int]] = []
        self.passes, self.peak_mib = 0.0, 0.0

    def turn(self, keep: bool) -> None:
        """Decode all items once; the time counts if it is to be kept (the first turn warms up)."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        wait()
        clock = time.perf_counter()
        self.answers, self.passes = _all(self.answer, self.batches)
        wait()
        if keep:
            self.seconds.append(time.perf_counter() - clock)
        if torch.cuda.is_available():
            self.peak_mib = max(self.peak_mib, torch.cuda.max_memory_allocated() / 2**20)

    def row(self, suite: Suite) -> dict[str, Any]:
        """The mode's row of decoding.csv; quality is that of the last turn's answers."""
        tokens = sum(map(len, self.answers))
        rates = [tokens / seconds for seconds in self.seconds]
        texts = [self.model.tokenizer.decode(ids, skip_special_tokens=True) for ids in self.answers]
        scores = [self.task.process_results(doc, [text]) for doc, text in zip(self.docs, texts, strict=True)]
        latency = 1000 * statistics.median(self.seconds) / len(self.batches)
        return {
            "suite": suite.name, "mode": self.mode.name, "system": self.mode.system, "seed": suite.seeds[0],
            "label": self.mode.label, "batch_size": self.size, "repeats": len(rates), "items": len(self.docs),
            "generated_tokens": tokens, "tokens_per_second_median": round(statistics.median(rates), 2),
            "tokens_per_second_min": round(min(rates), 2), "tokens_per_second_max": round(max(rates), 2),
            "latency_ms_median": round(latency, 3), "forward_passes_per_item": round(self.passes, 3),
            "quality_exact_match": _mean(scores, "exact_match"), "quality_token_f1": _mean(scores, "token_f1"),
            "peak_memory_mib": round(self.peak_mib, 1) if self.peak_mib else "",
            "approximate": self.settings is not None and self.settings.block_cache != "off", "device": device_name(),
        }  # fmt: skip


def few_shot(docs: Sequence[dict], task, shots: int) -> list[str]:
    """Each document's prompt behind the `shots` documents that follow it (cyclic) with their answers, one per line."""
    examples = [f"{task.doc_to_text(doc)} {str(task.doc_to_target(doc)).strip()}\n" for doc in docs]
    return [
        "".join(examples[(index + 1 + n) % len(docs)] for n in range(shots)) + task.doc_to_text(doc)
        for index, doc in enumerate(docs)
    ]


def settings_of(model, mode: SpeedMode, longest: int) -> MaskedSettings | None:
    """The settings that a mode decodes with; None for an autoregressive system.

    Raises:
        ConfigError: settings for an autoregressive system, or the reference's length, which no user has.
    """
    if not hasattr(model, "decode_tokens"):
        if mode.settings:
            raise ConfigError(f"speed.modes.{mode.name}: an autoregressive system has no decoder settings.")
        return None
    settings = model.asked.changed({**mode.settings, "max_gen_toks": longest})
    if settings.length == "oracle":
        raise ConfigError(
            f"speed.modes.{mode.name}: speed is measured with a system's own lengths; take length=predicted or fixed."
        )
    return settings


def answering(model, settings: MaskedSettings | None, longest: int) -> Callable[[list[list[int]]], Answers]:
    """A function from a batch of prompts to (answer tokens, forward passes per item)."""
    if settings is None:
        return lambda prompts: _generate(model, prompts, longest)

    def decode(prompts: list[list[int]]) -> Answers:
        model.tally.forward_passes = 0
        tokens = model.decode_tokens(prompts, settings, [None] * len(prompts))
        return tokens, model.tally.forward_passes / len(prompts)

    return decode


@torch.inference_mode()
def _generate(model, prompts: list[list[int]], longest: int) -> Answers:
    """Greedy `generate` with the KV cache; decoders are padded on the left, encoders on the right."""
    pad, eos, width = model.tokenizer.pad_token_id, model.tokenizer.eos_token_id, max(map(len, prompts))
    seq2seq = model.backend == "seq2seq"
    fill = [[pad] * (width - len(prompt)) for prompt in prompts]
    rows = [prompt + more if seq2seq else more + prompt for prompt, more in zip(prompts, fill, strict=True)]
    keep = [
        [1] * len(p) + [0] * len(f) if seq2seq else [0] * len(f) + [1] * len(p)
        for p, f in zip(prompts, fill, strict=True)
    ]
    written = model.model.generate(
        input_ids=torch.tensor(rows, device=model.device), attention_mask=torch.tensor(keep, device=model.device),
        max_new_tokens=longest, do_sample=False, use_cache=True, pad_token_id=pad, eos_token_id=eos,
    )  # fmt: skip
    written = written[:, 1:] if seq2seq else written[:, width:]
    answers = [ids[: ids.index(eos)] if eos in ids else ids for ids in written.tolist()]
    return answers, float(written.shape[1])


def _all(answer: Callable[[list[list[int]]], Answers], batches: Sequence[list[list[int]]]) -> Answers:
    tokens, passes = [], 0.0
    for batch in batches:
        written, each = answer(batch)
        tokens += written
        passes += each * len(batch)
    return tokens, passes / len(tokens)


def longest_answer(task) -> int:
    """Most tokens that a task lets an answer have."""
    return int((task.config.generation_kwargs or {}).get("max_gen_toks", 64))


def _mean(scores: Sequence[dict], name: str) -> float | str:
    values = [score[name] for score in scores if name in score]
    return round(sum(values) / len(values), 5) if values else ""


class Clock:
    """Seconds spent in the named methods of an object while it is entered; calls inside calls count once."""

    def __init__(self, owner: Any, names: Sequence[str], now: Callable[[], float] = time.perf_counter):
        self.owner, self.names, self.now, self.seconds = owner, tuple(names), now, 0.0
        self._inside = False
        self._own: dict[str, Any] = {}  # methods of the object itself, such as a forward with a hook on it

    def __enter__(self) -> Clock:
        self._own = {name: vars(self.owner)[name] for name in self.names if name in vars(self.owner)}
        for name in self.names:
            setattr(self.owner, name, self._timed(getattr(self.owner, name)))
        return self

    def __exit__(self, *_) -> None:
        for name in self.names:
            delattr(self.owner, name)
        for name, method in self._own.items():
            setattr(self.owner, name, method)

    def _timed(self, plain: Callable) -> Callable:
        def timed(*arguments, **named):
            if self._inside:
                return plain(*arguments, **named)
            self._inside, start = True, self.now()
            try:
                value = plain(*arguments, **named)
                wait()
            finally:
                self._inside = False
                self.seconds += self.now() - start
            return value

        return timed


def wait() -> None:
    """Until the accelerator has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_name() -> str:
    """The accelerator's name, or the processor with its number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{_processor()}, {torch.get_num_threads()} thread(s)"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
