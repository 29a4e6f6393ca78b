"""A judge against other judges: it grades again what people or GPT-4 graded, once more for itself, and in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.judges import trust
from harness.judges.again import both_orders, consistency_of, sample_of
from harness.judges.asking import counts, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask
from harness.judges.verdicts import read_rating
from harness.mirror import DataError

Found = dict[str, Any]


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
    return {
        "calls": counts(judged).as_dict(),
        "agreement": trust.plain(trust.agreement_of_ratings(ours, theirs)),
        "consistency": trust.plain(consistency_of(client, asks, readers, judged, repeated)),
    }


def against_preferences(client: JudgeClient, rows: Sequence[Mapping[str, Any]], sample: int | None) -> Found:
    """Pairs in AlpacaEval's form (instruction, output_1, output_2, preference): both orders are asked.

    `agreement` counts every order by itself, known draws left out; `position` and `length` say what sways the judge.
    """
    decided = sample_of([row for row in rows if row["preference"] in (1, 2)], sample)
    games, judged = both_orders(client, decided)
    ours, theirs, outcomes = [], [], []
    for row, game in zip(decided, games, strict=True):
        for winner in game:
            if winner != "error":
                ours.append(int(winner.removeprefix("model_")))
                theirs.append(row["preference"])
        if game[0] == game[1]:
            outcomes.append((game[0], len(row["output_1"]), len(row["output_2"])))
    length = trust.length_of_winners(outcomes)
    return {
        "calls": counts(judged).as_dict(),
        "agreement": trust.plain(trust.agreement_of_choices(ours, theirs)),
        "position": trust.plain(trust.position(games)),
        "length": length.as_dict() if length else None,
    }
