"""Runs: one adapter on one task, written as lm-eval's own files and sealed by a RunRecord.

The network is loaded once; each task is one `simple_evaluate` call, so that a task is the unit of resuming: a run
that is sealed and whose identity (weights, adapter, settings, task, data, limit) is the same is not done again.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from harness.environment import git_state, now, package_versions
from harness.identity import data_identity, options_identity, prompts_identity, task_digest
from harness.in_step import TaskRefused, in_step
from harness.metrics import signatures
from harness.records import CheckpointRef, RunRecord, digest_of
from harness.run_files import check_writable, save_run, sealed_run

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
                "options": options_identity(manager, task, self.options),
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
        return save_run(tracker, results, samples[task], folder, record, questions)


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


def ask_environment_once() -> None:
    """lm-eval asks torch for a report on the machine after every task (0.8 s of subprocesses): ask once a process."""
    from torch.utils import collect_env

    if not hasattr(collect_env.get_pretty_env_info, "cache_info"):
        collect_env.get_pretty_env_info = functools.cache(collect_env.get_pretty_env_info)
