"""All sealed runs of a suite as two tidy frames: one row per run, one row per run, item and metric.

Reads lm-eval's own `samples.jsonl` (one line per document and filter; metric values are keys, `metrics` names
them) beside the `run.json` that seals it. A run without `run.json` does not exist; one whose files changed is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.records import (
    RUN_FILE,
    CheckpointRecord,
    RecordError,
    RunRecord,
    digest_of,
    read_checkpoint,
    read_measurements,
    read_run,
    sha256_file,
    weights_digest,
)
from harness.suites import Suite
from reports.expected import RunKey, expected_runs, task_groups, tasks_folder
from reports.frame_files import cached, joined, uncollected
from reports.locations import checkpoint_folder
from reports.samples import SAMPLE_COLUMNS, SAMPLE_TEXTS, SAMPLES_FILE, FrameError, item_rows, sample_lines
from reports.views import ITEMS_PER_TASK, as_text, run_view, task_view

ITEM_COLUMNS = [
    "run_id",
    "system",
    "label",
    "seed",
    "evaluation",
    "task",
    "kind",
    "oracle_length",
    *SAMPLE_COLUMNS,
]
LABELS = [
    "run_id",
    "system",
    "label",
    "evaluation",
    "task",
    "kind",
    *SAMPLE_TEXTS,
    "metric",
]
RESULTS_FILE = "results.json"
CACHE_FILE = Path("cache") / "items.parquet"


@dataclass(frozen=True)
class Results:
    """What a suite has on disk: sealed runs, their items, checkpoints, and which runs are not there.

    views: task, or folder of a run → what the page shows of it (reports/views.py).
    """

    suite: Suite
    root: Path
    runs: dict[RunKey, RunRecord]
    items: pd.DataFrame
    checkpoints: dict[tuple[str, int], CheckpointRecord]
    expected: tuple[RunKey, ...]
    notes: tuple[str, ...] = ()
    higher_is_better: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict, repr=False)
    layouts: dict[tuple, Any] = field(default_factory=dict, repr=False)
    _parts: dict[tuple, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> tuple[RunKey, ...]:
        """Runs the suite asks for that are not sealed yet."""
        return tuple(key for key in self.expected if key not in self.runs)

    def upward(self, tasks: Sequence[str], metric: str) -> bool | None:
        """Whether higher is better for a metric on these tasks (so where no run says otherwise); None: neither way is.

        Raises:
            FrameError: the tasks disagree, so that a mean over them would say nothing.
        """
        known = {task: self.higher_is_better.get((task, metric), True) for task in tasks}
        if len(set(known.values())) > 1:
            up, down = ([t for t, is_up in known.items() if is_up is want] for want in (True, False))
            raise FrameError(
                f"metric '{metric}': higher is better in {', '.join(up) or 'none'}, lower in {', '.join(down) or 'none'}; "
                "they cannot be averaged, give them separate groups."
            )
        return next(iter(known.values()), True)

    def of(self, system: str, evaluation: str, task: str, metric: str) -> pd.DataFrame | None:
        """The items of one system, evaluation, task and metric (all seeds), or None."""
        if not self._parts:
            keys = ["system", "evaluation", "task", "metric"]
            self._parts.update({tuple(k): part for k, part in self.items.groupby(keys, observed=True)})  # type: ignore[arg-type]
        return self._parts.get((system, evaluation, task, metric))


def load_results(
    suite: Suite,
    root: Path,
    tasks: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Read and verify every sealed run of `suite` below `root` (results/<suite>), verify its measurements of speed.

    Raises:
        FrameError: no results folder, or a run whose record belongs elsewhere.
        RecordError: a run or checkpoint record is unreadable or its files were changed after sealing.
    """
    if not root.is_dir():
        raise FrameError(f"no results at {root}: run `make tables SUITE={suite.name}` first.")
    read_measurements(root / "speed")
    runs = dict(_sealed_runs(suite, root))
    expected = expected_runs(suite, task_groups(tasks or tasks_folder()))
    checkpoints = dict(_checkpoints(suite, root))
    directions = {key: up for run in runs for key, up in _directions(root / run.folder, run.task).items()}
    items, views = cached(root / CACHE_FILE, items_key(runs), lambda: _read(suite, root, runs, progress))
    notes = tuple(_notes(runs, checkpoints))
    return Results(suite, root, runs, items, checkpoints, expected, notes, directions, views)


def _directions(folder: Path, task: str) -> dict[tuple[str, str], bool | None]:
    """(task, metric) → whether higher is better, from lm-eval's own results file; what it does not say is left out."""
    path = folder / RESULTS_FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8")).get("higher_is_better", {})
    except (OSError, ValueError) as error:
        raise FrameError(f"{path} is not lm-eval's results file ({error}); evaluate this run again.") from error
    return {(task, str(name)): None if up is None else bool(up) for name, up in (said.get(task) or {}).items()}


def _read(
    suite: Suite, root: Path, runs: dict[RunKey, RunRecord], progress: Callable[[int, int], None]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Items and views of all runs, each samples file read once; a task's documents are those of its first run."""
    parts, views = [], {}
    shown: dict[str, list[int]] = {}
    with uncollected():
        for number, (key, record) in enumerate(runs.items(), 1):
            path = root / key.folder / SAMPLES_FILE
            lines = list(sample_lines(path))
            parts.append(_run_items(key, record, lines, path, suite))
            if key.task not in shown:
                documents = task_view(lines)
                shown[key.task] = [item["n"] for item in documents["items"]]
                views[key.task] = as_text(documents)
            views[key.folder] = as_text(run_view(lines, shown[key.task]))
            progress(number, len(runs))
    return joined(parts, ITEM_COLUMNS, LABELS), views


def items_key(runs: dict[RunKey, RunRecord]) -> str:
    """What the frame depends on: which runs, their samples' sha256 (checked before), and the columns of the frame."""
    samples = {key.folder: [record.run_id, record.files.get(SAMPLES_FILE)] for key, record in runs.items()}
    return digest_of([ITEM_COLUMNS, ITEMS_PER_TASK, samples], 32)


def _sealed_runs(suite: Suite, root: Path) -> Iterator[tuple[RunKey, RunRecord]]:
    """Runs of the suite's systems, seeds and evaluations; others (of an older suite file) are left alone."""
    for system in suite.systems:
        names = [evaluation.name for evaluation in suite.evaluations_of(system.name)]
        for seed in suite.seeds:
            for path in sorted(root.glob(f"runs/{system.name}-{seed}/*/*/{RUN_FILE}")):
                key = RunKey(system.name, seed, path.parts[-3], path.parts[-2])
                if key.evaluation in names:
                    yield key, _checked_run(key, path.parent, suite)


def _checked_run(key: RunKey, folder: Path, suite: Suite) -> RunRecord:
    record = read_run(folder)
    if SAMPLES_FILE not in record.files:
        raise RecordError(f"{folder}: its record seals no {SAMPLES_FILE}; evaluate it again.")
    claims = {
        "suite": (record.suite, suite.name),
        "evaluation": (record.evaluation, key.evaluation),
        "task": (record.task, key.task),
        "checkpoint seed": (record.checkpoint.seed, key.seed),
    }
    for what, (said, place) in claims.items():
        if said is not None and said != place:
            raise FrameError(f"{folder}: the record says {what} '{said}' but lies under '{place}'; evaluate it again.")
    return record


def _checkpoints(suite: Suite, root: Path) -> Iterator[tuple[tuple[str, int], CheckpointRecord]]:
    for system in suite.systems:
        for seed in suite.seeds:
            folder = checkpoint_folder(suite, root, system.name, seed)
            if folder is not None:
                yield (system.name, seed), read_checkpoint(folder)


def _notes(runs: dict[RunKey, RunRecord], checkpoints: dict[tuple[str, int], CheckpointRecord]) -> Iterator[str]:
    """What a reader must know about runs that count all the same."""
    for key, record in runs.items():
        where = f"{key.system}-{key.seed}/{key.evaluation}/{key.task}"
        if record.n_unscored:
            asked = record.n_scored + record.n_unscored
            yield f"{where}: {record.n_unscored} of {asked} requests got no score."
        if record.limit is not None:
            yield f"{where}: limited to {record.n_items} items."
        checkpoint = checkpoints.get((key.system, key.seed))
        sealed = weights_digest(checkpoint.files) if checkpoint else None
        used = record.checkpoint.weights_sha256
        if sealed and used and used != sealed:
            yield f"{where}: made with weights {used[:12]}, the checkpoint folder now holds {sealed[:12]}."


def _run_items(
    key: RunKey, record: RunRecord, lines: Sequence[Mapping[str, Any]], path: Path, suite: Suite
) -> pd.DataFrame:
    rows = item_rows(lines)
    if rows.duplicated(["item", "metric"]).any():
        twice = rows.loc[rows.duplicated(["item", "metric"]), "item"].iloc[0]
        raise FrameError(f"{path}: item '{twice}' is scored twice; evaluate this run again.")
    constants = {
        "run_id": record.run_id,
        "system": key.system,
        "label": suite.system(key.system).label,
        "evaluation": key.evaluation,
        "task": key.task,
        "kind": record.kind or "",
    }
    same = np.zeros(len(rows), np.int8)
    columns = {name: pd.Categorical.from_codes(same, categories=pd.Index([text])) for name, text in constants.items()}
    return rows.assign(**columns, seed=key.seed, oracle_length=record.oracle_length).reindex(columns=ITEM_COLUMNS)


RUN_FIELDS = (
    "run_id",
    "adapter",
    "kind",
    "oracle_length",
    "approximate",
    "n_items",
    "n_scored",
    "n_unscored",
    "n_truncated",
    "n_rows",
    "seconds",
    "device",
    "started",
    "commit",
    "dirty",
)


def reference(key: RunKey, record: RunRecord) -> str:
    """A run as tables cite it: `decoder_it-0/main/mini_nli@<run id>`."""
    return f"{key.folder.removeprefix('runs/')}@{record.run_id}"


def runs_frame(results: Results) -> pd.DataFrame:
    """One row per run: where it lies, what it ran, how long it took (seconds), how many items and rows."""
    place = ("system", "seed", "evaluation", "task")
    rows = [
        [getattr(key, name) for name in place]
        + [results.suite.system(key.system).label, record.checkpoint.weights_sha256]
        + [getattr(record, name) for name in RUN_FIELDS]
        for key, record in results.runs.items()
    ]
    return pd.DataFrame(rows, columns=pd.Index([*place, "label", "weights_sha256", *RUN_FIELDS]))


def file_digest(path: Path) -> str | None:
    """sha256 of a file, None where there is none."""
    return sha256_file(path) if path.is_file() else None
