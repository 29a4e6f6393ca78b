"""AlpacaEval 1 and 2 (arXiv 2305.14387, 2404.04475) through the alpaca_eval package, with our transport.

The package makes the pairs, flips their order by its own coin, reads verdicts, computes win rates and writes its
leaderboard and annotations (alpaca_package.py says what is replaced in it). Replies lie in our store; unread verdicts
are asked for once more, then counted, and a run with too many of them fails.

Version 1 asks for a ranking; version 2 weighs by the log-probabilities of one token and, on the 805 published
instructions in their order, controls for length (its difficulties belong to these rows only).
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.config import ConfigError
from harness.judges import trust
from harness.judges.again import DRAW, both_orders, consistency_of, preferred, sample_of
from harness.judges.alpaca_package import (
    annotator_class,
    completion_of,
    difficulties,
    messages_of,
    package,
    quiet,
    reader_of,
    write_config,
)
from harness.judges.answers import AnswerWriter, Contestant, Writing
from harness.judges.asking import Counts, Judged, counts, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask, JudgeError
from harness.judges.files import file_name, json_rows
from harness.mirror import DataError, lines_of
from harness.records import digest_of, write_atomically

LONGEST_ANSWER = 2048
MISSING_AT_MOST = 0.01
PUBLISHED_SET = "d02007bfbcc8fcf6"  # digest of the 805 instructions in their order, see `instructions_digest`

DIFFICULTY_COLUMNS = ("index", "model", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
WHERE_DIFFICULTY = (
    "length control needs df_gamed.csv of the hub's data set tatsu-lab/alpaca_eval (it is not in the package)"
)


def instructions_digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Digest of instructions in their order."""
    return digest_of([row["instruction"] for row in rows])


def load_outputs(path: Path) -> list[dict[str, Any]]:
    """Outputs in AlpacaEval's format; DataError names what is wrong."""
    rows = json_rows(path, ("instruction", "output"))
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if not isinstance(row["instruction"], str) or not isinstance(row["output"], str):
            raise DataError(f"{path}, entry {number}: expected `instruction` and `output` to be texts.")
        if row["instruction"] in seen:
            raise DataError(
                f"{path}, entry {number}: the same instruction stands there twice: {row['instruction'][:60]!r}."
            )
        seen.add(row["instruction"])
    return rows


def name_of(outputs: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Whose outputs these are: their one `generator`, else the file's name (many files are called model_outputs.json)."""
    names = {str(row.get("generator") or "") for row in outputs}
    return file_name(names.pop() or path.stem) if len(names) == 1 else file_name(path.stem)


def write_model_outputs(
    reference: Sequence[dict[str, Any]], contestant: Contestant, out: Path, *, longest: int = LONGEST_ANSWER
) -> list[dict[str, Any]]:
    """A model's greedy answers to the reference's instructions, in AlpacaEval's format, kept in model_outputs/<name>.json."""
    writer = AnswerWriter(contestant, out / "answers.sqlite")
    dialogues = [[{"role": "user", "content": row["instruction"]}] for row in reference]
    texts = writer.answers(dialogues, [Writing(longest)] * len(dialogues))
    rows = [
        {
            "instruction": row["instruction"],
            "output": text,
            "generator": contestant.name,
            "dataset": row.get("dataset", "own"),
        }
        for row, text in zip(reference, texts, strict=True)
    ]
    write_atomically(
        out / "model_outputs" / f"{contestant.name}.json", json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    )
    return rows


def judge_outputs(
    outputs: Sequence[dict[str, Any]],
    reference: Sequence[dict[str, Any]],
    name: str,
    client: JudgeClient,
    out: Path,
    *,
    version: int = 1,
    difficulty: Path | None = None,
    missing_at_most: float = MISSING_AT_MOST,
    repeat: int = 0,
    swap: int = 0,
) -> dict[str, Any]:
    """Judge one model against the reference; AlpacaEval writes its leaderboard and annotations below `out`.

    difficulty: the package's `df_gamed.csv`, for length control; missing_at_most: share of instructions without verdict;
    repeat, swap: pairs that are asked once more, in the same order and in the other one: what sways the judge.

    Raises:
        DataError: an instruction without an output.
        ConfigError: length control where it is not defined.
        JudgeError: see the client; or too many unread verdicts.
    """  # fmt: skip
    check_whole(outputs, reference, name, missing_at_most)
    check_difficulty(difficulty, version, reference)
    import pandas as pd

    config = write_config(client.model, version, out)
    completions = Completions(client, version, missing_at_most, repeat)
    board, folder = out / "leaderboard.csv", out / "results" / name
    metric = "get_winrate" if difficulty is None else "get_length_controlled_winrate"
    with quiet(), difficulties(difficulty):
        package().evaluate(
            model_outputs=pd.DataFrame([{**row, "generator": name} for row in outputs]),
            reference_outputs=pd.DataFrame(list(reference)), annotators_config=str(config), name=name, output_path=str(folder),
            precomputed_leaderboard=str(board) if board.is_file() else None, is_overwrite_leaderboard=True,
            is_cache_leaderboard=False, is_return_instead_of_print=True, fn_metric=metric,
            metric_kwargs=None if difficulty is None else {"save_weights_dir": None},
            sort_by="win_rate" if difficulty is None else "length_controlled_winrate",
            annotation_kwargs={"chunksize": len(reference)}, Annotator=annotator_class(), caching_path=None,
            fn_completions=completions,
        )  # fmt: skip
    shutil.copyfile(folder / "leaderboard.csv", board)
    return {
        **summary_of(folder, name, completions.counts),
        "consistency": trust.plain(completions.consistency),
        "position": trust.plain(_position(folder, client, version, swap)),
    }


def _position(folder: Path, client: JudgeClient, version: int, swap: int) -> dict[str, trust.Estimate | None]:
    """Of `swap` judged pairs asked in both orders, the share whose winner changes (one order is in the store already)."""
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    judged = [one for one in annotations if one["preference"] is not None and one["output_1"] != one["output_2"]]
    games, _ = both_orders(client, sample_of(judged, swap), version)
    return trust.position(games)


def check_difficulty(difficulty: Path | None, version: int, reference: Sequence[Mapping[str, Any]]) -> None:
    """Whether length control is defined for this run, and the file is the package's `df_gamed.csv`.

    Raises:
        ConfigError: another version, other instructions, or another order of them.
        DataError: no such file, or of another form.
    """
    if difficulty is None:
        return
    if version != 2 or not length_control_defined(reference):
        raise ConfigError(
            "--difficulty: length control is defined for --version 2 on the 805 published instructions in their order only; "
            "leave it out to get the plain win rate."
        )
    if not difficulty.is_file():
        raise DataError(f"--difficulty: {difficulty} is not a file; {WHERE_DIFFICULTY}.")
    try:
        header = next(iter(csv.reader(lines_of(difficulty))), [])
    except csv.Error as error:
        raise DataError(f"--difficulty: {difficulty} is no CSV file ({error}); {WHERE_DIFFICULTY}.") from error
    missing = [name for name in DIFFICULTY_COLUMNS if name not in header]
    if missing:
        raise DataError(f"--difficulty: {difficulty} has no column '{missing[0]}'; {WHERE_DIFFICULTY}.")


def length_control_defined(reference: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are the 805 published instructions in their order: the difficulties belong to their rows."""
    return instructions_digest(reference) == PUBLISHED_SET


def check_whole(
    outputs: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], name: str, missing_at_most: float
) -> None:
    """DataError where too many instructions have no output: the package drops rows of an inner join without a word."""
    answered = {row["instruction"] for row in outputs}
    missing = [row["instruction"] for row in reference if row["instruction"] not in answered]
    if len(missing) > missing_at_most * len(reference):
        raise DataError(
            f"{name} answers {len(reference) - len(missing)} of {len(reference)} instructions (first without: {missing[0][:60]!r}): "
            "write the missing outputs, or name a reference with those that are there."
        )


class Completions:
    """alpaca_eval's `fn_completions`: messages of a chunk in, texts and log-probabilities out, through the client."""

    def __init__(self, client: JudgeClient, version: int, missing_at_most: float, repeat: int = 0):
        self.client, self.version, self.missing_at_most, self.repeat = client, version, missing_at_most, repeat
        self.counts: Counts | None = None
        self.consistency: dict[str, trust.Estimate | None] = {}

    def __call__(
        self, prompts: Sequence[str], max_tokens: int, temperature: float, top_logprobs: int = 0
    ) -> dict[str, list]:
        """Completions in the package's shape.

        Raises:
            JudgeError: too many verdicts cannot be read.
        """
        asks = [Ask(messages_of(prompt), max_tokens, temperature, logprobs=top_logprobs) for prompt in prompts]
        readers = [reader_of(self.version)] * len(asks)
        judged = verdicts(self.client, asks, readers, "AlpacaEval")
        self.counts = counts(judged)
        if not self.counts.scored or self.counts.unscored > self.missing_at_most * len(asks):
            raise JudgeError(
                f"{self.counts.unscored} of {len(asks)} verdicts of {self.client.model} cannot be read (at most "
                f"{self.missing_at_most:.0%} may be missing): {_why(judged, self.version)}"
            )
        self.consistency = consistency_of(self.client, asks, readers, judged, self.repeat, preferred)
        return {
            "completions": [one.reply.text or " " for one in judged],
            "completions_all": [completion_of(one.reply) for one in judged],
            "price_per_example": [0.0] * len(judged),  # what was paid depends on when it was asked: the command says it
            "time_per_example": [0.0] * len(judged),
            "date": [datetime.fromtimestamp(one.reply.created, UTC).isoformat() for one in judged],
        }


def _why(judged: Sequence[Judged], version: int) -> str:
    first = next(one for one in judged if one.verdict is None)
    if version == 2 and first.reply.top_logprobs is None and first.reply.refused is None:
        return "the endpoint sends no log-probabilities; take --version 1, or a server that does (vLLM)."
    return f"the first of them says {(first.reply.refused or first.reply.text)[:120]!r}."


def summary_of(folder: Path, name: str, counted: Counts | None) -> dict[str, Any]:
    """The package's leaderboard row of a model, what was not read, an interval, and wins against length."""
    import pandas as pd

    board = pd.read_csv(folder / "leaderboard.csv", index_col=0)
    row = {key: value for key, value in board.loc[name].to_dict().items() if value == value}
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    read = [one for one in annotations if one["preference"] is not None]
    wins = trust.mean_of([100 * (one["preference"] - 1) for one in read])
    outcomes = [
        ("model_1" if one["preference"] > DRAW else "model_2", len(one["output_2"]), len(one["output_1"]))
        for one in read
        if one["preference"] != DRAW
    ]
    length = trust.length_of_winners(outcomes)
    return {
        "leaderboard": row,
        "win_rate": wins.as_dict() if wins else None,
        "missing": len(annotations) - len(read),
        "calls": counted.as_dict() if counted else None,
        "length": length.as_dict() if length else None,
    }
