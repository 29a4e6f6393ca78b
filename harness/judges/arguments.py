"""The options of `python -m harness judge …`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  OPENAI_API_KEY=… python -m harness judge mt-bench --suite small --judge gpt-4o --price 2.5,10 --max-cost 20
  python -m harness judge mt-bench --suite mini --judge my-model --base-url http://127.0.0.1:8000/v1 --mode pairwise-baseline --baseline mt0-0
  python -m harness judge mt-bench --model nar_xlmr --model_args pretrained=my/checkpoint,steps=20 --judge my-model --base-url http://127.0.0.1:8000/v1
  python -m harness judge mt-bench --answers vicuna-13b.jsonl --judge gpt-4o
  python -m harness judge alpaca-eval --suite small --judge gpt-4 --reference outputs.json
  python -m harness judge z-bench --suite small --judge gpt-4o --language zh
  python -m harness judge trust --judge my-model --base-url http://127.0.0.1:8000/v1 --sample 100
  python -m harness judge scripted --suite mini           no network, no model: the report's table of shapes
"""


@dataclass
class Named:
    """A model of the command line: adapter, `pretrained=…,…` settings, and the name its answers go by."""

    adapter: str
    settings: str = ""
    name: str | None = None


def add_arguments(judge: argparse.ArgumentParser) -> None:
    """The options of the five sub-commands."""
    kinds = judge.add_subparsers(
        dest="bench", required=True, metavar="mt-bench | alpaca-eval | z-bench | trust | scripted"
    )
    texts = {
        "mt-bench": "two-turn answers, judged alone or in pairs; fschat's files",
        "alpaca-eval": "answers against a reference's, through the alpaca_eval package",
        "z-bench": "Chinese prompts, graded by a rubric; the seed's CSV files",
        "trust": "the judge against published GPT-4 judgments, itself, and the order of answers",
        "scripted": "MT-Bench- and AlpacaEval-shaped runs on the embedded corpus with the scripted judge",
    }
    for name, text in texts.items():
        command = kinds.add_parser(
            name, help=text, description=text, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument(
            "--results", type=Path, default=Path("results"), help="folder of results (default: results)"
        )
        if name == "scripted":
            command.add_argument("--suite", required=True, help="name or path of a suite: its checkpoints are judged")
            continue
        _asking(command)
        if name != "trust":
            command.add_argument("--suite", help="name or path of a suite: its checkpoints are judged")
            _models(command)
            command.add_argument("--systems", default="", help="only these systems of the suite, comma-separated")
            command.add_argument("--seeds", default="", help="only these seeds, comma-separated")
            command.add_argument("--device", help="cpu, cuda, cuda:1, …")
            command.add_argument("--repeat", type=int, default=20,
                                 help="judgments asked for once more: does the judge agree with itself? (default 20; AlpacaEval: per model)")  # fmt: skip
            command.add_argument("--max-tokens", type=int, help="longest answer in tokens (default: the benchmark's)")
    _of_benchmarks(kinds.choices)


class _Model(argparse.Action):
    """`--model` begins a model; `--model_args` and `--name` say more of the one before them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        models = [*(getattr(namespace, self.dest) or [])]
        if self.const is None:
            models.append(Named(values))
        elif not models:
            parser.error(f"{option_string} belongs behind the --model that it describes")
        else:
            setattr(models[-1], self.const, values)
        setattr(namespace, self.dest, models)


def _models(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", action=_Model, dest="models", default=[], metavar="ADAPTER",
        help="judge a single checkpoint: nar_xlmr, diffusion_xlmr, ar or encdec; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--model_args", action=_Model, dest="models", const="settings", metavar="SETTINGS",
        help="of the --model before it: pretrained=…,decoder=…,steps=… (default: the newest local checkpoint)",
    )  # fmt: skip
    command.add_argument(
        "--name", action=_Model, dest="models", const="name", help="name of the --model before it (default: its folder's)"
    )  # fmt: skip


def _asking(command: argparse.ArgumentParser) -> None:
    command.add_argument("--judge", required=True, help="the judge's name at the endpoint")
    command.add_argument(
        "--base-url", help="an OpenAI-compatible endpoint (default: OPENAI_BASE_URL, else OpenAI); key: OPENAI_API_KEY"
    )
    command.add_argument(
        "--endpoint-name", help="name of the endpoint in the store, where its address changes (default: the URL)"
    )
    command.add_argument("--offline", action="store_true", help="only replies that are stored; no network")
    command.add_argument("--concurrency", type=int, default=8, help="calls side by side (default 8)")
    command.add_argument("--timeout", type=float, default=120.0, help="seconds per call (default 120)")
    command.add_argument(
        "--tries", type=int, default=6, help="calls per question on 429, 5xx and time-outs (default 6)"
    )
    command.add_argument("--price", help="READ,WRITTEN: US dollars per million tokens")
    command.add_argument(
        "--max-cost", type=float, help="stop before this command spends more (US dollars; needs --price)"
    )
    command.add_argument("--max-calls", type=int, help="stop before this command makes more calls")
    command.add_argument("--token-field", default="max_tokens", choices=("max_tokens", "max_completion_tokens"),
                         help="the endpoint's word for the longest judgment")  # fmt: skip


def _of_benchmarks(kinds: dict[str, argparse.ArgumentParser]) -> None:
    mt = kinds["mt-bench"]
    mt.add_argument("--mode", default="single", choices=("single", "pairwise-baseline", "pairwise-all"))
    mt.add_argument("--baseline", help="answers that the others are compared with, such as mt0-0 (pairwise-baseline)")
    mt.add_argument("--questions", type=Path, help="a question file in fschat's format (default: the published one)")
    mt.add_argument("--references", type=Path, help="reference answers for math, reasoning and coding")
    mt.add_argument("--prompts", type=Path, help="judge prompts in fschat's format")
    mt.add_argument("--answers", type=Path, action="append", default=[],
                    help="judge answers of other tools: a file in fschat's format, or a folder of them; may be repeated")  # fmt: skip
    mt.add_argument("--greedy", action="store_true", help="answer greedily, not at the category's temperature")
    alpaca = kinds["alpaca-eval"]
    alpaca.add_argument("--reference", type=Path, help="JSON outputs to compare with (default: text_davinci_003's 805)")
    alpaca.add_argument(
        "--version", type=int, default=1, choices=(1, 2), help="1: ranking; 2: weighted by log-probabilities"
    )
    alpaca.add_argument(
        "--difficulty", type=Path, help="df_gamed.csv: length control (version 2, the 805 instructions)"
    )
    alpaca.add_argument(
        "--missing-at-most",
        type=float,
        default=0.01,
        help="share of rows without verdict that is accepted (default 0.01)",
    )
    alpaca.add_argument("--swap", type=int, default=50,
                        help="pairs per model asked for in the other order, too: does the judge change its mind? (default 50)")  # fmt: skip
    alpaca.add_argument("--answers", type=Path, action="append", default=[],
                        help="judge outputs of other tools: a file in AlpacaEval's format; may be repeated")  # fmt: skip
    z = kinds["z-bench"]
    z.add_argument("--columns", default="", help="grade answers that stand in these columns of the sets' files, too")
    z.add_argument("--sets", default="basic,advanced,domain", help="comma-separated (default: all three)")
    z.add_argument("--language", default="zh", choices=("zh", "en"), help="language of the rubric (default zh)")
    for name in ("basic", "advanced", "domain"):
        z.add_argument(f"--{name}", type=Path, help=f"CSV of the set '{name}' (default: the published one)")
    trust = kinds["trust"]
    trust.add_argument(
        "--judgments", type=Path, help="single judgments in fschat's form (default: those of ANYORDER_DATA)"
    )
    trust.add_argument("--prompts", type=Path, help="the judge prompts that they were made with")
    trust.add_argument(
        "--annotations", type=Path, help="preferences in AlpacaEval's form (default: those of ANYORDER_DATA)"
    )
    trust.add_argument("--sample", type=int, help="at most so many of each")
    trust.add_argument("--repeat", type=int, default=20, help="how many ratings are asked once more (default 20)")
