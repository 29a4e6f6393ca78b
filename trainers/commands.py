"""Commands around training: recipes, plans, mixtures, xP3, contamination, losses, self-instruct, measurements."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.command_line import whole_number_from


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    one = commands.add_parser("ls", help="list recipes, with every choice of the families")
    one.add_argument(
        "folder", type=Path, nargs="?", default=Path("trainers/recipes"), help="folder, or one recipe file"
    )
    one = commands.add_parser(
        "plan", help="parameters, tokens, steps, memory and time of a recipe, before anything is spent"
    )
    one.add_argument("recipe", type=Path, help="recipe YAML, or FILE@choice,choice")
    one.add_argument("--corpus", type=Path, help="embedded corpus")
    one.add_argument("--tokenizer", help="tokenizer folder")
    one.add_argument("--probe", type=float, default=30.0, help="seconds of real steps (default 30; 0: none)")
    one.add_argument("--rate", type=float, help="FLOP/s to reckon with instead of a probe, e.g. 4e14")
    one.add_argument("--json", action="store_true", help="for programs")
    one = commands.add_parser("mixture", help="make the mixture of a recipe with mixture.source: sources")
    one.add_argument("recipe", type=Path)
    one.add_argument("--out", type=Path, required=True, help="folder to write")
    one = commands.add_parser("xp3", help="render data sets under promptsource templates into xP3's files")
    one.add_argument("--templates", type=Path, required=True, help="promptsource's templates.yaml")
    one.add_argument("--documents", type=Path, nargs="+", required=True, help="JSONL, JSON or CSV of documents")
    for name in ("dataset", "split", "language"):
        one.add_argument(f"--{name}", required=True)
    one.add_argument("--config", default="")
    one.add_argument("--cap", type=whole_number_from(1), default=100_000, help="records per template (default 100,000)")
    one.add_argument("--order", choices=("lexicographic", "shortest", "random"), default="lexicographic")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--merge", action="store_true", help="then make merged_LANGUAGE.jsonl of the language's files")
    one = commands.add_parser("contamination", help="overlap of evaluation items with a mixture's training rows")
    one.add_argument("mixture", type=Path, help="folder made by `mixture`, or a file in a public format")
    one.add_argument(
        "--format", default="xp3", help="of that file: xp3, alpaca, messages, … as in recipes (default xp3)"
    )
    one.add_argument(
        "--items", type=Path, nargs="+", required=True, help="files of evaluation items; row n of each is the same item"
    )
    one.add_argument("--parallel", action="store_true", help="the files are translations of one another, row by row")
    one.add_argument("--out", type=Path, help="default: contamination.csv beside the mixture")
    one = commands.add_parser("losses", help="loss of a checkpoint on records, per example and role")
    one.add_argument("checkpoint", help="folder of ours, or any folder or hub id with --objective")
    one.add_argument("--objective", help="of a checkpoint that is not ours: causal, seq2seq, masked or diffusion")
    one.add_argument(
        "--template", help="of a checkpoint that is not ours: plain (default), alpaca, tulu, … as in recipes"
    )
    one.add_argument("--records", type=Path, required=True, help="file in a public format, or folder made by `mixture`")
    one.add_argument(
        "--format", default="xp3", help="of that file: xp3, alpaca, messages, … as in recipes (default xp3)"
    )
    one.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    one.add_argument("--limit", type=whole_number_from(1))
    one.add_argument("--out", type=Path, required=True, help="CSV to write")
    one = commands.add_parser(
        "analysis", help="Instruction Modelling's analyses of a suite's checkpoints, or of those named"
    )
    one.add_argument("checkpoints", type=Path, nargs="*", help="folders (default: all of --suite)")
    one.add_argument(
        "--suite", help="name or file: its checkpoints, corpus and plan; written to RESULTS/SUITE/analysis"
    )
    one.add_argument("--results", type=Path, default=Path("results"), help="folder of results (default: results)")
    one.add_argument("--corpus", type=Path, help="embedded corpus (default: the suite's)")
    one.add_argument("--test", type=Path, help="JSONL (default: the corpus's rows that no checkpoint was trained on)")
    one.add_argument(
        "--examples", type=whole_number_from(1), help="measured per training set, and test rows (default 500)"
    )
    one.add_argument("--answers", type=int, help="written again per training set, for BLEU (default 100; 0: none)")
    one.add_argument("--out", type=Path, help="folder to write")
    one = commands.add_parser("bootstrap", help="self-instruct: new tasks from an OpenAI-compatible endpoint")
    one.add_argument("--seeds", type=Path, required=True, help="seed tasks (self-instruct's or Alpaca's form)")
    one.add_argument("--model", required=True)
    one.add_argument("--base-url")
    one.add_argument("--wanted", type=whole_number_from(1), default=1000)
    one.add_argument("--budget", type=float, help="US dollars; needs the two prices")
    one.add_argument("--price-in", type=float, help="US dollars per million prompt tokens")
    one.add_argument("--price-out", type=float, help="US dollars per million answer tokens")
    one.add_argument("--language", default="English")
    one.add_argument("--out", type=Path, required=True, help="folder; requests made before are not paid again")
    one = commands.add_parser("speed", help="measure throughput, overhead and memory of training against plain ways")
    one.add_argument(
        "--repeats",
        type=whole_number_from(1),
        default=5,
        help="trainings of each way, each on its own seed (default 5)",
    )
    one.add_argument("--rows", type=whole_number_from(1), default=2048, help="examples of a training (default 2048)")
    one.add_argument(
        "--seeds", type=whole_number_from(1), default=3, help="trainings of each way to equal loss (default 3)"
    )
    one.add_argument("--only", choices=("throughput", "equal_loss"), help="one of the two measurements (default: both)")
    one.add_argument(
        "--out", type=Path, help="folder for training.*, equal_loss.* and speed.json, e.g. results/mini/speed"
    )
    one = commands.add_parser("mixture-speed", help="rows per second and peak memory of `mixture`, on rows made for it")
    one.add_argument(
        "--rows",
        type=whole_number_from(1),
        default=1_000_000,
        help="default 1,000,000; each needs about 600 bytes of disk",
    )
    one.add_argument("--out", type=Path, help="JSON to write, beside speed.json, e.g. results/mini/speed/mixture.json")


def run(arguments: argparse.Namespace) -> None:
    """Run one of these commands."""
    {
        "ls": _ls, "plan": _plan, "mixture": _mixture, "xp3": _xp3, "contamination": _contamination, "losses": _losses,
        "analysis": _analysis, "bootstrap": _bootstrap, "speed": _speed, "mixture-speed": _mixture_speed,
    }[arguments.command](arguments)  # fmt: skip


def launch(how: str, processes: int, argv: list[str]) -> None:
    """Run the same command in processes that accelerate starts.

    Raises:
        ConfigError: DeepSpeed is not installed, or a process failed.
    """
    from importlib.util import find_spec

    from harness.config import ConfigError

    if how.startswith("deepspeed") and find_spec("deepspeed") is None:
        raise ConfigError(
            f"--launch {how} needs DeepSpeed, which is not installed: pip install -c constraints.txt -e '.[deepspeed]', or "
            "take --launch fsdp2."
        )
    logging.disable(logging.ERROR)  # of this process, which only starts others: what failed is said once, below
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    config = Path(__file__).resolve().parent / "launch" / f"{how}.yaml"
    where = ["--config_file", str(config), "--num_processes", str(processes), "--num_machines", "1"]
    try:
        launch_command(launch_command_parser().parse_args([*where, "-m", "trainers", *argv]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        ended = f"signal {-failure.exitcode}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        raise ConfigError(
            f"process {rank} of {processes} ended with {ended}; what it said stands above. The same command starts again from "
            "the last state, if one was written."
        ) from error


def _ls(arguments: argparse.Namespace) -> None:
    from harness.config import ConfigError
    from trainers.families import variants
    from trainers.recipe import load_recipe

    files = [arguments.folder] if arguments.folder.is_file() else sorted(arguments.folder.rglob("*.yaml"))
    if not files:
        raise ConfigError(f"{arguments.folder} holds no recipe (*.yaml): name the folder of recipes, or one of them.")
    for file in files:
        for path in variants(file):
            recipe = load_recipe(path)
            print(
                f"{path}\t{recipe.label}\t{recipe.objective.name}\t{recipe.backbone.pretrained or recipe.backbone.family}"
            )


def _plan(arguments: argparse.Namespace) -> None:
    from trainers.plan import as_data, plan
    from trainers.recipe import load_recipe

    planned = plan(
        load_recipe(arguments.recipe), corpus=arguments.corpus, tokenizer_path=arguments.tokenizer,
        probe_seconds=arguments.probe, rate=arguments.rate,
    )  # fmt: skip
    print(json.dumps(as_data(planned), indent=1) if arguments.json else "\n".join(planned.lines()))


def _mixture(arguments: argparse.Namespace) -> None:
    from harness.config import ConfigError
    from trainers.mixture import build
    from trainers.recipe import load_recipe

    recipe = load_recipe(arguments.recipe)
    if recipe.mixture.source != "sources":
        raise ConfigError(
            f"{arguments.recipe}: mixture.source is {recipe.mixture.source}, which is trained on as it is."
        )
    summary = build(recipe.mixture, arguments.out)
    print(f"{arguments.out}: {summary['training_rows']:,} training rows")
    for outcome, count in summary["rows"].items():
        print(f"  {outcome}: {count:,}")


def _xp3(arguments: argparse.Namespace) -> None:
    from trainers.sources import rows_of
    from trainers.xp3 import DataSet, Rules, build, merge

    documents = [row for path in arguments.documents for _, row in rows_of(path)]
    data = DataSet(arguments.dataset, arguments.config, arguments.split, arguments.language, documents)
    rules = Rules(cap=arguments.cap, order=arguments.order, splits=(arguments.split,))
    for path in build([data], arguments.templates, rules, arguments.out):
        print(path)
    if arguments.merge:
        print(merge(arguments.out, arguments.language))


def _contamination(arguments: argparse.Namespace) -> None:
    from trainers.contamination import compare, items_of_files, training_texts, write
    from trainers.mixture_files import MIXTURE

    items = items_of_files(arguments.items)
    groups: dict[str, list[str]] = {}
    for name in items if arguments.parallel else ():
        groups.setdefault(name.rpartition(":")[2], []).append(name)
    used = arguments.mixture / MIXTURE if (arguments.mixture / MIXTURE).is_file() else arguments.mixture
    found = compare(items, training_texts(arguments.mixture, arguments.format), twins=list(groups.values()))
    beside = arguments.mixture if arguments.mixture.is_dir() else arguments.mixture.parent
    out = arguments.out or beside / "contamination.csv"
    write(found, out, [used], arguments.items)
    print(f"{out}: {sum(f.clean for f in found.values()):,} of {len(found):,} items are clean")


def _losses(arguments: argparse.Namespace) -> None:
    from itertools import islice

    from harness.config import ConfigError
    from trainers.losses import load, losses, write
    from trainers.mixture_files import records_in

    records = list(islice(records_in(arguments.records, arguments.format), arguments.limit))
    loaded = load(arguments.checkpoint, arguments.objective, arguments.template, arguments.device)
    encoded = loaded.encode(records)
    if not encoded.examples:
        raise ConfigError(f"{arguments.records}: none of {len(records):,} records fits {loaded.room} tokens.")
    found = losses(
        loaded.network, encoded.examples, pad=loaded.tokenizer.pad_token_id, eos=loaded.tokenizer.eos_token_id
    )
    write(found, arguments.out, encoded.numbers)
    mean = sum(loss.mean("output") for loss in found) / len(found)
    left_out = f", {encoded.too_long:,} longer than {loaded.room} tokens left out" if encoded.too_long else ""
    print(f"{arguments.out}: {len(found):,} examples, mean output loss {mean:.4f} nats per token{left_out}")


def _analysis(arguments: argparse.Namespace) -> None:
    from harness.config import ConfigError
    from harness.suites import AnalysisPlan, load_suite
    from trainers.analysis import analyse, subject, unseen
    from trainers.analysis_tables import write
    from trainers.mixture import read_records, training_files
    from trainers.recipe import MixtureSpec

    suite = load_suite(arguments.suite) if arguments.suite else None
    root = arguments.results / suite.name if suite else None
    folders, corpus = arguments.checkpoints, arguments.corpus or (root / "corpus" if root else None)
    if suite and root and not folders:
        folders = [root / "checkpoints" / f"{one.name}-{seed}" for one in suite.systems for seed in suite.seeds]
    out = arguments.out or (root / "analysis" if root else None)
    if out is None or not folders:
        raise ConfigError("analysis: name a --suite, or checkpoints and --out FOLDER.")
    plan = (suite.analysis if suite else None) or AnalysisPlan()
    examples = arguments.examples or plan.examples
    answers = plan.answers if arguments.answers is None else arguments.answers
    subjects = [subject(folder, corpus) for folder in folders]
    files = [arguments.test] if arguments.test else training_files(MixtureSpec(), corpus)
    test = unseen(read_records(files, None), subjects, examples)
    found = analyse(subjects, test, examples=examples, answers=answers)
    print("\n".join(str(path) for path in write(found, out)))
    for row in found["fits"]:
        print(
            f"{row.sweep} ({row.method}): gain = {row.slope:.2f} (± {row.slope_standard_error:.2f})·log10({row.against}) + {row.intercept:.2f}, {row.points} pairs"
        )


def _bootstrap(arguments: argparse.Namespace) -> None:
    from trainers.bootstrap import TASKS, Settings, bootstrap, openai_client, seed_tasks

    settings = Settings(
        arguments.model, base_url=arguments.base_url, wanted=arguments.wanted, budget=arguments.budget,
        price_in=arguments.price_in, price_out=arguments.price_out, language=arguments.language,
    )  # fmt: skip
    made = bootstrap(seed_tasks(arguments.seeds), settings, arguments.out, openai_client(settings))
    cost = "cost unknown (no prices, or no count of tokens)" if made.cost is None else f"${made.cost:.2f}"
    dropped = ", ".join(f"{reason}: {count}" for reason, count in sorted(made.dropped.items()))
    print(
        f"{arguments.out / TASKS}: {len(made.tasks)} tasks, {made.requests} requests, {cost}; dropped {dropped or 'none'}"
    )


def _speed(arguments: argparse.Namespace) -> None:
    from trainers import compared, equal_loss
    from trainers.logits_memory import logits_memory
    from trainers.training_speed import Setting, measure

    paths: list[Path] = []
    if arguments.only != "equal_loss":
        found = [*measure(Setting(examples=arguments.rows), arguments.repeats), logits_memory()]
        print("\n".join(one.line() for one in found), flush=True)
        paths += compared.write(found, arguments.out) if arguments.out else []
    if arguments.only != "throughput":
        curves = equal_loss.curves(equal_loss.LEVEL, arguments.seeds)
        found = equal_loss.compare(curves, equal_loss.LEVEL)
        print("\n".join(one.line() for one in found))
        if arguments.out:
            paths += compared.write(found, arguments.out, "equal_loss")
            paths.append(equal_loss.write(curves, arguments.out / "equal_loss_curves.csv"))
    if paths:
        _seal(paths)
        print(", ".join(map(str, paths)))


def _mixture_speed(arguments: argparse.Namespace) -> None:
    import tempfile
    from dataclasses import asdict

    from harness.records import write_atomically
    from trainers.mixture_speed import measure

    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.rows, Path(folder))
    print(found.line())
    if arguments.out:
        write_atomically(arguments.out, json.dumps(asdict(found), indent=1) + "\n")
        _seal([arguments.out])


def _seal(paths: Sequence[Path]) -> None:
    """Enter measurements, which are of no checkpoint, into the record of their folder."""
    from harness.records import seal_measurements
    from trainers.assemble import device_name

    seal_measurements(paths[0].parent, [path.name for path in paths], {}, device_name())
