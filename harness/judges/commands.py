"""What `python -m harness judge …` does: contestants, files of a benchmark, a client, a summary."""

from __future__ import annotations

import argparse
import csv
import fcntl
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.config import ConfigError
from harness.judges.answers import Contestant
from harness.judges.client import JudgeClient
from harness.judges.contestants import check_names, contestants_named, contestants_of
from harness.judges.endpoint import endpoint_of
from harness.judges.files import file_name, file_of, json_lines, json_rows
from harness.judges.spending import Ledger, Price
from harness.records import write_atomically
from harness.run_files import check_writable
from harness.suites import load_suite

REPLIES = "replies.sqlite"
ESTIMATE = {"value", "low", "high", "n"}  # keys of `trust.Estimate` as plain data


def run(arguments: argparse.Namespace) -> None:
    """The `judge` command."""
    commands = {
        "mt-bench": _mt_bench,
        "alpaca-eval": _alpaca_eval,
        "z-bench": _z_bench,
        "trust": _trust,
        "scripted": _scripted,
    }
    suite = getattr(arguments, "suite", None)
    out = (arguments.results / load_suite(suite).name if suite else arguments.results) / "judge"
    check_writable(out)
    with locked(out):
        commands[arguments.bench](arguments, out)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """One judging command at a time in a folder: two would pay for the same replies."""
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another judging command is at work on {out}; wait for it, or stop it.") from error
        yield


def _client(arguments: argparse.Namespace, out: Path) -> JudgeClient:
    price = None
    if arguments.price:
        try:
            read, written = (float(part) for part in arguments.price.split(","))
        except ValueError as error:
            raise ConfigError(f"--price {arguments.price}: expected two numbers, such as 2.5,10.") from error
        price = Price(read, written)
    endpoint = endpoint_of(
        arguments.base_url, offline=arguments.offline, name=arguments.endpoint_name, concurrency=arguments.concurrency,
        timeout=arguments.timeout, tries=arguments.tries, token_field=arguments.token_field,
    )  # fmt: skip
    ledger = Ledger(price, arguments.max_cost, arguments.max_calls)
    return JudgeClient(arguments.judge, endpoint, out / REPLIES, ledger=ledger, offline=arguments.offline)


def _contestants(arguments: argparse.Namespace, others: list[str]) -> list[Contestant]:
    """The models that write answers here; `others`: names of those whose answers are there already.

    Raises:
        ConfigError: nobody to judge, or two of one name.
    """
    everyone = contestants_named(arguments.models, arguments.device)
    if arguments.suite:
        seeds = [int(seed) for seed in _list(arguments.seeds)]
        suite = load_suite(arguments.suite)
        everyone = [
            *contestants_of(suite, arguments.results, _list(arguments.systems), seeds, arguments.device),
            *everyone,
        ]
    elif arguments.systems or arguments.seeds:
        raise ConfigError("--systems and --seeds choose from a suite: name it with --suite.")
    if not everyone and not others:
        raise ConfigError(
            "nobody to judge: name a --suite, a --model with its --model_args, or answers of other tools (see --help)."
        )
    check_names([*(one.name for one in everyone), *others])
    return everyone


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _mt_bench(arguments: argparse.Namespace, out: Path) -> None:
    from harness.judges import mt_bench

    client, downloads, folder = _client(arguments, out), arguments.results / "downloads", out / "mt_bench"
    questions = file_of("mt_bench_questions", arguments.questions, downloads)
    references = arguments.references or (
        file_of("mt_bench_references", None, downloads) if arguments.questions is None else None
    )
    bench = mt_bench.load_bench(questions, file_of("mt_bench_prompts", arguments.prompts, downloads), references)
    given = mt_bench.answer_files(arguments.answers)
    everyone = _contestants(arguments, list(given))
    longest = arguments.max_tokens or mt_bench.LONGEST_ANSWER
    mt_bench.check_answers(bench, given)  # before anything is written or paid
    mt_bench.write_model_answers(bench, everyone, folder, longest=longest, greedy=arguments.greedy)
    summary = mt_bench.judge_answers(
        bench, [*(one.name for one in everyone), *given], client, folder, mode=arguments.mode,
        baseline=arguments.baseline, given=given, repeat=arguments.repeat,
    )  # fmt: skip
    _finish(folder / f"summary_{file_name(client.model)}_{arguments.mode}.json", summary, client)


def _alpaca_eval(arguments: argparse.Namespace, out: Path) -> None:
    from harness.judges import alpaca_eval

    client, folder = _client(arguments, out), out / "alpaca_eval"
    reference = alpaca_eval.load_outputs(
        file_of("alpaca_eval_reference", arguments.reference, arguments.results / "downloads")
    )
    alpaca_eval.check_difficulty(arguments.difficulty, arguments.version, reference)
    given = [(path, alpaca_eval.load_outputs(path)) for path in arguments.answers]
    check_names([alpaca_eval.name_of(rows, path) for path, rows in given])
    outputs = {alpaca_eval.name_of(rows, path): rows for path, rows in given}
    for name, rows in outputs.items():
        alpaca_eval.check_whole(rows, reference, name, arguments.missing_at_most)
    longest = arguments.max_tokens or alpaca_eval.LONGEST_ANSWER
    for one in _contestants(arguments, list(outputs)):
        outputs[one.name] = alpaca_eval.write_model_outputs(reference, one, folder, longest=longest)
    if arguments.version == 2 and arguments.difficulty is None and alpaca_eval.length_control_defined(reference):
        print(f"plain win rates: {alpaca_eval.WHERE_DIFFICULTY}; name it with --difficulty.", file=sys.stderr)
    summary: dict[str, Any] = {"judge": client.model, "version": arguments.version, "models": {}}
    for name, rows in outputs.items():
        summary["models"][name] = alpaca_eval.judge_outputs(
            rows, reference, name, client, folder / f"{file_name(client.model)}_v{arguments.version}",
            version=arguments.version, difficulty=arguments.difficulty, missing_at_most=arguments.missing_at_most,
            repeat=arguments.repeat, swap=arguments.swap,
        )  # fmt: skip
    _finish(folder / f"summary_{file_name(client.model)}_v{arguments.version}.json", summary, client)


def _z_bench(arguments: argparse.Namespace, out: Path) -> None:
    from harness.config import unknown
    from harness.judges import z_bench

    client, folder, summary = _client(arguments, out), out / "z_bench", {}
    columns = _list(arguments.columns)
    everyone = _contestants(arguments, columns)
    sheets = []
    for name in _list(arguments.sets):
        if name not in z_bench.SETS:
            raise ConfigError(unknown("set of Z-Bench", name, list(z_bench.SETS)))
        path = file_of(f"z_bench_{name}", getattr(arguments, name), arguments.results / "downloads")
        sheets.append(z_bench.load_sheet(name, path, columns))
    for sheet in sheets:
        given = {name: [row[name] for row in sheet.rows] for name in columns}
        written = z_bench.write_sheet(sheet, everyone, folder, longest=arguments.max_tokens or z_bench.LONGEST_ANSWER)
        summary[sheet.name] = z_bench.judge_sheet(
            sheet, {**given, **written}, client, folder, arguments.language, arguments.repeat
        )
    _finish(folder / f"summary_{file_name(client.model)}_{arguments.language}.json", summary, client)


def _trust(arguments: argparse.Namespace, out: Path) -> None:
    from harness.data_folder import mirror_folder
    from harness.judges import calibration
    from harness.judges.fastchat import common

    root = mirror_folder()
    judgments = arguments.judgments or (root and root / "mt_bench/mt_bench/model_judgment/gpt-4_single.jsonl")
    annotations = arguments.annotations or (
        root and root / "alpaca_eval/results/alpaca-7b/alpaca_eval_gpt4/annotations.json"
    )
    if judgments is None and annotations is None:
        raise ConfigError(
            "nothing to compare the judge with: name --judgments or --annotations, or set ANYORDER_DATA to a mirror."
        )
    client, summary = _client(arguments, out), {"judge": arguments.judge}
    if judgments is not None:
        prompts = common().load_judge_prompts(
            str(file_of("mt_bench_prompts", arguments.prompts, arguments.results / "downloads"))
        )
        rows = json_lines(judgments, ("user_prompt", "judge", "score"))
        summary["ratings"] = calibration.against_ratings(client, rows, prompts, arguments.sample, arguments.repeat)
    if annotations is not None:
        rows = json_rows(annotations, ("instruction", "output_1", "output_2", "preference"))
        summary["preferences"] = calibration.against_preferences(client, rows, arguments.sample)
    _finish(out / f"trust_{file_name(client.model)}.json", summary, client)


def _scripted(arguments: argparse.Namespace, out: Path) -> None:
    from harness.judges.shapes import judge_suite

    print(judge_suite(load_suite(arguments.suite), arguments.results, out))


def _finish(path: Path, summary: dict[str, Any], client: JudgeClient) -> None:
    """Write a summary and print it, with what this command asked and spent (which the file leaves out: it replays)."""
    write_atomically(path, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
    write_atomically(path.with_suffix(".csv"), csv_of_summary(summary))
    print("\n".join(lines_of_summary(summary)))
    spent = f", ${client.ledger.spent:.4f}" if client.ledger.price else ""
    print(f"{client.asked} asked ({client.ledger.calls} calls), {client.stored} from the store{spent}; summary: {path}")


def csv_of_summary(summary: dict[str, Any]) -> str:
    """A summary's estimates, one a line: where it stands in the summary, value, 95 % interval, number of items."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("figure", "value", "low", "high", "n"))
    writer.writerows(_estimates(summary))
    return text.getvalue()


def _estimates(value: Any, name: str = "") -> Iterator[tuple[Any, ...]]:
    if not isinstance(value, dict):
        return
    if set(value) == ESTIMATE:
        yield (name, value["value"], value["low"], value["high"], value["n"])
        return
    for key, one in value.items():
        yield from _estimates(one, f"{name}/{key}" if name else str(key))


def lines_of_summary(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """A summary as an outline: estimates in one line each."""
    indent = "  " * (depth - 1)
    if isinstance(value, dict) and set(value) == ESTIMATE:
        span = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
        yield f"{indent}{name}: {value['value']:.2f}{span}, n = {value['n']}"
    elif isinstance(value, dict) and all(not isinstance(one, dict) for one in value.values()) and name:
        yield f"{indent}{name}: " + ", ".join(f"{key} {'—' if one is None else one}" for key, one in value.items())
    elif isinstance(value, dict):
        if name:
            yield f"{indent}{name}"
        for key, one in value.items():
            yield from lines_of_summary(one, str(key), depth + 1)
    else:
        yield f"{indent}{name}: {'—' if value is None else value}"
