"""What MT-Bench judgments say of each model: means, wins, unscored ones, position and length, with intervals.

`KNOWN_WRONG_REFERENCES` are published references that are wrong in at least one turn (FastChat, PR 3158).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.judges import trust

if TYPE_CHECKING:
    from harness.judges.mt_bench import Bench

KNOWN_WRONG_REFERENCES = frozenset((104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130))


def summary_of_ratings(bench: Bench, rows: Sequence[dict[str, Any]], said: Mapping[str, Any]) -> dict[str, Any]:
    """Per model: mean ratings (both turns, each turn, each category), unscored, and ratings against length."""
    category = {q["question_id"]: q["category"] for q in bench.questions}
    models: dict[str, Any] = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == name]
        scored = [row for row in mine if row["score"] != -1]
        sound = [row for row in scored if not (bench.published and row["question_id"] in KNOWN_WRONG_REFERENCES)]
        lengths = [len(said[name][row["question_id"]]["choices"][0]["turns"][row["turn"] - 1]) for row in scored]
        models[name] = {
            "judged": len(mine),
            "unscored": len(mine) - len(scored),
            "average": _by_question(scored),
            "first_turn": _by_question([row for row in scored if row["turn"] == 1]),
            "second_turn": _by_question([row for row in scored if row["turn"] == 2]),
            "without_wrong_references": _by_question(sound),
            "categories": {
                one: _by_question([row for row in scored if category[row["question_id"]] == one])
                for one in dict.fromkeys(category.values())
            },
            "length": _plain(trust.length_of_ratings([row["score"] for row in scored], lengths)),
        }
    return {"models": models}


def _by_question(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean of all ratings, as fschat has it; its interval from the questions' sums, as two turns of one are no two draws."""
    import numpy as np
    from scipy import stats

    if not rows:
        return None
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault(row["question_id"], []).append(row["score"])
    mean = sum(sum(group) for group in groups.values()) / len(rows)
    n = len(groups)
    if n < 2 or len({row["score"] for row in rows}) == 1:
        return trust.Estimate(mean, None, None, n).as_dict()
    off = np.array([sum(group) - mean * len(group) for group in groups.values()])
    error = float(np.sqrt(n / (n - 1) * (off**2).sum())) / len(rows)  # ratio estimator, linearised
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return trust.Estimate(mean, mean - half, mean + half, n).as_dict()


def summary_of_pairs(bench: Bench, rows: Sequence[dict[str, Any]], said: Mapping[str, Any]) -> dict[str, Any]:
    """Per model: wins, losses, ties by fschat's rule (ties where the orders disagree); position and length over all."""
    models: dict[str, Any] = {}
    outcomes = []
    for row in rows:
        games = (row["g1_winner"], row["g2_winner"])
        lengths = [_characters(said, row, side) for side in ("model_1", "model_2")]
        winner = games[0] if games[0] == games[1] else "tie"
        for side in ("model_1", "model_2"):
            tally = models.setdefault(row[side], {"wins": 0, "losses": 0, "ties": 0, "unscored": 0})
            other = "model_2" if side == "model_1" else "model_1"
            result = "unscored" if "error" in games else {side: "wins", other: "losses"}.get(winner, "ties")
            tally[result] += 1
        if "error" not in games:
            outcomes.append((winner, *lengths))
    for tally in models.values():
        played = tally["wins"] + tally["losses"] + tally["ties"]
        points = [1.0] * tally["wins"] + [0.5] * tally["ties"] + [0.0] * tally["losses"]
        tally["win_rate_adjusted"] = _plain(trust.mean_of(points)) if played else None
    games_all = [(row["g1_winner"], row["g2_winner"]) for row in rows]
    return {
        "models": models,
        "position": {name: _plain(value) for name, value in trust.position(games_all).items()},
        "length": _plain(trust.length_of_winners(outcomes)),
    }


def _characters(said: Mapping[str, Any], row: Mapping[str, Any], side: str) -> int:
    return len(said[row[side]][row["question_id"]]["choices"][0]["turns"][row["turn"] - 1])


def _plain(estimate: trust.Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.as_dict()
