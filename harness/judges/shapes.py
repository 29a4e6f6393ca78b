"""A suite's judge-shaped runs: MT-Bench and AlpacaEval on items of the embedded corpus, graded by the scripted judge.

They show that the whole way works for every paradigm, with the real packages, at no cost. They are no results of
MT-Bench or AlpacaEval: the questions are the corpus's, and the grades are shares of words in common with its targets.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config import ConfigError
from harness.judges import alpaca_eval, mt_bench
from harness.judges.client import JudgeClient
from harness.judges.contestants import contestants_of
from harness.judges.endpoint import endpoint_of
from harness.judges.files import json_lines, write_json_lines
from harness.judges.rubrics import plain_prompts
from harness.judges.scripted import SCRIPTED, ScriptedJudge, WordRule
from harness.records import digest_of, sha256_file, write_atomically
from harness.suites import Suite

COLUMNS: tuple[str, ...] = (
    "system", "seed", "mt_rating", "mt_low", "mt_high", "mt_first", "mt_second", "mt_judged", "mt_unscored", "mt_length",
    "mt_length_low", "mt_length_high", "pair_win_rate", "pair_low", "pair_high", "pair_disagreement",
    "pair_disagreement_low", "pair_disagreement_high", "pair_length", "pair_length_low", "pair_length_high",
    "ae_win_rate", "ae_low", "ae_high", "ae_total", "ae_missing", "ae_disagreement", "ae_disagreement_low",
    "ae_disagreement_high", "ae_length", "ae_length_low", "ae_length_high",
)  # fmt: skip
REPEAT = 10  # judgments asked for once more, of each kind


def judge_suite(suite: Suite, results: Path, out: Path) -> str:
    """Run both, write shapes.csv and shapes.json below `out`, and return one line on what was done.

    Raises:
        ConfigError: the suite has no `judge` section, or no corpus.
    """
    plan = suite.judge
    if plan is None or suite.corpus is None:
        raise ConfigError(f"suite {suite.name} has no judge section and corpus: nothing to judge by script.")
    corpus = results / suite.name / "corpus"
    first, second = (_documents(corpus, task) for task in plan.tasks)
    bench, key = _bench(first, second, plan.questions, out)
    instructions = [document for pair in zip(first, second, strict=False) for document in pair][-plan.instructions :]
    key |= {document["inputs"]: document["targets"] for document in instructions}
    everyone = contestants_of(suite, results, seeds=suite.seeds[:1])
    baseline = f"{plan.baseline}-{suite.seeds[0]}"
    with ScriptedJudge(WordRule(key)) as judge:
        endpoint = endpoint_of(judge.url, name=f"scripted {digest_of(key)}")
        client = JudgeClient(SCRIPTED, endpoint, out / "replies.sqlite")
        mt_bench.write_model_answers(bench, everyone, out / "mt_bench", longest=plan.longest, greedy=True)
        names = [one.name for one in everyone]
        single = mt_bench.judge_answers(bench, names, client, out / "mt_bench", repeat=REPEAT)
        others = [name for name in names if name != baseline]
        pairs = {
            name: mt_bench.judge_answers(
                bench, [name], client, out / "mt_bench", mode="pairwise-baseline", baseline=baseline, repeat=REPEAT
            )
            for name in others
        }
        outputs = {
            one.name: alpaca_eval.write_model_outputs(
                _rows(instructions), one, out / "alpaca_eval", longest=plan.longest
            )
            for one in everyone
        }
        alpaca = {
            name: alpaca_eval.judge_outputs(
                outputs[name],
                outputs[baseline],
                name,
                client,
                out / "alpaca_eval" / SCRIPTED,
                version=2,
                repeat=REPEAT,
                swap=len(instructions),
            )
            for name in others
        }
        calls = judge.calls
    rows = [_row(name, single, pairs.get(name), alpaca.get(name)) for name in names]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out / "shapes.csv", text.getvalue())
    record = {
        "judge": SCRIPTED, "rule": "share of words in common with the corpus's target", "baseline": baseline, "plan": plan.model_dump(mode="json"),
        "corpus": sha256_file(corpus / "manifest.json"), "weights": {one.name: one.weights for one in everyone},
        "prompts": digest_of(plain_prompts()), "questions": len(bench.questions), "instructions": len(instructions),
        "mt_bench": single["calls"], "pairs": {name: pair["position"] for name, pair in pairs.items()},
        "consistency": {
            "mt_bench": single["consistency"], "pairs": {name: pair["consistency"] for name, pair in pairs.items()},
            "alpaca_eval": {name: one["consistency"] for name, one in alpaca.items()},
        },
    }  # fmt: skip
    write_atomically(out / "shapes.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return f"{suite.name}: {len(names)} models judged by the scripted judge ({calls} calls); {out / 'shapes.csv'}"


def _documents(corpus: Path, task: str) -> list[dict[str, Any]]:
    return json_lines(corpus / "eval" / f"{task}.jsonl", ("inputs", "targets", "id"))


def _bench(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], count: int, out: Path
) -> tuple[mt_bench.Bench, dict[str, str]]:
    """Questions of two turns with the key of both; every other one is judged with a reference."""
    pairs = list(zip(first, second, strict=False))[:count]
    questions, references = [], []
    for number, pair in enumerate(pairs, start=1):
        category = "reasoning" if number % 2 else "writing"
        questions.append(
            {"question_id": number, "category": category, "turns": [document["inputs"] for document in pair]}
        )
        if category == "reasoning":
            references.append({"question_id": number, "choices": [{"index": 0, "turns": [d["targets"] for d in pair]}]})
    folder = out / "mt_bench"
    for name, rows in (("question", questions), ("reference", references), ("judge_prompts", plain_prompts())):
        write_json_lines(folder / f"{name}.jsonl", rows)
    bench = mt_bench.load_bench(*(folder / f"{name}.jsonl" for name in ("question", "judge_prompts", "reference")))
    return bench, {document["inputs"]: document["targets"] for pair in pairs for document in pair}


def _rows(instructions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"instruction": document["inputs"], "dataset": "mini"} for document in instructions]


def _row(
    name: str, single: dict[str, Any], pair: dict[str, Any] | None, alpaca: dict[str, Any] | None
) -> dict[str, Any]:
    system, _, seed = name.rpartition("-")
    rated = single["models"][name]
    row: dict[str, Any] = {
        "system": system,
        "seed": seed,
        "mt_judged": rated["judged"],
        "mt_unscored": rated["unscored"],
    }
    row |= _three("mt_rating", "mt", rated["average"]) | {
        "mt_first": _value(rated["first_turn"]),
        "mt_second": _value(rated["second_turn"]),
    }
    row |= _three("mt_length", "mt_length", rated["length"])
    if pair is not None:
        row |= _three("pair_win_rate", "pair", pair["models"][name]["win_rate_adjusted"])
        row |= _three("pair_disagreement", "pair_disagreement", pair["position"]["disagreement"])
        row |= _three("pair_length", "pair_length", pair["length"])
    if alpaca is not None:
        row |= _three("ae_win_rate", "ae", alpaca["win_rate"])
        row |= _three("ae_disagreement", "ae_disagreement", alpaca["position"]["disagreement"])
        row |= _three("ae_length", "ae_length", alpaca["length"])
        row |= {"ae_total": alpaca["leaderboard"]["n_total"], "ae_missing": alpaca["missing"]}
    return row


def _three(value: str, stem: str, estimate: dict[str, Any] | None) -> dict[str, Any]:
    found = estimate or {"value": None, "low": None, "high": None}
    return {value: found["value"], f"{stem}_low": found["low"], f"{stem}_high": found["high"]}


def _value(estimate: dict[str, Any] | None) -> float | None:
    return None if estimate is None else estimate["value"]
