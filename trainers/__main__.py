"""python -m trainers: make the embedded corpus, its tokenizer, and checkpoints from recipes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from harness.command_line import Parser

EXAMPLES = """examples:
  python -m trainers world --out results/mini/corpus
  python -m trainers tokenizer --corpus results/mini/corpus --out results/mini/tokenizer
  python -m trainers train trainers/recipes/mini/diffusionllm.yaml --seed 0 \\
      --corpus results/mini/corpus --tokenizer results/mini/tokenizer --out results/mini/checkpoints/diffusionllm-0
  python -m trainers train trainers/recipes/systems/bloomz.yaml@7b1 --launch fsdp2 --processes 8 --out checkpoints/bloomz
  python -m trainers plan trainers/recipes/systems/instruct_xmlr.yaml@xl --rate 4e14
  python -m trainers show trainers/recipes/mini/mt0.yaml
"""


def parser() -> argparse.ArgumentParser:
    """The command line; `--help` of each command explains it."""
    main_parser = Parser(
        prog="python -m trainers",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    world = commands.add_parser(
        "world", help="write the embedded six-language corpus (training records and evaluation items)"
    )
    from trainers import world as world_module

    world_module.add_arguments(world)
    tokenizer = commands.add_parser("tokenizer", help="train the byte-level BPE tokenizer of a corpus")
    tokenizer.add_argument("--corpus", type=Path, required=True, help="folder made by `world`")
    tokenizer.add_argument(
        "--vocabulary", type=int, default=2400, help="tokens to learn, before those not used are dropped (default 2400)"
    )
    tokenizer.add_argument("--out", type=Path, required=True, help="folder to write")
    train = commands.add_parser("train", help="train a recipe into a sealed checkpoint folder")
    train.add_argument("recipe", type=Path, help="recipe YAML")
    train.add_argument("--corpus", type=Path, help="embedded corpus, for recipes with mixture.source: embedded")
    train.add_argument("--tokenizer", help="tokenizer folder or hub id (default: that of backbone.pretrained)")
    train.add_argument("--seed", type=int, help="instead of the recipe's seed")
    train.add_argument("--steps", type=int, help="instead of the recipe's training.steps")
    train.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    train.add_argument(
        "--state-minutes", type=float, default=10.0,
        help="how often the state is written beside --out, from which a killed run goes on (default 10; 0: every step)",
    )  # fmt: skip
    train.add_argument(
        "--report-to", default="none",
        help="tensorboard (its events: OUT.logs), wandb, trackio, … as the Trainer's own switch; the package must be installed",
    )  # fmt: skip
    train.add_argument(
        "--launch", choices=("ddp", "fsdp2", "deepspeed2", "deepspeed3"), help="start --processes of it with accelerate"
    )
    train.add_argument("--processes", type=int, default=1, help="with --launch (default 1)")
    show = commands.add_parser("show", help="print a recipe with its defaults filled in")
    show.add_argument("recipe", type=Path, help="recipe YAML")
    from trainers import commands as more

    more.add(commands)
    return main_parser


def run(arguments: argparse.Namespace) -> None:
    """Run one parsed command."""
    if arguments.command == "world":
        from trainers import world

        if world.main(arguments):
            raise SystemExit(2)
    elif arguments.command == "tokenizer":
        _tokenizer(arguments)
    elif arguments.command == "show":
        _show(arguments)
    elif arguments.command == "train":
        _train(arguments)
    else:
        from trainers import commands

        if arguments.command in ("analysis", "losses", "plan", "speed"):
            _quiet_libraries()
        commands.run(arguments)


def _tokenizer(arguments: argparse.Namespace) -> None:
    from harness.config import ConfigError
    from trainers.mixture import read_records, training_files
    from trainers.networks import train_tokenizer
    from trainers.recipe import MixtureSpec
    from trainers.world.build import SCHEMA_VERSION

    if arguments.vocabulary < 300:
        raise ConfigError(
            f"--vocabulary {arguments.vocabulary}: at least 300 (256 bytes and the special tokens come first)."
        )
    records = read_records(training_files(MixtureSpec(), arguments.corpus), 20000)
    manifest = json.loads((arguments.corpus / "manifest.json").read_text(encoding="utf-8"))
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{arguments.corpus} is a corpus of version {manifest.get('schema_version')}, this program needs {SCHEMA_VERSION}: "
            f"make it again with python -m trainers world --out {arguments.corpus}"
        )
    texts = (f"{r['inputs']} {r['targets']}" for r in records)
    size = train_tokenizer(texts, arguments.vocabulary, arguments.out, manifest["han_words"])
    print(f"tokenizer of {size} tokens written to {arguments.out}")


def _train(arguments: argparse.Namespace) -> None:
    from trainers.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, seed=arguments.seed, steps=arguments.steps)
    if arguments.launch == "deepspeed3" and recipe.training.lora:
        from harness.config import ConfigError

        raise ConfigError("training.lora with --launch deepspeed3 is not tested: take fsdp2 or ddp.")
    if arguments.launch:
        from trainers.commands import launch

        launch(arguments.launch, arguments.processes, _without_launch(sys.argv[1:]))
        return
    _quiet_libraries()
    import torch

    from trainers.assemble import processes
    from trainers.checkpoint import train_checkpoint

    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    record = train_checkpoint(
        recipe,
        corpus=arguments.corpus,
        tokenizer_path=arguments.tokenizer,
        out=arguments.out,
        state_seconds=60 * arguments.state_minutes,
        report_to=arguments.report_to,
    )
    if not processes().is_main_process:
        return
    print(
        f"{arguments.out}: {record.label}, seed {record.seed}, {record.parameters_without_embeddings:,} parameters without embeddings, "
        f"{record.tokens:,} tokens, final loss {record.final_loss:.3f}, {record.seconds:.0f} s"
    )


def _without_launch(argv: list[str]) -> list[str]:
    """The command's arguments without those that say how it is started."""
    kept, skip = [], False
    for argument in argv:
        if skip or argument.split("=")[0] in ("--launch", "--processes"):
            skip = not skip and "=" not in argument
        else:
            kept.append(argument)
    return kept


def _show(arguments: argparse.Namespace) -> None:
    import yaml

    from trainers.recipe import load_recipe

    print(
        yaml.safe_dump(load_recipe(arguments.recipe).model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        end="",
    )


def _quiet_libraries() -> None:
    import warnings

    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> int:
    """Entry point: 0 on success, 2 on a problem of the user's input, 130 on Ctrl-C."""
    arguments = parser().parse_args()
    from harness.config import ConfigError
    from harness.records import RecordError

    try:
        run(arguments)
    except KeyboardInterrupt:
        print(
            "\nstopped. Nothing half-written was left; the same command goes on from the last state.", file=sys.stderr
        )
        return 130
    except (ConfigError, RecordError, ValueError, RuntimeError, OSError) as error:
        if os.environ.get("ANYORDER_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
