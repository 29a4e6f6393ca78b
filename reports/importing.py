"""Plain lm-eval result folders, which anyone has, as a results folder of ours: sealed runs and a suite file.

Reads what `lm_eval --output_path … --log_samples` writes: `results_<time>.json` with one `samples_<task>_<time>.jsonl`
per task, in a folder per model. Nothing is recomputed; the runs are sealed as they were found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from harness.records import CheckpointRef, RunRecord, digest_of, seal, sha256_file, write_atomically
from harness.suites import Suite
from reports.frame import RESULTS_FILE
from reports.locations import ReportsError
from reports.samples import SAMPLES_FILE, sample_lines

SUITE_FILE = "suite.yaml"
ENVIRONMENT = {"lm_eval": "lm_eval_version", "transformers": "transformers_version"}


class ImportingError(ReportsError):
    """A folder holds no complete lm-eval results, or two of them claim the same; the message names the files."""


@dataclass(frozen=True)
class Found:
    """One task of one results file with its samples."""

    system: str
    label: str
    task: str
    results: Path
    samples: Path
    data: dict[str, Any]

    @property
    def n_items(self) -> int:
        """Documents that lm-eval says it scored."""
        return int(self.data["n-samples"][self.task]["effective"])


def import_folders(folders: Sequence[Path], name: str, results: Path) -> Path:
    """Write results/<name> with one system per model; returns its suite file.

    Raises:
        ImportingError: no results file, samples missing or fewer than said, or two runs for the same model and task.
    """
    found = [entry for folder in folders for entry in find(folder)]
    if not found:
        raise ImportingError(f"no results_*.json below {', '.join(map(str, folders))}: run lm_eval with --output_path.")
    _refuse_doubles(found)
    suite = _suite(name, found)
    root = results / name
    for entry in found:
        _check_whole(entry)
    for entry in found:
        _write(entry, root, name)
    data = suite.model_dump(mode="json", exclude_defaults=True)
    write_atomically(root / SUITE_FILE, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return root / SUITE_FILE


def find(folder: Path) -> Iterator[Found]:
    """Every task of every results file below a folder.

    Raises:
        ImportingError: a results file is unreadable, or a task's samples are not there.
    """
    for path in sorted(folder.rglob("results_*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            label = str(data.get("model_name") or data["config"]["model"])
            tasks = [task for task in data["results"] if task in data["configs"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImportingError(f"{path} is not one of lm-eval's results files ({error!r}).") from error
        time = path.stem.removeprefix("results_")
        for task in tasks:
            samples = path.parent / f"samples_{task}_{time}.jsonl"
            if not samples.is_file():
                raise ImportingError(
                    f"{samples} is missing: run lm_eval with --log_samples, items are what reports compare."
                )
            yield Found(_slug(label), label, task, path, samples, data)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "model"


def _refuse_doubles(found: Sequence[Found]) -> None:
    places: dict[tuple[str, str], list[Path]] = {}
    for entry in found:
        places.setdefault((entry.system, entry.task), []).append(entry.results)
    for (system, task), paths in places.items():
        if len(paths) > 1:
            raise ImportingError(
                f"{len(paths)} runs claim {system}/{task}: {', '.join(map(str, paths))}. Keep one of them, "
                "or import them under two names."
            )


def _check_whole(entry: Found) -> None:
    """Half-written samples are refused; a document may have several lines (filters)."""
    documents = {line["doc_id"] for line in sample_lines(entry.samples)}
    if len(documents) != entry.n_items:
        raise ImportingError(
            f"{entry.samples} has {len(documents)} documents, its results file says {entry.n_items}: it is not whole."
        )


def _suite(name: str, found: Sequence[Found]) -> Suite:
    systems = {
        entry.system: {
            "name": entry.system,
            "label": entry.label,
            "recipe": "imported",
            "adapter": str(entry.data["config"].get("model", "unknown")),
            "paradigm": "imported",
        }
        for entry in found
    }
    evaluations = [{"name": "main", "tasks": list(dict.fromkeys(entry.task for entry in found))}]
    described = "Imported from plain lm-eval results"
    return Suite.model_validate(
        {
            "name": name,
            "description": described,
            "seeds": [0],
            "systems": list(systems.values()),
            "evaluations": evaluations,
        }
    )


def _write(entry: Found, root: Path, suite: str) -> None:
    folder = root / "runs" / f"{entry.system}-0" / "main" / entry.task
    write_atomically(folder / RESULTS_FILE, entry.results.read_text(encoding="utf-8"))
    write_atomically(folder / SAMPLES_FILE, entry.samples.read_text(encoding="utf-8"))
    files = {name: sha256_file(folder / name) for name in (RESULTS_FILE, SAMPLES_FILE)}
    seal(_record(entry, suite, files), folder)


def _record(entry: Found, suite: str, files: dict[str, str]) -> RunRecord:
    """What lm-eval's file says, as a run record; what it does not say is None or left out."""
    data, config = entry.data, entry.data["config"]
    arguments = config.get("model_args") or {}
    generates = data["configs"][entry.task].get("output_type") == "generate_until"
    lines = list(sample_lines(entry.samples))
    seeds: dict[str, int | None] = {
        str(key): value for key in config if key.endswith("_seed") and isinstance(value := config[key], int)
    }
    values = {k: float(v) for k, v in data["results"][entry.task].items() if isinstance(v, (int, float)) and "," in k}
    return RunRecord(
        run_id=digest_of([entry.system, entry.task, files]),
        suite=suite,
        evaluation="main",
        checkpoint=CheckpointRef(path=entry.label, weights_sha256=None),
        adapter=str(config.get("model", "unknown")),
        settings={"model_args": arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True)},
        kind=None if generates else "exact",
        oracle_length=False,
        task=entry.task,
        task_version=data.get("versions", {}).get(entry.task),
        n_shot=int(data.get("n-shot", {}).get(entry.task, 0)),
        limit=config.get("limit"),
        n_items=entry.n_items,
        n_scored=len(lines),
        n_unscored=0,
        n_truncated=0,
        n_rows=0,
        values=values,
        seeds=seeds,
        data={"task_hash": str(data.get("task_hashes", {}).get(entry.task, "unknown"))},
        commit=data.get("git_hash"),
        dirty=None,
        packages={name: str(data[key]) for name, key in ENVIRONMENT.items() if data.get(key)},
        device=str(config.get("device") or "unknown"),
        started=_time(data.get("date")),
        seconds=float(data.get("total_evaluation_time_seconds") or 0.0) / max(1, len(data["configs"])),
        files=files,
    )


def _time(seconds: Any) -> str:
    known = isinstance(seconds, (int, float))
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if known else "unknown"
