"""Overhead: what a run takes beside its network, on a multiple-choice task of some two thousand questions.

A run is measured whole, as `python -m harness run` does it once Python and the checkpoint are loaded: the task's
documents, prompts and requests, scores, metrics, lm-eval's files, the seal. Three parts, in seconds of processor time (with
an accelerator: of wall time; `clock` says which):

    network   inside the network: its forward passes and its projections to the vocabulary
    adapter   the rest of the adapter: encoding pairs, choosing and packing rows, reading scores out
    around    everything else

overhead = (adapter + around) / network; lower is better. After a run of a few questions to warm up, the whole is done
`repeats` times; medians are kept, of every column by itself. A network of the mini suite is tiny, so its share is the
hardest case; `measure_model` takes any checkpoint.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from harness.config import ConfigError
from harness.evaluate import load_model, load_of_suite, use_embedded_corpus
from harness.progress import bar
from harness.records import digest_of, seal_measurements, write_atomically
from harness.registration import task_manager
from harness.runs import Runner
from harness.selection import leaf_tasks
from harness.speed import Clock, device_name
from harness.suites import OverheadPlan, Suite

COLUMNS: tuple[str, ...] = (
    "suite", "system", "adapter", "tasks", "questions", "requests", "repeats", "seconds", "network_seconds",
    "adapter_seconds", "around_seconds", "overhead", "overhead_around", "clock", "device",
)  # fmt: skip
WARM_UP = 20  # questions
NETWORK = ("hidden", "hidden_and_states", "logits_at", "length_logits")  # of a backbone; lm-eval's models: `forward`


def measure_overhead(suite: Suite, results: Path) -> str:
    """Measure `suite.overhead`; writes results/<suite>/speed/overhead.{csv,json} and returns the CSV.

    Raises:
        ConfigError: the suite has no overhead section, or one of its tasks is no multiple-choice task.
    """
    plan = suite.overhead
    if plan is None:
        raise ConfigError(f"suite {suite.name} has no overhead section: nothing to measure.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in bar(plan.systems, what=f"overhead {suite.name}", unit="systems"):
        model = load_of_suite(suite, root, name)
        runs[name] = _repeated(model, suite.system(name).adapter, plan)
    rows = [_row(suite.name, name, suite.system(name).adapter, found) for name, found in runs.items()]
    return _written(root / "speed" / "overhead", plan, rows, runs)


def measure_model(
    adapter: str,
    arguments: dict,
    tasks: list[str],
    questions: int,
    repeats: int,
    results: Path,
    batch_size: str = "auto",
    metadata: dict[str, Any] | None = None,
) -> str:
    """Measure a checkpoint of any size; writes results/speed/overhead-<adapter>-<digest>.{csv,json}, enters them into that
    folder's record (weights, packages, commit, device), returns the CSV. `metadata` are the tasks' settings.

    Raises:
        ConfigError: one of the tasks is no multiple-choice task.
    """
    plan = OverheadPlan(systems=(adapter,), tasks=tuple(tasks), questions=questions, repeats=repeats)
    model = load_model(adapter, arguments, batch_size=batch_size)
    name = Path(model.pretrained).name
    runs = _repeated(model, adapter, plan, metadata)
    stem = results / "speed" / f"overhead-{adapter}-{digest_of([arguments, plan.model_dump()], 8)}"
    text = _written(stem, plan, [_row("", name, adapter, runs)], {name: runs})
    weights = {str(model.pretrained): model.weights_sha256}
    seal_measurements(stem.parent, [f"{stem.name}.csv", f"{stem.name}.json"], weights, device_name())
    return text


def _repeated(model, adapter: str, plan: OverheadPlan, metadata: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    measured(model, adapter, plan.model_copy(update={"questions": min(WARM_UP, plan.questions)}), metadata)
    return [measured(model, adapter, plan, metadata) for _ in range(plan.repeats)]


def _written(stem: Path, plan: OverheadPlan, rows: list[dict[str, Any]], runs: dict[str, Any]) -> str:
    """The rows as CSV; it and the plan with every run are in stem.csv and stem.json."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    record = {"plan": plan.model_dump(), "rows": rows, "runs": runs}
    write_atomically(stem.with_name(f"{stem.name}.json"), json.dumps(record, indent=1) + "\n")
    write_atomically(stem.with_name(f"{stem.name}.csv"), text.getvalue())
    return text.getvalue()


def measured(model, adapter: str, plan: OverheadPlan, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """One whole run of the plan's tasks, into a folder that is thrown away: questions, requests and the three parts."""
    now = time.perf_counter if torch.cuda.is_available() else time.process_time
    owner, calls = (model.backbone, NETWORK) if hasattr(model, "backbone") else (model.model, ("forward",))
    with (
        tempfile.TemporaryDirectory() as out,
        Clock(owner, calls, now) as network,
        Clock(model, ("loglikelihood",), now) as scoring,
    ):
        start = now()
        manager = task_manager(plan.tasks, metadata=metadata)
        leaves, _ = leaf_tasks(manager, list(plan.tasks))
        limit = math.ceil(plan.questions / len(leaves))
        records = Runner(model, adapter, Path(out), limit=limit, metadata=metadata).run(manager, leaves)
        seconds = now() - start
    for record in records:
        if record.kind is None:
            raise ConfigError(f"overhead.tasks: {record.task} is no multiple-choice task.")
    parts = {
        "network": network.seconds,
        "adapter": scoring.seconds - network.seconds,
        "around": seconds - scoring.seconds,
    }
    return {
        "tasks": leaves,
        "questions": sum(record.n_items for record in records),
        "requests": sum(record.n_scored for record in records),
        "seconds": seconds,
        **{f"{name}_seconds": value for name, value in parts.items()},
        "overhead": (seconds - network.seconds) / network.seconds,
        "overhead_around": parts["around"] / network.seconds,
    }


def _row(suite: str, system: str, adapter: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {
        name: round(statistics.median(run[name] for run in runs), 4)
        for name in COLUMNS
        if name.endswith("seconds") or name.startswith("overhead")
    }
    facts = {"suite": suite, "system": system, "adapter": adapter}
    clock = "wall" if torch.cuda.is_available() else "processor"
    counts = {"questions": runs[0]["questions"], "requests": runs[0]["requests"], "repeats": len(runs)}
    return {**facts, "tasks": "+".join(runs[0]["tasks"]), **counts, **medians, "clock": clock, "device": device_name()}
