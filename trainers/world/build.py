"""Writing the corpus: training records, evaluation files, then the manifest: its presence means complete."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from trainers.world.evaluation import GROUPS, Group, documents, record_of
from trainers.world.instructions import HELDOUT
from trainers.world.item import Item
from trainers.world.lexicon import LANGUAGES, PIVOT, han_words
from trainers.world.splits import (
    HELDOUT_LANGUAGE,
    TEST_SHARE,
    TRANSLATING,
    is_heldout_combination,
    is_test_fact,
    render,
    trained_languages,
)
from trainers.world.tasks import TRAINED

SCHEMA_VERSION = 2  # of the corpus: raise it when the world changes, and suites make theirs again
# Relative shares of the training records: what is learnt late (comparing, order, roles, translating) gets more.
WEIGHTS = {
    "translation": 14,
    "word": 10,
    "qa": 10,
    "relation": 11,
    "sentiment": 2.5,
    "topic": 2,
    "paraphrase": 6,
    "arithmetic": 6,
    "headline": 4,
    "copy": 7,
    "reverse": 8,
    "continuation": 2.5,
    "reason": 3,
    "continuation_choice": 2,
    "role": 9,
    "role_choice": 8,
    "retell": 5,
    "describe": 5,
}


def training_records(seed: int, count: int, forbidden: set[str]) -> Iterator[dict]:
    """The training records in order: no held-out fact, template or combination, no prompt in `forbidden`."""
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    for index in range(count):
        rng = random.Random(f"{seed}/train/{index}")
        task = TRAINED[rng.choices(names, weights)[0]]
        code = rng.choice(languages_to_train(task.name))
        variant = rng.randrange(task.variants)
        while True:
            item = task.draw(code, rng, variant)
            if not is_trainable(task.name, code, item):
                continue
            template, prompt = render(item, "train", rng)
            if prompt not in forbidden:
                break
        yield record_of(task, code, item, template, prompt, "train")


def languages_to_train(task: str) -> tuple[str, ...]:
    """Languages to draw from; half of all translations go into English, so that every direction is as frequent."""
    codes = trained_languages(task, LANGUAGES)
    return codes + (PIVOT,) * (len(codes) - 2) if task in TRANSLATING else codes


def is_trainable(task: str, code: str, item: Item) -> bool:
    """Whether neither the fact nor the combination of an item is held out."""
    return not (is_test_fact(task, item.key) or is_heldout_combination(task, code, item.source))


def build(out: Path, *, seed: int = 0, records: int = 60_000, items_scale: float = 1.0) -> dict:
    """Write the corpus into the folder `out` and return its manifest.

    `records` is the number of training records, `items_scale` multiplies the sizes of the evaluation files.
    Equal arguments give equal bytes. Raises ValueError for a bad argument, OSError if it cannot write.
    """
    out = Path(out)
    _check(out, seed, records, items_scale)
    (out / "eval").mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    files: dict[str, str] = {}
    counts: dict[str, int] = {}
    chance: dict[str, float] = {}
    prompts: set[str] = set()
    bar = tqdm(
        total=records + sum(group_size(group, items_scale) for group in GROUPS),
        unit="rec",
        desc="world",
        disable=None,
    )
    with bar:
        for group in GROUPS:
            docs = list(documents(group, seed, items_scale))
            prompts.update(doc["inputs"] for doc in docs)
            name = f"eval/{group.name}.jsonl"
            files[name], counts[name] = _write(out / name, iter(docs), bar)
            chance[group.name] = chance_level(docs)
        stream = training_records(seed, records, prompts)
        files["train.jsonl"], counts["train.jsonl"] = _write(out / "train.jsonl", stream, bar)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "arguments": {"seed": seed, "records": records, "items_scale": items_scale},
        "counts": counts,
        "chance": chance,
        "heldout": heldout(),
        "han_words": han_words(),
        "files": files,
    }
    _write_manifest(out / "manifest.json", manifest)
    return manifest


def heldout() -> dict:
    """What training never shows, for the manifest."""
    return {
        "tasks": [group.name for group in GROUPS if group.axis == "task"],
        "languages": HELDOUT_LANGUAGE,
        "directions": {task: f"all without {PIVOT}" for task in TRANSLATING},
        "templates_per_list": HELDOUT,
        "share_of_facts": TEST_SHARE,
    }


def group_size(group: Group, scale: float) -> int:
    """Number of documents of an evaluation file."""
    return sum(count for _, _, count in group.cells(scale))


def chance_level(docs: list[dict]) -> float:
    """Expected accuracy of guessing, 0.0 for generation."""
    return math.fsum(1 / len(doc["choices"]) for doc in docs if "choices" in doc) / len(docs)


def _check(out: Path, seed: int, records: int, items_scale: float) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: name a folder")
    if seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {seed}")
    if records < 1:
        raise ValueError(f"--records must be 1 or more, not {records}")
    if not 0 < items_scale < float("inf"):
        raise ValueError(f"--items-scale must be a number above 0, not {items_scale}")


def _write(path: Path, rows: Iterator[dict], bar: tqdm) -> tuple[str, int]:
    """Write rows as JSON lines; return sha256 and number of rows."""
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
            bar.update()
    return digest.hexdigest(), count


def _write_manifest(path: Path, manifest: dict) -> None:
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m trainers world`."""
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=int, default=60_000, help="training records (default 60000)")
    parser.add_argument("--items-scale", type=float, default=1.0, help="multiplies the sizes of the evaluation files")
    parser.add_argument("--show", metavar="TASK", help="print examples of a task or evaluation file, write nothing")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="language of the examples")
    parser.add_argument("-n", type=int, default=3, help="number of examples")


def main(args: argparse.Namespace) -> int:
    """Run the parsed command; returns an exit code."""
    try:
        if args.show:
            from trainers.world.preview import show

            show(args.show, args.language, args.n, args.seed)
        elif args.out is None:
            raise ValueError("say where to write with --out DIR, or look at examples with --show TASK")
        else:
            manifest = build(args.out, seed=args.seed, records=args.records, items_scale=args.items_scale)
            trained = manifest["counts"]["train.jsonl"]
            print(f"{args.out}: {trained} training records, {len(GROUPS)} evaluation files")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
