"""An estimator: which scorer with which settings, asked for many items at once; and how sure a question's answer is.

*Racing* (off by default): sampled scores first get a quarter of the rows; questions whose best choice leads every other
by more than three standard errors of the difference keep them, the others are scored with the whole budget. The
decision and the final estimate of a contested question use different masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scipy.special import stdtr

from harness.rows import RowEngine
from harness.scorers import NO_COMPAT, Item, Scored, Scorer, make_scorer
from harness.scorers.any_order import ALWAYS_EXACT, variance_of
from harness.scorers.queue import Finished, score_all

LEAD = 3.0  # standard errors by which a race is won
HEAT = 4  # the first heat gets 1/HEAT of the rows


@dataclass(frozen=True)
class Estimator:
    """scorer, row budget per choice, seed of masks, `compat` (a published estimator instead), `racing`."""

    scorer: str = "any_order"
    rows: int = 32
    seed: int = 1234
    compat: str = NO_COMPAT
    racing: bool = False

    def __post_init__(self):
        self.make()
        if self.racing and (self.compat != NO_COMPAT or self.scorer != "any_order"):
            raise ValueError(
                "racing=true works with scorer=any_order and without compat=: only there rows are sampled."
            )

    def make(self, rows: int | None = None, seed: int | None = None) -> Scorer:
        """The scorer itself; ValueError names what is unknown."""
        return make_scorer(
            self.scorer, rows=rows or self.rows, seed=self.seed if seed is None else seed, compat=self.compat
        )

    def settings(self) -> dict[str, str | int | bool]:
        """Plain data, for keys and records."""
        return asdict(self)

    def score(self, items: Sequence[Item], engine: RowEngine, finished: Finished | None = None) -> list[Scored]:
        """Scores of all items, in order; `finished` hears of (index, score) as soon as they are final."""
        if not self.racing:
            return score_all(self.make(), items, engine, finished)
        sampled = {i for i, item in enumerate(items) if self._sampled(item)}
        scored: dict[int, Scored] = {}

        def heat(indices: Sequence[int], scorer: Scorer) -> None:
            scored.update(zip(indices, score_all(scorer, [items[i] for i in indices], engine), strict=True))

        heat([i for i in range(len(items)) if i not in sampled], self.make())
        heat(sorted(sampled), self.make(rows=max(1, self.rows // HEAT), seed=self.seed + 1))
        open_ = [i for group in questions(items) if not _won(items, scored, group) for i in group if i in sampled]
        heat(open_, self.make())
        if finished is not None:
            finished(sorted(scored.items()))
        return [scored[i] for i in range(len(items))]

    def _sampled(self, item: Item) -> bool:
        length = len(item.target)
        return length > ALWAYS_EXACT and 2**length - 1 > self.rows


def questions(items: Sequence[Item]) -> list[list[int]]:
    """Indices of the items of each question, in order of appearance."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.key, []).append(index)
    return list(groups.values())


def _won(items: Sequence[Item], scored: dict[int, Scored], group: list[int]) -> bool:
    scores = [(len(items[i].target), scored[i]) for i in group]
    best = max(scores, key=lambda score: score[1].logprob)
    others = [score for score in scores if score is not best]
    return bool(others) and all(
        best[1].logprob - other[1].logprob > LEAD * difference_stderr(best, other)[0] for other in others
    )


def difference_stderr(a: tuple[int, Scored], b: tuple[int, Scored]) -> tuple[float, int]:
    """Standard error of the difference of two choices' scores (target length, score), and its degrees of freedom.

    Choices of equal length have the same masks: their replicates are compared in pairs.
    """
    draws = [score.draws_RC for _, score in (a, b) if score.draws_RC is not None]
    freedom = min((d.shape[1] * (len(d) - 1) for d in draws), default=1)
    if len(draws) == 2 and a[0] == b[0] and draws[0].shape == draws[1].shape:
        return variance_of(draws[0] - draws[1]) ** 0.5, freedom
    return (a[1].stderr ** 2 + b[1].stderr ** 2) ** 0.5, freedom


def flip_probability(scores: Sequence[tuple[int, Scored]]) -> float:
    """Probability that exact scores would choose another answer than these (target length, score) pairs do.

    Sum over the other choices of P(t < −difference / standard error), at most 1: an upper bound for more than two.
    """
    best = max(scores, key=lambda score: score[1].logprob)
    total = 0.0
    for other in scores:
        if other is not best:
            stderr, freedom = difference_stderr(best, other)
            lead = best[1].logprob - other[1].logprob
            total += float(stdtr(freedom, -lead / stderr)) if stderr > 0 else 0.0
    return min(1.0, total)
