"""How far a judge can be trusted: intervals, position, repetition, length, agreement with other judges.

Intervals are 95 %: Student's t for means, Wilson's for shares, Fisher's z with Bonett and Wright's variance (2000) for
rank correlations, percentile bootstrap (seeded, 2,000 resamples) for Cohen's kappa. Higher is not always better: see each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over n items; low and high are None where the items cannot say."""

    value: float
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        span = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{span} (n = {self.n})"


def plain(estimates: Mapping[str, Estimate | None]) -> dict[str, dict[str, Any] | None]:
    """Named estimates as plain data."""
    return {name: estimate.as_dict() if estimate else None for name, estimate in estimates.items()}


def mean_of(values: Sequence[float]) -> Estimate | None:
    """Mean with Student's interval; None of nothing."""
    from scipy import stats

    n = len(values)
    if not n:
        return None
    mean = float(np.mean(values))
    if n < 2 or len(set(values)) == 1:  # equal values say nothing of their spread
        return Estimate(mean, None, None, n)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def share_of(hits: int, n: int) -> Estimate | None:
    """Share with Wilson's interval; None of nothing."""
    from scipy import stats

    if not n:
        return None
    interval = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> Estimate | None:
    """Spearman's rho; None where it does not exist (fewer than 4 items, or one side constant)."""
    from scipy import stats

    n = len(xs)
    if n < 4 or len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    rho = float(np.asarray(stats.spearmanr(xs, ys))[0])
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    z = math.atanh(max(-0.999999, min(0.999999, rho)))
    return Estimate(rho, math.tanh(z - half), math.tanh(z + half), n)


def kappa_of(ours: Sequence[object], theirs: Sequence[object], seed: int = 0) -> Estimate | None:
    """Cohen's kappa of two series of labels; None of nothing, or where chance agreement is certain."""
    labels = {label: number for number, label in enumerate(sorted(set(ours) | set(theirs), key=str))}
    a, b = (np.array([labels[label] for label in side], dtype=int) for side in (ours, theirs))
    value = _kappa(a, b, len(labels)) if len(a) else math.nan
    if math.isnan(value):
        return None
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(a), size=(RESAMPLES, len(a)))
    values = [v for v in (_kappa(a[d], b[d], len(labels)) for d in draws) if not math.isnan(v)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(a) > 1 and values else (None, None)
    return Estimate(value, None if low is None else float(low), None if high is None else float(high), len(a))


def _kappa(a: np.ndarray, b: np.ndarray, labels: int) -> float:
    observed = float(np.mean(a == b))
    chance = float(np.bincount(a, minlength=labels) @ np.bincount(b, minlength=labels)) / len(a) ** 2
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan


def position(games: Sequence[tuple[str, str]]) -> dict[str, Estimate | None]:
    """Of matches played in both orders, as (winner, winner) in terms of the models: `disagreement` = share whose winner
    changes with the order; `first_favoured` = of these, where the judge took a side both times, the share that went to
    the answer shown first (0.5: no preference). Matches with an "error" are left out."""
    read = [game for game in games if "error" not in game]
    changed = [game for game in read if game[0] != game[1]]
    sided = [game for game in changed if "tie" not in game]
    return {
        "disagreement": share_of(len(changed), len(read)),
        "first_favoured": share_of(sum(game == ("model_1", "model_2") for game in sided), len(sided)),
    }


def consistency(first: Sequence[float | str], again: Sequence[float | str]) -> dict[str, Estimate | None]:
    """A judge against itself on the same questions: share of equal verdicts, and mean distance of ratings."""
    pairs = list(zip(first, again, strict=True))
    distances = [abs(float(x) - float(y)) for x, y in pairs if not isinstance(x, str) and not isinstance(y, str)]
    return {"same_verdict": share_of(sum(x == y for x, y in pairs), len(pairs)), "distance": mean_of(distances)}


def length_of_ratings(ratings: Sequence[float], lengths: Sequence[int]) -> Estimate | None:
    """Rank correlation of ratings with the answers' lengths in characters (0: none; quality may itself grow with length)."""
    return rank_correlation(list(ratings), [float(n) for n in lengths])


def length_of_winners(outcomes: Sequence[tuple[str, int, int]]) -> Estimate | None:
    """Of decided matches (winner, characters of model_1's answer, of model_2's), the share won by the longer answer."""
    decided = [(w == "model_1") == (a > b) for w, a, b in outcomes if w in ("model_1", "model_2") and a != b]
    return share_of(sum(decided), len(decided))


def agreement_of_ratings(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Estimate | None]:
    """Two judges' ratings of the same answers: rank correlation, equal, at most one apart, mean difference (ours − theirs)."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "rank_correlation": rank_correlation(ours, theirs),
        "equal": share_of(sum(x == y for x, y in pairs), len(pairs)),
        "within_one": share_of(sum(abs(x - y) <= 1 for x, y in pairs), len(pairs)),
        "difference": mean_of([x - y for x, y in pairs]),
    }


def agreement_of_choices(ours: Sequence[object], theirs: Sequence[object]) -> dict[str, Estimate | None]:
    """Two judges' choices on the same pairs: share of equal ones, and Cohen's kappa."""
    equal = sum(x == y for x, y in zip(ours, theirs, strict=True))
    return {"equal": share_of(equal, len(ours)), "kappa": kappa_of(ours, theirs)}
