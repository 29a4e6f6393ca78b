"""What the `run` command does: load one adapter, run its tasks, print a table; for one model or a suite's system."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from harness import im_benchmarks
from harness.config import ConfigError, unknown
from harness.data_folder import HUB, SETTING, settings_of_option
from harness.environment import now
from harness.group_means import group_values
from harness.records import digest_of, write_atomically
from harness.registration import MODELS, PREFIXES, arguments_of_task, register_models, task_manager, tasks_below
from harness.run_files import check_writable
from harness.run_summary import summary
from harness.runs import Runner
from harness.selection import asked_for, leaf_tasks, left_out_lines, none_left
from harness.suites import Suite

DONE_FILE = "done.json"
LEFT_OUT_FILE = "left_out.json"  # {task: why it could not be run}, of a run with --skip_missing
STORE_FILE = "answers.sqlite"  # beside a system's runs: a killed task goes on where it was


def require_model(name: str) -> None:
    """ConfigError unless `name` is a model of ours; the nearest known one is given."""
    if name not in MODELS:
        raise ConfigError(
            unknown("model of ours", name, list(MODELS)) + " For lm-eval's own models use the lm_eval command."
        )


def load_model(name: str, arguments: dict, *, batch_size: str | int = "auto", device: str | None = None) -> Any:
    """A model of ours by registry name.

    Raises:
        ConfigError: unknown name; the nearest known one is given.
    """
    require_model(name)
    register_models()
    import torch
    from lm_eval.api.registry import get_model

    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))

    more = {"batch_size": batch_size, "max_batch_size": None, "device": device}
    return get_model(name).create_from_arg_obj(
        arguments, {key: value for key, value in more.items() if value is not None}
    )


def load_of_suite(suite: Suite, root: Path, name: str, seed: int | None = None) -> Any:
    """The model of a suite's system from its checkpoint below `root`: of one seed, or of the suite's first."""
    system = suite.system(name)
    checkpoint = root / "checkpoints" / f"{system.name}-{suite.seeds[0] if seed is None else seed}"
    return load_model(system.adapter, {"pretrained": str(checkpoint), **system.settings})


def evaluate_model(arguments: argparse.Namespace) -> None:
    """`run --model … --tasks …`: sealed runs below --output_path, and a table on the terminal."""
    from lm_eval.utils import simple_parse_args_string

    model_args = simple_parse_args_string(arguments.model_args) or {}
    names = asked_for(arguments.tasks)
    out = arguments.output_path or arguments.results / "runs" / f"{arguments.model}-{digest_of(model_args, 8)}"
    require_model(arguments.model)  # before a folder is made for it
    check_writable(out)
    metadata = _metadata(arguments)
    manager = task_manager(names, [arguments.include_path] if arguments.include_path else [], metadata)
    _refuse_other_sources(manager, names, arguments.data)
    left_out: dict[str, str] | None = {} if arguments.skip_missing else None
    tasks, groups = leaf_tasks(manager, names, left_out, arguments.num_fewshot)
    total = len(tasks) + len(left_out or ())
    if os.environ.get("RANK", "0") == "0":  # of torchrun; no model is loaded that could say its rank
        _write_left_out(out, left_out)
        if left_out:
            print(left_out_lines(left_out, total), flush=True)
    model = load_model(arguments.model, model_args, batch_size=arguments.batch_size, device=arguments.device)
    runner = Runner(
        model, arguments.model, out, limit=arguments.limit, num_fewshot=arguments.num_fewshot, gen_kwargs=arguments.gen_kwargs,
        apply_chat_template=arguments.apply_chat_template, system_instruction=arguments.system_instruction, metadata=metadata,
    )  # fmt: skip
    refused: dict[str, str] | None = None if left_out is None else {}
    records = runner.run(manager, tasks, refused)
    if model.rank == 0:
        _write_left_out(out, None if left_out is None else left_out | (refused or {}))
    if refused and len(refused) == len(tasks):
        raise none_left({**(left_out or {}), **refused})
    if model.rank == 0:
        table = summary(records, group_values(manager.task_index, groups, records))
        print(f"\n{arguments.model} {model.pretrained}\n{table}\nruns are in {out}")
        if im_benchmarks.GROUP in groups:
            print(im_benchmarks.means_shown({record.task: record.values for record in records}))
        if other := [record for record in records if arguments.num_fewshot not in (None, record.n_shot)]:
            shown = ", ".join(f"{record.task} ({record.n_shot})" for record in other)
            print(f"--num_fewshot {arguments.num_fewshot} was not followed by tasks that fix their examples: {shown}")
        if refused:
            print(left_out_lines(refused, total, "this model cannot take"))
        if left_out is not None:
            print(f"{len(records)} tasks were run, {total - len(records)} left out (why: {out / LEFT_OUT_FILE})")


def _refuse_other_sources(manager, names: list[str], data: str | None) -> None:
    """ConfigError for tasks of which --data DIR says nothing: those that load their documents themselves."""
    if data in (None, HUB):
        return
    index = manager.task_index
    asked = [match for name in names for match in manager.match_tasks([name])]
    for task in (task for name in asked for task in tasks_below(index, name)):
        if not task.startswith(PREFIXES) and arguments_of_task(index, task) is None:
            raise ConfigError(
                f"--data {data} is read by our tasks, and {task} loads its documents by itself: run it without --data."
            )


def _metadata(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The settings of the tasks: --metadata, with --data in it."""
    given = settings_of_option(arguments.data)
    if given and SETTING in (arguments.metadata or {}):
        raise ConfigError("--data and 'data' in --metadata both say where documents come from: leave one out.")
    return {**(arguments.metadata or {}), **given} if given else arguments.metadata


def _write_left_out(out: Path, left_out: dict[str, str] | None) -> None:
    """What a run with --skip_missing left out, and why; a run without it leaves no such file of an earlier one."""
    if left_out is None:
        (out / LEFT_OUT_FILE).unlink(missing_ok=True)
    else:
        write_atomically(out / LEFT_OUT_FILE, json.dumps(left_out, indent=1, ensure_ascii=False) + "\n")


def evaluate_system(suite: Suite, system_name: str, seed: int, results: Path, device: str | None = None) -> None:
    """Every evaluation of one system and seed of a suite; `done.json` is written when all of them are sealed."""
    system = suite.system(system_name)
    if seed not in suite.seeds:
        raise ConfigError(f"seed {seed} is not one of suite {suite.name}'s seeds {list(suite.seeds)}.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    checkpoint = root / "checkpoints" / f"{system.name}-{seed}"
    evaluations = suite.evaluations_of(system.name)
    folder = root / "runs" / f"{system.name}-{seed}"
    arguments = {"pretrained": str(checkpoint), "store": str(folder / STORE_FILE), **system.settings}
    model = load_model(system.adapter, arguments, batch_size=suite.batch_size, device=device)
    records = []
    for evaluation in evaluations:
        model.configure(**evaluation.settings)
        manager = task_manager(evaluation.tasks, metadata=evaluation.metadata or None)
        tasks, _ = leaf_tasks(manager, evaluation.tasks)
        runner = Runner(
            model,
            system.adapter,
            folder / evaluation.name,
            evaluation=evaluation.name,
            suite=suite.name,
            limit=evaluation.limit,
            metadata=evaluation.metadata or None,
        )
        records += runner.run(manager, tasks)
    if model.rank == 0:
        print(f"\n{suite.name}: {system.label}, seed {seed}\n{summary(records)}")
        runs = {f"{record.evaluation}/{record.task}": record.run_id for record in records}
        write_atomically(folder / DONE_FILE, _done(runs))


def use_embedded_corpus(suite: Suite, root: Path) -> None:
    """Point the mini tasks at the suite's own corpus; such a suite needs no network and gets none."""
    if suite.corpus is not None:
        os.environ["ANYORDER_CORPUS"] = str(root / "corpus")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _done(runs: dict[str, str]) -> str:
    return json.dumps({"finished": now(), "runs": runs}, indent=1) + "\n"
