"""A judge against other judges: it grades again what people or GPT-4 graded, once more for itself, and in both orders."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.judges import trust
from harness.judges.alpaca_package import SETTINGS, TEMPLATES, messages_of, package, reader_of
from harness.judges.asking import counts, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask
from harness.judges.rubrics import fill
from harness.judges.verdicts import read_rating
from harness.mirror import DataError

Found = dict[str, Any]


def sample_of(rows: Sequence[Any], count: int | None, seed: int = 0) -> list[Any]:
    """`count` rows drawn with a seed of their own (all of them for None), in their order."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), count))]


def against_ratings(
    client: JudgeClient,
    rows: Sequence[Mapping[str, Any]],
    prompts: Mapping[str, Mapping[str, Any]],
    sample: int | None,
    repeated: int,
) -> Found:
    """Single judgments in fschat's form (user_prompt, judge, score): agreement, and `repeated` of them asked once more.

    Raises:
        DataError: a judgment by a prompt that is not among `prompts`.
    """
    rated = sample_of([row for row in rows if row["score"] != -1], sample)
    for row in rated:
        if row["judge"][1] not in prompts:
            raise DataError(
                f"a judgment was made with the prompt '{row['judge'][1]}', which the judge prompts do not have."
            )
    asks = [
        Ask((("system", prompts[row["judge"][1]]["system_prompt"]), ("user", row["user_prompt"])), 2048)
        for row in rated
    ]
    readers = [lambda reply, row=row: read_rating(reply.text, [row["user_prompt"]]) for row in rated]
    judged = verdicts(client, asks, readers, "known ratings")
    both = [(one.verdict, row["score"]) for one, row in zip(judged, rated, strict=True) if one.verdict is not None]
    ours, theirs = [float(x) for x, _ in both], [float(y) for _, y in both]
    again = sample_of(range(len(asks)), repeated, seed=1)
    second = verdicts(client, [replace(asks[i], attempt=1) for i in again], [readers[i] for i in again], "once more")
    twice = [(judged[i].verdict, one.verdict) for i, one in zip(again, second, strict=True)]
    twice = [(x, y) for x, y in twice if x is not None and y is not None]
    return {
        "calls": counts(judged).as_dict(),
        "agreement": _plain(trust.agreement_of_ratings(ours, theirs)),
        "consistency": _plain(trust.consistency([x for x, _ in twice], [y for _, y in twice])),
    }


def against_preferences(client: JudgeClient, rows: Sequence[Mapping[str, Any]], sample: int | None) -> Found:
    """Pairs in AlpacaEval's form (instruction, output_1, output_2, preference): both orders are asked.

    `agreement` counts every order by itself, known draws left out; `position` and `length` say what sways the judge.
    """
    decided = sample_of([row for row in rows if row["preference"] in (1, 2)], sample)
    template = (Path(package().__file__).parent / "evaluators_configs" / TEMPLATES[1]).read_text(encoding="utf-8")
    orders = ((1, 2), (2, 1))
    asks = []
    for row in decided:
        for first, second in orders:
            values = {
                "output_1": row[f"output_{first}"],
                "output_2": row[f"output_{second}"],
                "instruction": row["instruction"],
            }
            asks.append(Ask(messages_of(fill(template, values)), SETTINGS[1]["completions_kwargs"]["max_tokens"]))
    judged = verdicts(client, asks, [reader_of(1)] * len(asks), "known preferences")
    games, ours, theirs, outcomes = [], [], [], []
    for number, row in enumerate(decided):
        winners = []
        for (first, second), one in zip(orders, judged[2 * number : 2 * number + 2], strict=True):
            winner = None if one.verdict is None else (first, second)[int(one.verdict) - 1]
            winners.append("error" if winner is None else f"model_{winner}")
            if winner is not None:
                ours.append(winner)
                theirs.append(row["preference"])
        games.append((winners[0], winners[1]))
        if winners[0] == winners[1]:
            outcomes.append((winners[0], len(row["output_1"]), len(row["output_2"])))
    length = trust.length_of_winners(outcomes)
    return {
        "calls": counts(judged).as_dict(),
        "agreement": _plain(trust.agreement_of_choices(ours, theirs)),
        "position": _plain(trust.position(games)),
        "length": length.as_dict() if length else None,
    }


def _plain(estimates: Mapping[str, trust.Estimate | None]) -> Found:
    return {name: estimate.as_dict() if estimate else None for name, estimate in estimates.items()}
