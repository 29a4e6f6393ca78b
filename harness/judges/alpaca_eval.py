"""AlpacaEval 1 and 2 (arXiv 2305.14387, 2404.04475) through the alpaca_eval package, with our transport.

The package makes the pairs, flips their order by its own coin, reads verdicts, computes win rates and writes its
leaderboard and annotations. Replaced are the three places where it goes wrong without a word:

- its prompt maker fills `{output_1}` and then looks for `{output_2}` also inside of that output: filled in one pass here;
- its ChatML splitter cuts a prompt wherever an output says `<|im_end|>`: only the template's own marks count here;
- its cache keeps unread verdicts for good and lies inside the package: replies lie in our store, unread ones are asked
  once more, then counted, and a run with too many of them fails.

Version 1 asks for a ranking; version 2 weighs by the log-probabilities of one token and, on the 805 published
instructions in their order, controls for length (its difficulties belong to these rows only).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from harness.judges import trust
from harness.judges.answers import AnswerWriter, Contestant, Writing
from harness.judges.asking import Counts, Judged, counts, verdicts
from harness.judges.client import Ask, JudgeClient, JudgeError, Reply
from harness.judges.files import file_name, json_rows
from harness.judges.replaced import replaced
from harness.judges.rubrics import fill
from harness.mirror import DataError
from harness.records import digest_of, write_atomically
from harness.suites import ConfigError

LONGEST_ANSWER = 2048
MISSING_AT_MOST = 0.01
PUBLISHED_SET = "d02007bfbcc8fcf6"  # digest of the 805 instructions in their order, see `instructions_digest`
TEMPLATES = {1: "alpaca_eval_gpt4/alpaca_eval.txt", 2: "alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"}
SETTINGS: dict[int, dict[str, Any]] = {
    1: {"completions_kwargs": {"max_tokens": 100, "temperature": 0}, "fn_completion_parser": "ranking_parser"},
    2: {
        "completions_kwargs": {"max_tokens": 1, "temperature": 1, "top_logprobs": 5},
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": {"numerator_token": "m", "denominator_tokens": ["m", "M"], "is_binarize": False},
        "completion_key": "completions_all",
    },
}
_CHATML = re.compile(
    r"\s*<\|im_start\|>system\n(?P<system>.*?)\n?<\|im_end\|>\s*<\|im_start\|>user\n(?P<user>.*)\n?<\|im_end\|>\s*",
    re.DOTALL,
)


def package(name: str = "") -> Any:
    """alpaca_eval or one of its modules; importing it would turn on everyone's INFO messages.

    Raises:
        RuntimeError: the extra `judge` is not installed, or not with the versions it needs.
    """
    level = logging.getLogger().level
    try:
        return importlib.import_module(f"alpaca_eval{'.' if name else ''}{name}")
    except ImportError as error:
        raise RuntimeError(
            f"AlpacaEval needs the extra 'judge' ({error}): pip install -c constraints.txt 'anyorder[judge]' "
            "(alpaca-eval 0.6.6 works with setuptools<82, pandas<3 and scikit-learn<1.10)."
        ) from error
    finally:
        logging.getLogger().setLevel(level)


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


def write_model_outputs(
    reference: Sequence[dict[str, Any]], contestant: Contestant, out: Path, *, longest: int = LONGEST_ANSWER
) -> list[dict[str, Any]]:
    """A model's greedy answers to the reference's instructions, in AlpacaEval's format, kept in model_outputs/<name>.json."""
    import json

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
) -> dict[str, Any]:
    """Judge one model against the reference; AlpacaEval writes its leaderboard and annotations below `out`.

    difficulty: the package's `df_gamed.csv`, for length control; missing_at_most: share of instructions without verdict.

    Raises:
        DataError: an instruction without an output.
        ConfigError: length control where it is not defined.
        JudgeError: see the client; or too many unread verdicts.
    """  # fmt: skip
    _check_whole(outputs, reference, name, missing_at_most)
    if difficulty is not None and (version != 2 or instructions_digest(reference) != PUBLISHED_SET):
        raise ConfigError(
            "--difficulty: length control is defined for --version 2 on the 805 published instructions in their order only; "
            "leave it out to get the plain win rate."
        )
    import pandas as pd

    config = write_config(client.model, version, out)
    completions = Completions(client, version, missing_at_most)
    board, folder = out / "leaderboard.csv", out / "results" / name
    metric = "get_winrate" if difficulty is None else "get_length_controlled_winrate"
    with quiet(), _difficulties(difficulty):
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
    return summary_of(folder, name, completions.counts)


def _check_whole(
    outputs: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], name: str, missing_at_most: float
) -> None:
    """The package drops rows of an inner join without a word."""
    answered = {row["instruction"] for row in outputs}
    missing = [row["instruction"] for row in reference if row["instruction"] not in answered]
    if len(missing) > missing_at_most * len(reference):
        raise DataError(
            f"{name} answers {len(reference) - len(missing)} of {len(reference)} instructions (first without: {missing[0][:60]!r}): "
            "write the missing outputs, or name a reference with those that are there."
        )


def write_config(judge: str, version: int, out: Path) -> Path:
    """The annotator's folder (configs.yaml, prompt.txt) below `out`, named after judge and version."""
    name = f"{file_name(judge)}_v{version}"
    template = Path(package().__file__).parent / "evaluators_configs" / TEMPLATES[version]
    write_atomically(out / "config" / name / "prompt.txt", template.read_text(encoding="utf-8"))
    config = {name: {"prompt_template": f"{name}/prompt.txt", "batch_size": 1, **SETTINGS[version]}}
    write_atomically(out / "config" / name / "configs.yaml", yaml.safe_dump(config, sort_keys=False))
    return (out / "config" / name).resolve()


class Completions:
    """alpaca_eval's `fn_completions`: messages of a chunk in, texts and log-probabilities out, through the client."""

    def __init__(self, client: JudgeClient, version: int, missing_at_most: float):
        self.client, self.version, self.missing_at_most = client, version, missing_at_most
        self.counts: Counts | None = None

    def __call__(
        self, prompts: Sequence[str], max_tokens: int, temperature: float, top_logprobs: int = 0
    ) -> dict[str, list]:
        """Completions in the package's shape.

        Raises:
            JudgeError: too many verdicts cannot be read.
        """
        asks = [Ask(messages_of(prompt), max_tokens, temperature, logprobs=top_logprobs) for prompt in prompts]
        judged = verdicts(self.client, asks, [reader_of(self.version)] * len(asks), "AlpacaEval")
        self.counts = counts(judged)
        if not self.counts.scored or self.counts.unscored > self.missing_at_most * len(asks):
            raise JudgeError(
                f"{self.counts.unscored} of {len(asks)} verdicts of {self.client.model} cannot be read (at most "
                f"{self.missing_at_most:.0%} may be missing): {_why(judged, self.version)}"
            )
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


def messages_of(prompt: str) -> tuple[tuple[str, str], ...]:
    """(role, text) messages of a ChatML prompt with one system and one user part; marks inside of the parts are text."""
    match = _CHATML.fullmatch(prompt)
    if match is None:
        raise ConfigError("the prompt template is not ChatML with one system and one user part.")
    return (("system", match["system"].strip()), ("user", match["user"].strip()))


def completion_of(reply: Reply) -> dict[str, Any]:
    """A reply in the shape that alpaca_eval's log-probability parser reads."""
    content = [
        {"top_logprobs": [{"token": token, "logprob": value} for token, value in row.items()]}
        for row in reply.top_logprobs or []
    ]
    return {"text": reply.text, "logprobs": {"content": content}}


def reader_of(version: int):
    """Reply → the package's own preference (1 to 2) in the order shown, or None where it cannot read one."""

    def read(reply: Reply) -> float | None:
        parsers = package("completion_parsers")
        if version == 2:
            if not reply.top_logprobs:
                return None
            value = parsers.logprob_parser(
                completion_of(reply), log_prob_index=0, **SETTINGS[2]["completion_parser_kwargs"]
            )[0]
        else:
            value = parsers.ranking_parser(reply.text or " ")[0]
        return None if math.isnan(value) else float(value)

    def quietly(reply: Reply) -> float | None:
        with quiet():
            return read(reply)

    return quietly


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The package's log and bar switched off: what it would say of unread verdicts is counted and said by us."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with replaced(package("utils"), tqdm=SimpleNamespace(tqdm=lambda items, **_: items)):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _difficulties(path: Path | None) -> Iterator[None]:
    """The package's download of df_gamed.csv answered with a local file."""
    if path is None:
        yield
        return
    if not path.is_file():
        raise DataError(f"--difficulty: {path} is not a file.")
    with replaced(package("metrics.glm_winrate"), hf_hub_download=lambda **_: str(path)):
        yield


def annotator_class() -> type:
    """alpaca_eval's PairwiseAnnotator with prompts filled in one pass and dates that are those of the replies."""
    evaluator = package("annotators.pairwise_evaluator")

    class OnePass(evaluator.SinglePairwiseAnnotator):
        def _make_prompts(self, df_to_annotate, prompt_template=None):
            template = prompt_template or self.prompt_template
            rows = df_to_annotate.to_dict("records")
            names = set(re.findall(r"{([^ \s]+?)}", template))
            return [fill(template, {name: str(row[name]) for name in names}) for row in rows], df_to_annotate.copy()

        def _add_metadata_to_completions_(self, completions):
            dates = completions["date"]
            super()._add_metadata_to_completions_(completions)
            completions["date"] = dates

    class Pairwise(evaluator.PairwiseAnnotator):
        @property
        def SingleAnnotator(self):
            return OnePass

    return Pairwise


def summary_of(folder: Path, name: str, counted: Counts | None) -> dict[str, Any]:
    """The package's leaderboard row of a model, what was not read, an interval, and wins against length."""
    import json

    import pandas as pd

    board = pd.read_csv(folder / "leaderboard.csv", index_col=0)
    row = {key: value for key, value in board.loc[name].to_dict().items() if value == value}
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    read = [one for one in annotations if one["preference"] is not None]
    wins = trust.mean_of([100 * (one["preference"] - 1) for one in read])
    outcomes = [
        ("model_1" if one["preference"] > 1.5 else "model_2", len(one["output_2"]), len(one["output_1"]))
        for one in read
        if one["preference"] != 1.5
    ]
    length = trust.length_of_winners(outcomes)
    return {
        "leaderboard": row,
        "win_rate": wins.as_dict() if wins else None,
        "missing": len(annotations) - len(read),
        "calls": counted.as_dict() if counted else None,
        "length": length.as_dict() if length else None,
    }
