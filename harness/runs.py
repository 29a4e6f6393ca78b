"""Runs: one adapter on one task, written as lm-eval's own files and sealed by a RunRecord.

The network is loaded once; each task is one `simple_evaluate` call, so that a task is the unit of resuming: a run
that is sealed and whose identity (weights, adapter, settings, task, data, limit) is the same is not done again.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from harness.identity import data_identity, prompts_identity, task_digest
from harness.in_step import TaskRefused, in_step
from harness.metrics import signatures
from harness.records import (
    CheckpointRef,
    RecordError,
    RunRecord,
    digest_of,
    git_state,
    now,
    package_versions,
    read_run,
    seal,
    sha256_file,
    write_atomically,
)

SCORES_FILE = "scores.jsonl"
SEEDS = {"random_seed": 0, "numpy_random_seed": 1234, "torch_random_seed": 1234, "fewshot_random_seed": 1234}


class Runner:
    """Evaluates a loaded adapter on tasks, into `out/<task>/`.

    Args:
        model: an lm-eval LM of ours (with `tally` and `configure`).
        name: its registry name (`nar_xlmr`, …).
        out: folder of the evaluation; one folder per task is made in it.
        evaluation, suite: what the records call this way of asking, and the suite it belongs to.
        options: `limit`, `num_fewshot`, `gen_kwargs`, `metadata`, `apply_chat_template`, … of `simple_evaluate`.
    """

    def __init__(self, model, name: str, out: Path, *, evaluation: str = "main", suite: str | None = None, **options):
        self.model, self.name, self.out = model, name, out
        self.evaluation, self.suite, self.options = evaluation, suite, options

    def run(self, manager, tasks: Sequence[str], refused: dict[str, str] | None = None) -> list[RunRecord]:
        """Records of all tasks, in order; sealed ones of the same identity are read back.

        Given `refused`, a task that the model cannot take (too long an answer, say) or whose examples cannot be had is
        put there with the reason, on all processes, instead of ending the program.

        Raises:
            RecordError: results cannot be written (a run that is not on disk does not count).
        """
        with _old_objects_left_alone():
            one = self._sealed if refused is None else functools.partial(self._sealed_or_refused, refused)
            found = (one(manager, task) for task in tasks)
            return [record for record in found if record is not None]

    def _sealed_or_refused(self, refused: dict[str, str], manager, task: str) -> RunRecord | None:
        try:
            with in_step(self.model):
                return self._sealed(manager, task)
        except TaskRefused as error:
            refused[task] = str(error)
            return None

    def _sealed(self, manager, task: str) -> RunRecord | None:
        """The record of a task, read back or made now; None on all processes but the first."""
        data = data_identity(manager, task, self.options.get("num_fewshot"), self.options.get("metadata"))
        identity, folder = self._identity(manager, task, data), self.out / task
        return sealed_run(folder, identity) or self._evaluate(manager, task, folder, identity, data)

    def _identity(self, manager, task: str, data: dict[str, str]) -> str:
        """Digest of everything that can change the numbers of a task; not of batch size, device or process count."""
        checkpoint = self._checkpoint()
        return digest_of(
            {
                "weights": checkpoint.weights_sha256 or checkpoint.path,
                "adapter": self.name,
                "settings": self._settings(),
                "model": self.model.identity(),
                "task": task,
                "task_files": task_digest(manager, task),
                "options": {key: value for key, value in self.options.items() if value is not None},
                "data": data,
                "prompts": prompts_identity(manager, task, self.options.get("metadata")),
            }
        )

    def _together(self):
        """The tally of all processes."""
        tally = self.model.tally
        if self.model.world_size > 1:
            others = self.model.gather_object(tally, dst=0) or [tally]
            tally = others[0]
            for other in others[1:]:
                tally.add(other)
        return tally

    def _questions(self) -> list[dict[str, Any]]:
        """The log of questions of all processes, by document; a document sent to two processes counts once."""
        log = self.model.score_log
        if self.model.world_size > 1:
            log = [line for part in self.model.gather_object(log, dst=0) or [] for line in part]
        return [line for _, line in sorted({line["doc_id"]: line for line in log}.items())]

    def _settings(self) -> dict[str, Any]:
        settings = getattr(self.model, "settings", None)
        return asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else {}

    def _checkpoint(self) -> CheckpointRef:
        info, record = self._info(), self.model.record
        return CheckpointRef(
            path=str(self.model.pretrained),
            weights_sha256=info["checkpoint_sha256"],
            recipe=record.recipe if record else None,
            recipe_id=record.recipe_id if record else None,
            seed=record.seed if record else None,
        )

    def _info(self) -> dict:
        if not hasattr(self, "_model_info"):
            self._model_info = self.model.get_model_info()
        return self._model_info

    def _evaluate(self, manager, task: str, folder: Path, identity: str, data: dict[str, str]) -> RunRecord | None:
        import lm_eval
        from lm_eval.loggers import EvaluationTracker

        from harness.adapters.answers import summary_of

        simple_evaluate: Any = lm_eval.simple_evaluate

        check_writable(self.out)
        ask_environment_once()
        self.model.tally = type(self.model.tally)()
        self.model.score_log = []
        started, clock = now(), time.monotonic()
        tracker = EvaluationTracker(output_path=None)
        results = simple_evaluate(
            model=self.model, model_args={"pretrained": str(self.model.pretrained)}, tasks=[task], task_manager=manager,
            evaluation_tracker=tracker, log_samples=True, bootstrap_iters=0, **self.options, **SEEDS,
        )  # fmt: skip
        tally, questions = self._together(), self._questions()
        if results is None:  # not the first process
            return None
        results["config"]["model"] = self.name
        generates = results["configs"][task]["output_type"] == "generate_until"
        samples = results.pop("samples")
        seconds = time.monotonic() - clock
        values = _numbers(results["results"][task])
        record = RunRecord(
            run_id=identity, suite=self.suite, evaluation=self.evaluation, checkpoint=self._checkpoint(), adapter=self.name,
            settings=tally.settings if generates and tally.settings else self._settings(),
            kind=None if generates else tally.kind, oracle_length=tally.oracle_length,
            task=task, task_version=results["versions"].get(task), n_shot=int(results["n-shot"].get(task, 0)),
            limit=self.options.get("limit"), n_items=int(results["n-samples"][task]["effective"]), n_scored=tally.scored,
            n_unscored=tally.unscored, n_truncated=tally.truncated, n_rows=tally.rows, n_stored=tally.stored, estimate=summary_of(questions),
            values=values, signatures=signatures(key.split(",")[0] for key in values), seeds={k: int(v) for k, v in SEEDS.items()}, data=data,
            commit=git_state()[0], dirty=git_state()[1], packages=package_versions(), device=str(self.model.device),
            processes=self.model.world_size, started=started, seconds=round(seconds, 3), files={},
        )  # fmt: skip
        return _save(tracker, results, samples[task], folder, record, questions)


@contextlib.contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """The garbage collector passes over what is there already (libraries, network): it takes a tenth of a small run."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _numbers(values: dict) -> dict[str, float]:
    """What is a number; a mean over no items (NaN) is absent."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    }


def _save(
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


def ask_environment_once() -> None:
    """lm-eval asks torch for a report on the machine after every task (0.8 s of subprocesses): ask once a process."""
    from torch.utils import collect_env

    if not hasattr(collect_env.get_pretty_env_info, "cache_info"):
        collect_env.get_pretty_env_info = functools.cache(collect_env.get_pretty_env_info)


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


def _shown(value: float, metric: str) -> str:
    """A share as per cent; anything else (a count, a perplexity, a BLEU) as it is."""
    if metric.startswith("n_"):
        return f"{value:.0f}"
    return f"{100 * value:.1f}" if 0 <= value <= 1 else f"{value:.2f}"


def summary(records: Sequence[RunRecord], groups: dict[str, list[str]]) -> str:
    """A table of runs for people: task, metric, value in %, items, kind, seconds; then group means."""
    rows = [("task", "metric", "value", "items", "kind", "cut", "seconds")]
    for record in records:
        for key, value in record.values.items():
            metric = key.split(",")[0]
            if metric.endswith("_stderr") or metric == "sample_len":
                continue
            rows.append(
                (record.task, metric, _shown(value, metric), str(record.n_items), record.kind or "", str(record.n_truncated or ""), f"{record.seconds:.1f}")
            )  # fmt: skip
    by_task = {record.task: record for record in records}
    for group, leaves in groups.items():
        for key in sorted(
            {
                key
                for leaf in leaves
                if leaf in by_task
                for key in by_task[leaf].values
                if not key.startswith("sample_len")
            }
        ):
            metric = key.split(",")[0]
            values = [by_task[leaf].values[key] for leaf in leaves if leaf in by_task and key in by_task[leaf].values]
            if metric.endswith("_stderr") or len(values) < 2:
                continue
            rows.append(
                (group, f"{metric} (mean of {len(values)})", _shown(sum(values) / len(values), metric), "", "", "", "")
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
