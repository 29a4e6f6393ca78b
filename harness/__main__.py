"""python -m harness: evaluate any checkpoint on any task, as lm_eval does, with anyorder's models and tasks known.

`run` needs no start-up hook and skips indexing lm-eval's 14,000 YAML files unless a stock task is named; it writes
sealed runs that a second call does not repeat.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from harness.command_line import Parser, items_or_share, json_object, whole_number_from

EXAMPLES = """examples:
  python -m harness run --model nar_xlmr --tasks mini_heldout
  python -m harness run --model nar_xlmr --model_args pretrained=FacebookAI/xlm-roberta-base,length=fixed --tasks xp3_heldout --limit 20
  python -m harness run --model diffusion_xlmr --model_args pretrained=my/checkpoint,scorer=pll --tasks xp3_xnli_en --output_path results/mine
  python -m harness run --suite mini --system instruct_xmlr --seed 0
  python -m harness speed --suite mini
  python -m harness judge mt-bench --suite mini --judge my-model --base-url http://127.0.0.1:8000/v1
  python -m harness serve --model diffusion_xlmr --port 8000
  python -m harness ls
  python -m harness data
  python -m harness data --fetch mgsm,bbh,z_bench --into mirror
  python -m harness run --model encdec --tasks xp3_heldout --metadata '{"convention": "encoder_decoder"}'
  python -m harness run --model ar --model_args pretrained=bigscience/bloomz-560m --tasks xp3_xcopa --data mirror
"""


def parser() -> argparse.ArgumentParser:
    """The command line; `--help` of each command explains it."""
    top = Parser(
        prog="python -m harness",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _run_arguments(commands.add_parser("run", help="evaluate a model on tasks, or a suite's system on the suite's tasks",
                                       epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter))  # fmt: skip
    from harness.judges import arguments as judging

    judge = commands.add_parser("judge", help="let a judge grade answers: MT-Bench, AlpacaEval, Z-Bench",
                                epilog=judging.EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    judging.add_arguments(judge)
    _serve_arguments(commands.add_parser("serve", help="an OpenAI-compatible chat endpoint of any of our models"))
    commands.add_parser("ls", help="list anyorder's models, scorers, decoders and tasks")
    listing = commands.add_parser(
        "data", help="list what each task needs and where it would come from; check or fetch a mirror"
    )
    listing.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="hold the files of a mirror against their checksums; "
        "those of which none is known are read as a task would",
    )
    listing.add_argument("--fetch", metavar="NAMES", help="benchmarks (comma-separated, or all) to copy from public "
                         "repositories, at pinned commits, into the mirror --into")  # fmt: skip
    listing.add_argument("--into", type=Path, metavar="DIR", help="the mirror that --fetch fills; what it has stays")
    _data_argument(listing)
    speed = commands.add_parser(
        "speed", help="measure decoding, scoring and overhead of a suite's checkpoints: speed and quality"
    )
    speed.add_argument("--suite", help="name or path of a suite")
    speed.add_argument(
        "--model", help="instead of a suite, with --tasks: the overhead of any checkpoint of this adapter"
    )
    speed.add_argument("--model_args", default="", help="as of `run`: pretrained=…")
    speed.add_argument("--tasks", help="multiple-choice tasks that share the questions")
    speed.add_argument("--batch_size", default="auto", help="with --model, as of `run`")
    _data_argument(speed)
    speed.add_argument("--questions", type=whole_number_from(1), default=2000, help="questions in all (default 2000)")
    speed.add_argument(
        "--repeats", type=whole_number_from(1), default=3, help="runs, of which the median is kept (default 3)"
    )
    speed.add_argument("--only", nargs="+", choices=("decoding", "lengths", "traces", "scoring", "overhead"),
                       help="some of these (default: all that the suite has)")  # fmt: skip
    speed.add_argument("--results", type=Path, default=Path("results"), help="folder of results (default: results)")
    make = commands.add_parser("make", help="what `make tables` calls: a whole suite, from corpus to report")
    make.add_argument("--suite", default="mini", help="name or path of a suite (default mini)")
    make.add_argument("--cores", type=int, default=2, help="jobs side by side (default 2)")
    make.add_argument(
        "--plan", action="store_true", help="only say what is left to do, how long it takes, how much disk"
    )
    return top


def _run_arguments(run: argparse.ArgumentParser) -> None:
    run.add_argument("--model", help="nar_xlmr, diffusion_xlmr, ar or encdec")
    run.add_argument(
        "--model_args", default="", help="pretrained=…,scorer=…,decoder=…,steps=…,length=… (comma-separated)"
    )
    run.add_argument(
        "--tasks",
        help="task or group names, comma-separated; patterns such as xp3_xnli_* work; all: every task of ours",
    )
    run.add_argument(
        "--skip_missing",
        action="store_true",
        help="leave out (and name, with the reason) tasks whose files are not here",
    )
    run.add_argument("--num_fewshot", type=whole_number_from(0), help="examples before each question")
    run.add_argument("--batch_size", default="auto", help="requests per forward pass, or auto (default)")
    run.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    run.add_argument("--limit", type=items_or_share, help="only the first N items of each task (below 1: that share)")
    run.add_argument("--gen_kwargs", help="generation settings: decoder=…,steps=…,max_gen_toks=…")
    run.add_argument("--metadata", type=json_object, help="JSON passed to the tasks")
    _data_argument(run)
    run.add_argument("--include_path", help="a folder with more task YAMLs")
    run.add_argument("--apply_chat_template", action="store_true", help="wrap prompts in the tokenizer's chat template")
    run.add_argument("--system_instruction", help="system text for the chat template")
    run.add_argument(
        "--confirm_run_unsafe_code", action="store_true", help="run model-written code even without a sandbox"
    )
    run.add_argument("--output_path", type=Path, help="folder of runs (default: results/runs/MODEL)")
    run.add_argument("--suite", help="evaluate a suite's system instead: with --system and --seed")
    run.add_argument("--system", help="name of a system of the suite")
    run.add_argument("--seed", type=int, help="training seed of the system's checkpoint")
    run.add_argument("--results", type=Path, default=Path("results"), help="folder of results (default: results)")


def _data_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", metavar="DIR", help="read documents from this mirror only, or from the hub (--data hub); "
                         "default: as ANYORDER_DATA says, else the hub")  # fmt: skip


def _serve_arguments(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--model", required=True, help="nar_xlmr, diffusion_xlmr, ar or encdec")
    serve.add_argument("--model_args", default="", help="as of `run`: pretrained=…,decoder=…,steps=…")
    serve.add_argument("--name", help="the model's name in requests (default: that of --model)")
    serve.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1; others need a token in ANYORDER_TOKEN")
    serve.add_argument("--port", type=int, default=8000, help="default 8000")
    serve.add_argument("--device", help="cpu, cuda, cuda:1, …")
    serve.add_argument("--waiting", type=int, default=8, help="requests that may wait; more get 429 (default 8)")
    serve.add_argument("--largest", type=int, default=1 << 20, help="bytes of a request (default 1 MiB)")


def run(arguments: argparse.Namespace) -> None:
    """The `run` command."""
    _calm()
    if arguments.suite:
        from harness.evaluate import evaluate_system
        from harness.suites import load_suite

        if arguments.system is None or arguments.seed is None:
            raise ValueError("--suite needs --system and --seed as well.")
        if arguments.data is not None:
            raise ValueError(
                "--data goes with --model and --tasks; an evaluation of a suite says `metadata: {data: DIR}`."
            )
        evaluate_system(
            load_suite(arguments.suite), arguments.system, arguments.seed, arguments.results, arguments.device
        )
        return
    if not arguments.model or not arguments.tasks:
        raise ValueError(
            "run needs --model and --tasks, or --suite, --system and --seed; see python -m harness run --help."
        )
    from harness.evaluate import evaluate_model

    evaluate_model(arguments)


def judge(arguments: argparse.Namespace) -> None:
    """The `judge` command."""
    _calm()
    from harness.judges.commands import run as run_judge

    run_judge(arguments)


def serve(arguments: argparse.Namespace) -> None:
    """The `serve` command."""
    _calm()
    from lm_eval.utils import simple_parse_args_string

    from harness import serve as serving

    serving.serve(
        arguments.model, simple_parse_args_string(arguments.model_args) or {}, host=arguments.host, port=arguments.port,
        name=arguments.name, device=arguments.device, waiting=arguments.waiting, largest=arguments.largest,
    )  # fmt: skip


def ls() -> None:
    """The `ls` command: our names, from tables and file names, without loading anything heavy."""
    from harness.registration import MODELS, tasks_known_here

    print("models     ", "  ".join(sorted(MODELS)), "  (lm-eval's own models: use the lm_eval command)")
    print("scorers    ", "  ".join(_table("harness/scorers/__init__.py", "SCORERS")))
    print("decoders   ", "  ".join(_table("harness/decoders/__init__.py", "DECODERS")))
    print("lengths     predicted  oracle  fixed  eos")
    groups: dict[str, list[str]] = {}
    for name, path in tasks_known_here().items():
        groups.setdefault(path.parent.name, []).append(name)
    for folder, names in groups.items():
        print(f"tasks/{folder}: {'  '.join(names)}")


def _table(path: str, name: str) -> list[str]:
    """Keys of a table of names, read from the source so that torch is not imported."""
    import ast

    tree = ast.parse((Path(__file__).resolve().parents[1] / path).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            return sorted(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no table {name}")


def speed(arguments: argparse.Namespace) -> None:
    """The `speed` command."""
    _calm()
    if arguments.model or not arguments.suite:
        return _speed_of_model(arguments)
    if arguments.data is not None:
        raise ValueError("--data goes with --model and --tasks.")
    from harness.config import ConfigError
    from harness.length_accuracy import measure_lengths
    from harness.overhead import measure_overhead
    from harness.records import seal_measurements
    from harness.scoring_speed import measure_scoring
    from harness.speed import device_name, measure_suite
    from harness.suites import load_suite
    from harness.traces import trace_suite

    suite = load_suite(arguments.suite)
    parts = {
        "decoding": (suite.speed, measure_suite, ("decoding.csv",)),
        "lengths": (suite.lengths, measure_lengths, ("lengths.csv", "lengths.jsonl")),
        "traces": (suite.traces, trace_suite, ("traces.jsonl",)),
        "scoring": (suite.scoring, measure_scoring, ("scoring.csv", "scoring.json")),
        "overhead": (suite.overhead, measure_overhead, ("overhead.csv", "overhead.json")),
    }
    only = arguments.only or list(parts)
    asked = [name for name, (plan, *_) in parts.items() if plan is not None and name in only]
    if not asked:
        raise ConfigError(f"suite {suite.name} has no {' or '.join(only)} section: nothing to measure.")
    root = arguments.results / suite.name
    weights = _weights(root)
    for name in asked:
        _, measure, files = parts[name]
        print(measure(suite, arguments.results))
        seal_measurements(root / "speed", files, weights, device_name())


def _speed_of_model(arguments: argparse.Namespace) -> None:
    """Overhead of one checkpoint, without a suite."""
    if not arguments.model or not arguments.tasks or arguments.suite or arguments.only not in (None, ["overhead"]):
        raise ValueError("speed needs --suite, or --model and --tasks (then --only overhead is what it measures).")
    from lm_eval.utils import simple_parse_args_string

    from harness.data_folder import settings_of_option
    from harness.overhead import measure_model
    from harness.selection import asked_for

    given = simple_parse_args_string(arguments.model_args) or {}
    text = measure_model(
        arguments.model, given, asked_for(arguments.tasks), arguments.questions, arguments.repeats, arguments.results,
        arguments.batch_size, settings_of_option(arguments.data),
    )  # fmt: skip
    print(text)


def _weights(root: Path) -> dict[str, str | None]:
    """Finished checkpoints of a suite by folder, with the sha256 of their weights."""
    from harness.records import CHECKPOINT_FILE, read_checkpoint, weights_digest

    folders = sorted(path.parent for path in root.glob(f"checkpoints/*/{CHECKPOINT_FILE}"))
    return {f"checkpoints/{folder.name}": weights_digest(read_checkpoint(folder).files) for folder in folders}


def list_data(arguments: argparse.Namespace) -> int:
    """The `data` command; 1 if a checked mirror has files that a task would refuse, or a fetched one lacks some."""
    if (arguments.fetch is None) != (arguments.into is None):
        raise ValueError("--fetch NAMES and --into DIR go together: which benchmarks, and the mirror they go into.")
    if arguments.fetch is not None and arguments.check is not None:
        raise ValueError("--check and --fetch are two commands: fetch first, then check the mirror.")
    if arguments.data is not None and (arguments.fetch, arguments.check) != (None, None):
        raise ValueError("--data lists what a mirror has; --check DIR and --into DIR name theirs.")
    if arguments.fetch is not None:
        from harness.origins import fetch_report

        names = [name.strip() for name in arguments.fetch.split(",") if name.strip()]
        report, whole = fetch_report(names, arguments.into)
    else:
        from harness.data_report import check_report, sources_table

        report, whole = (
            (sources_table(arguments.data), True) if arguments.check is None else check_report(arguments.check)
        )
    print(report)
    return 0 if whole else 1


def _calm() -> None:
    """Fewer words from the libraries; one thread where the caller says so."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)  # of prompts that adapters cut


def main() -> int:
    """Entry point: 0 on success, 2 on a problem of the user's input, 130 on Ctrl-C."""
    arguments = parser().parse_args()
    try:
        if arguments.command == "make":
            from harness.make import make

            return make(arguments.suite, arguments.cores, plan=arguments.plan)
        if arguments.command == "data":
            return list_data(arguments)
        {"run": run, "speed": speed, "judge": judge, "serve": serve, "ls": lambda _: ls()}[arguments.command](arguments)
    except KeyboardInterrupt:
        print("\nstopped. Finished tasks are kept; the same command goes on with the next one.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError, LookupError) as error:
        if os.environ.get("ANYORDER_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
