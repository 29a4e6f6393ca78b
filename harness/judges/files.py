"""Files that a judged benchmark needs: named by the user, from ANYORDER_DATA, or downloaded at a pinned commit.

As with every benchmark here, a mirror is never filled up from the network: with ANYORDER_DATA set, only its files count.
A file that is not the published one is used only where the user named it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data_folder import mirror_folder
from harness.download import RAW, download
from harness.mirror import DataError, digest, lines_of
from harness.records import write_atomically

FASTCHAT = RAW + "lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data/"
ALPACA_EVAL = RAW + "tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20/"
Z_BENCH = RAW + "zhenbench/z-bench/1f1195b4b11d65ebd729f6eced0ead144f57bd85/"


@dataclass(frozen=True)
class Published:
    """A published file: where it lies below a mirror, where it is downloaded from, and its sha256."""

    title: str
    mirror: str
    url: str
    sha256: str


PUBLISHED = {
    "mt_bench_questions": Published(
        "MT-Bench questions",
        "mt_bench/mt_bench/question.jsonl",
        FASTCHAT + "mt_bench/question.jsonl",
        "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
    ),
    "mt_bench_references": Published(
        "MT-Bench reference answers",
        "mt_bench/mt_bench/reference_answer/gpt-4.jsonl",
        FASTCHAT + "mt_bench/reference_answer/gpt-4.jsonl",
        "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
    ),
    "mt_bench_prompts": Published(
        "MT-Bench judge prompts",
        "mt_bench/judge_prompts.jsonl",
        FASTCHAT + "judge_prompts.jsonl",
        "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
    ),
    "alpaca_eval_reference": Published(
        "AlpacaEval outputs of text_davinci_003",
        "alpaca_eval/results/text_davinci_003/model_outputs.json",
        ALPACA_EVAL + "results/text_davinci_003/model_outputs.json",
        "af0bc112f08c88bf589bbfe6fc1036806d0a0f6fec9c4d5a4db860f5afe73b4b",
    ),
    "z_bench_basic": Published(
        "Z-Bench basic",
        "z_bench/common.samples.csv",
        Z_BENCH + "common.samples.csv",
        "7722346b05cc02169ffa3add61e600ef351cb288b26a0360493a27588c56bb32",
    ),
    "z_bench_advanced": Published(
        "Z-Bench advanced",
        "z_bench/emergent.samples.csv",
        Z_BENCH + "emergent.samples.csv",
        "8fb695f9912e852d9439e3164dea82223242301878fae3720201c6e8e9e78338",
    ),
    "z_bench_domain": Published(
        "Z-Bench domain",
        "z_bench/specialized.samples.csv",
        Z_BENCH + "specialized.samples.csv",
        "161a0e5c64c9f851c46f5bb8c2a4c73a6dcae72743edf6c1a6d81a826f4da8e8",
    ),
}


def file_of(name: str, given: Path | None, downloads: Path) -> Path:
    """The file the user named, else the published one from the mirror or downloaded into `downloads`.

    Raises:
        DataError: not there, not reachable, or not the published file (other sha256).
    """
    spec = PUBLISHED[name]
    if given is not None:
        if not given.is_file():
            raise DataError(f"{spec.title}: {given} is not a file.")
        return given
    root = mirror_folder()
    path = root / spec.mirror if root else downloads / Path(spec.mirror).name
    if root and not path.is_file():
        raise DataError(f"{spec.title}: ANYORDER_DATA has no {spec.mirror}; name a file, or unset it to download.")
    if not path.is_file():
        otherwise = "name a local copy on the command line, or set ANYORDER_DATA to a mirror"
        write_atomically(path, download(spec.url, spec.title, otherwise))
    found = digest(path)
    if found != spec.sha256:
        raise DataError(
            f"{path} is not the published file ({spec.title}): sha256 {found[:12]}…, expected {spec.sha256[:12]}…. "
            "Remove it and try again, or name a file of your own on the command line."
        )
    return path


def json_lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file, each an object with at least `keys`; DataError names file, line and key."""
    rows = []
    for number, line in enumerate(lines_of(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected a JSON object a line, got {line[:40]!r}.") from error
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise DataError(f"{path}, line {number}: expected the keys {', '.join(keys)}; {missing[0]} is missing.")
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no rows.")
    return rows


def json_rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of a JSON file that is one list of objects, each with at least `keys`."""
    try:
        rows = json.loads("\n".join(lines_of(path)))
    except ValueError as error:
        raise DataError(f"{path}: expected one JSON list ({error}).") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise DataError(f"{path}, entry {number}: expected the keys {', '.join(keys)}; {missing[0]} is missing.")
    return rows


def file_name(model: str) -> str:
    """A judge's name as part of a file name: `org/model` becomes `org__model`."""
    return re.sub(r"[^\w.-]+", "__", model).strip("_.") or "judge"


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON Lines, the whole file or nothing."""
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
