"""The folder of a run: lm-eval's results and samples, written whole or not at all, and sealed last."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from harness.records import RecordError, RunRecord, read_run, seal, sha256_file, write_atomically

SCORES_FILE = "scores.jsonl"


def save_run(
    tracker, results: dict, samples: list[dict], folder: Path, record: RunRecord, questions: list[dict]
) -> RunRecord:
    """Write lm-eval's results and samples through its own tracker, check that they exist, and seal them.

    Where scores were sampled, scores.jsonl says of every question how sure it is.
    """
    samples = sorted(samples, key=lambda sample: (sample["doc_id"], str(sample.get("filter", ""))))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        tracker.output_path = scratch
        tracker.general_config_tracker.model_name_sanitized = "run"
        tracker.save_results_aggregated(results=results, samples={record.task: samples})
        tracker.save_results_samples(task_name=record.task, samples=samples)  # type: ignore[arg-type]
        made = {path.suffix: path for path in Path(scratch).glob("run/*")}
        if set(made) != {".json", ".jsonl"}:
            raise RecordError(
                f"lm-eval could not write its results below {folder.parent}: free space or choose another folder."
            )
        _check_whole(made[".json"], made[".jsonl"], len(samples))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made[".json"].rename(folder / "results.json")
        made[".jsonl"].rename(folder / "samples.jsonl")
    if record.estimate is not None and record.estimate["stderr_rms"] > 0:
        write_atomically(folder / SCORES_FILE, "".join(json.dumps(line) + "\n" for line in questions))
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    record = record.model_copy(update={"files": files})
    seal(record, folder)
    return record


def _check_whole(results: Path, samples: Path, count: int) -> None:
    """RecordError when a file is cut off: lm-eval does not say so when its disk is full."""
    try:
        json.loads(results.read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    except ValueError as error:
        raise RecordError(
            f"lm-eval wrote only a part of {results.parent.parent}: is the disk full? ({error})"
        ) from error
    if len(lines) != count:
        raise RecordError(f"lm-eval wrote {len(lines)} of {count} samples: is the disk full?")


def sealed_run(folder: Path, identity: str) -> RunRecord | None:
    """The sealed run of this identity in `folder`, or None (absent, unfinished, changed, or another identity)."""
    try:
        record = read_run(folder)
    except RecordError:
        return None
    return record if record.run_id == identity else None


def check_writable(folder: Path) -> None:
    """RecordError before hours of work when results could not be written afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RecordError(
            f"cannot write results to {folder}: {error.strerror or error}. Choose another folder with --output_path."
        ) from error
