"""Self-instruct: new tasks written by any OpenAI-compatible endpoint from a few seed tasks, in Alpaca's format.

The procedure of Wang et al. 2023 (arXiv 2212.10560) as Stanford Alpaca batches it (facts B4): a request shows a few seed
tasks and asks for a numbered list; answers are parsed, filtered, and kept unless their ROUGE-L F1 with a task at hand exceeds
0.7. Every paid answer is written to requests.jsonl before it is used: a killed run pays for nothing twice, and the same
file gives the same tasks. The key comes from the environment (OPENAI_API_KEY) alone.
"""

from __future__ import annotations

import json
import os
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.config import ConfigError
from harness.records import RecordError, digest_of, write_atomically
from trainers.sources import rows_of

REQUESTS, TASKS = "requests.jsonl", "tasks.json"
NOT_TEXT = ("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot",
            "go to", "video", "audio", "music", "flowchart", "diagram")  # fmt: skip
NO_INPUT = "<noinput>"


@dataclass(frozen=True)
class Settings:
    """Prices in US dollars per million tokens; `budget`, which needs both, is never exceeded by more than one request."""

    model: str
    base_url: str | None = None
    wanted: int = 1000
    shown: int = 3
    asked: int = 20
    similarity: float = 0.7
    temperature: float = 1.0
    max_tokens: int = 3072
    words: tuple[int, int] = (4, 150)
    ascii_start: bool = (
        False  # Alpaca's filter: instructions must start with an ASCII letter, which leaves English only
    )
    language: str = "English"
    price_in: float | None = None
    price_out: float | None = None
    budget: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """An instruction with its input (may be empty) and output."""

    instruction: str
    input: str
    output: str


@dataclass
class Outcome:
    """What a run has."""

    tasks: list[Task] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    cost: float | None = 0.0
    stopped: str = "enough"


class Client(Protocol):
    """One completion: (text, finish reason, prompt tokens, completion tokens); no tokens where the endpoint counts none."""

    def __call__(self, prompt: str) -> tuple[str, str, int | None, int | None]: ...


def openai_client(settings: Settings) -> Client:
    """A client of any OpenAI-compatible endpoint; ConfigError without a key, or (of a call) where it cannot be asked."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise ConfigError(
            "OPENAI_API_KEY is not set: the endpoint's key is read from the environment (any text for a local one)."
        )
    from openai import OpenAI, OpenAIError

    client = OpenAI(base_url=settings.base_url, max_retries=5)

    def complete(prompt: str) -> tuple[str, str, int | None, int | None]:
        try:
            answer = client.chat.completions.create(
                model=settings.model, messages=[{"role": "user", "content": prompt}], temperature=settings.temperature,
                max_tokens=settings.max_tokens,
            )  # fmt: skip
        except OpenAIError as error:
            raise ConfigError(
                f"{client.base_url} did not answer ({type(error).__name__}: {str(error).splitlines()[0]}). What was paid is "
                "kept; the same command goes on from there."
            ) from error
        choice, used = answer.choices[0], answer.usage
        tokens_in, tokens_out = (used.prompt_tokens, used.completion_tokens) if used else (None, None)
        return choice.message.content or "", choice.finish_reason or "", tokens_in, tokens_out

    return complete


def seed_tasks(path: Path) -> list[Task]:
    """Tasks of a file in self-instruct's form (instruction, instances) or Alpaca's (instruction, input, output)."""
    tasks = []
    for number, row in rows_of(path):
        instance = (row.get("instances") or [row])[0]
        if "instruction" not in row or "output" not in instance:
            raise ConfigError(f"{path}, row {number}: expected instruction and output (or instances).")
        tasks.append(Task(row["instruction"], instance.get("input") or "", instance["output"]))
    return tasks


def prompt_of(shown: Sequence[Task], settings: Settings) -> str:
    """The request: what is wanted, then the shown tasks as a list that goes on."""
    wanted = (
        f"Write a list of {settings.asked} varied tasks for a language model, in {settings.language}. Vary the verbs, the kinds "
        "of task and the wording. A task must be answerable in text alone. Give each as three parts: an instruction of "
        f"one or two sentences; a realistic input of at most 100 words, or {NO_INPUT} where none is needed; the output.\n"
    )
    blocks = [_block(number, task) for number, task in enumerate(shown, 1)]
    return wanted + "\n" + "\n".join(blocks) + f"\n###\n{len(shown) + 1}. Instruction:"


def _block(number: int, task: Task) -> str:
    return f"###\n{number}. Instruction: {task.instruction}\n{number}. Input:\n{task.input or NO_INPUT}\n{number}. Output:\n{task.output}"


def parse(answer: str, first: int, finish_reason: str) -> list[Task]:
    """The tasks of an answer that goes on from `first`. Instruction:; a last one that was cut off is left out."""
    blocks = f"{first}. Instruction:{answer}".split("###")
    if finish_reason == "length":
        blocks = blocks[:-1]
    tasks = []
    for number, block in enumerate((b for b in blocks if b.strip()), first):
        parts = re.split(rf"{number}\.\s+(?:Instruction|Input|Output):", block)
        if len(parts) == 4:
            instruction, given, output = (" ".join(parts[1].split()).rstrip(":"), parts[2].strip(), parts[3].strip())
            tasks.append(Task(instruction, "" if given.lower() == NO_INPUT else given, output))
    return tasks


def fault(task: Task, settings: Settings) -> str | None:
    """Why a task is not kept, or None."""
    words = _words(task.instruction)
    low, high = settings.words
    if not low <= len(words) <= high:
        return "length of the instruction"
    text = f" {task.instruction.lower()} "
    if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in NOT_TEXT):
        return "not text alone"
    if task.instruction.startswith("Write a program"):
        return "asks for a program"
    if unicodedata.category(task.instruction[0])[0] == "P" or (
        settings.ascii_start and not task.instruction[0].isascii()
    ):
        return "first character"
    if not task.output or task.output == task.input:
        return "output empty or the input"
    return None


def _words(text: str) -> list[str]:
    return re.findall(
        r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+", text.lower()
    )


class _Words:
    """rouge-score's tokenizer interface, for languages without spaces, too (its own keeps a–z and digits only)."""

    def tokenize(self, text: str) -> list[str]:
        return _words(text)


def rouge_scorer() -> Callable[[str, str], float]:
    """ROUGE-L F1 of two texts."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())
    return lambda one, other: float(scorer.score(one, other)["rougeL"].fmeasure)


def bootstrap(seeds: Sequence[Task], settings: Settings, folder: Path, client: Client) -> Outcome:
    """Ask until `wanted` tasks are kept or the budget is spent; goes on from the folder's requests where there are any.

    Raises:
        ConfigError: too few seed tasks, the folder's requests were made with other settings, or a budget that cannot be
            kept: without prices, or from an endpoint that does not count tokens.
        RecordError: the folder cannot be written.
    """
    if len(seeds) < settings.shown:
        raise ConfigError(f"{len(seeds)} seed tasks, and each request shows {settings.shown}.")
    if settings.budget is not None and not _priced(settings):
        raise ConfigError(
            f"a budget of ${settings.budget} needs the prices of prompt and answer tokens (--price-in and --price-out, US "
            "dollars per million; 0 for one that is free): nothing was asked."
        )
    made, score = Outcome(), rouge_scorer()
    texts = [task.instruction for task in seeds]
    identity = digest_of(
        [
            asdict(settings) | {"wanted": 0, "budget": 0, "price_in": 0.0, "price_out": 0.0},
            [asdict(task) for task in seeds],
        ]
    )
    paid = _paid(folder / REQUESTS, identity)
    idle = 0
    while len(made.tasks) < settings.wanted:
        number = made.requests
        if number >= len(paid):
            if settings.budget is not None and made.cost is not None and made.cost >= settings.budget:
                made.stopped = f"budget of ${settings.budget} spent"
                break
            if idle >= 20:
                raise ConfigError("20 answers in a row gave no new task: look at requests.jsonl, or ask for fewer.")
            shown = random.Random(f"{settings.seed}/{number}").sample(list(seeds), settings.shown)
            answer, reason, tokens_in, tokens_out = client(prompt_of(shown, settings))
            entry = {"identity": identity, "answer": answer, "finish_reason": reason, "tokens_in": tokens_in, "tokens_out": tokens_out}  # fmt: skip
            _append(folder / REQUESTS, entry)
            paid.append(entry)
        entry = paid[number]
        made.requests += 1
        made.cost = _added(made.cost, entry, settings)
        if made.cost is None and settings.budget is not None:
            raise ConfigError(
                f"the endpoint does not say how many tokens it used, so a budget cannot be kept: stopped. {folder / REQUESTS} "
                "has every answer; the same command without a budget goes on from there."
            )
        before = len(made.tasks)
        for task in parse(entry["answer"], settings.shown + 1, entry["finish_reason"]):
            reason = fault(task, settings)
            if reason is None and max(score(text, task.instruction) for text in texts) > settings.similarity:
                reason = "too similar"
            if reason is not None:
                made.dropped[reason] = made.dropped.get(reason, 0) + 1
            elif len(made.tasks) < settings.wanted:
                made.tasks.append(task)
                texts.append(task.instruction)
        idle = 0 if len(made.tasks) > before else idle + 1
    write_atomically(
        folder / TASKS, json.dumps([asdict(task) for task in made.tasks], ensure_ascii=False, indent=1) + "\n"
    )
    return made


def _priced(settings: Settings) -> bool:
    """Whether both prices are known, and one of them counts."""
    prices = (settings.price_in, settings.price_out)
    return all(price is not None and price >= 0 for price in prices) and any(prices)


def _added(cost: float | None, entry: dict[str, Any], settings: Settings) -> float | None:
    """The cost with one request more, US dollars; None where prices or tokens are not known."""
    known = (cost, entry["tokens_in"], entry["tokens_out"], settings.price_in, settings.price_out)
    if any(value is None for value in known):
        return None
    before, tokens_in, tokens_out, price_in, price_out = known
    return before + (tokens_in * price_in + tokens_out * price_out) / 1e6


def _paid(path: Path, identity: str) -> list[dict[str, Any]]:
    """The requests of earlier runs; a last line that a kill cut off is dropped from the file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    whole, rest = [json.loads(line) for line in lines[:-1]], lines[-1]
    if rest:
        write_atomically(path, "".join(line + "\n" for line in lines[:-1]))
    if any(entry["identity"] != identity for entry in whole):
        raise ConfigError(f"{path} was made with other settings or seed tasks: name another folder.")
    return whole


def _append(path: Path, entry: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RecordError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error
