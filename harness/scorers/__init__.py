"""Scorers: estimators of log p(target | prompt) for masked LMs. A new one is one file and one line here.

A scorer is a coroutine over rows: it yields the rows it needs, receives their values, and returns a `Scored`; so
one-shot estimators and chains share one queue. Every score says what it is: `exact` (a normalised likelihood of
the stated procedure), `bound` (of the any-order likelihood, from below), `pseudo` (no probability of the target).
Shapes: N rows of one target, L target positions, R independent replicates, C cells of a sampling plan.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from harness.config import unknown
from harness.records import Kind
from harness.rows import Rows, Values

SCORERS = {
    "any_order": "harness.scorers.any_order:AnyOrder",
    "confidence_chain": "harness.scorers.chain:ConfidenceChain",
    "left_to_right": "harness.scorers.chain:LeftToRight",
    "one_pass": "harness.scorers.pseudo_likelihood:OnePass",
    "pll": "harness.scorers.pseudo_likelihood:PseudoLogLikelihood",
    "pll_word_l2r": "harness.scorers.pseudo_likelihood:WordPseudoLogLikelihood",
}
COMPAT = {
    "llada": "harness.scorers.compat:Llada",
    "dream": "harness.scorers.compat:Dream",
    "max_beam": "harness.scorers.compat:MaxBeam",
}
NO_COMPAT = "none"
VERSION = 2  # of the formulas: part of every stored answer's key; raise it when a score of any scorer changes


@dataclass(frozen=True)
class Item:
    """A target to be scored after a prompt (token ids).

    question: which choices belong together; they get the same masks. Without one, the prompt stands for it.
    words: number of the word that each target token belongs to, for scorers that need it.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    question: str = ""
    words: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What masks are drawn for."""
        return self.question or hashlib.sha256(repr(self.prompt).encode()).hexdigest()


@dataclass(frozen=True)
class Scored:
    """log p in nats (higher is better); `stderr` of the estimator in nats (0 where exact); rows asked for.

    `greedy`: the target is what the scorer's own procedure writes by argmax (for estimators without a procedure of
    their own: one parallel pass). `draws_RC`: independent replicates of each cell of the sampling plan, in nats; the
    estimate's random part is the sum over C of the means over R, so choices with the same masks can be compared in pairs.
    """

    logprob: float
    stderr: float
    greedy: bool
    rows: int
    kind: Kind
    draws_RC: np.ndarray | None = field(default=None, compare=False, repr=False)


Steps = Generator[Rows, Values, Scored]


class Scorer(Protocol):
    """`kind` of its estimate in general, and the coroutine that scores one item."""

    kind: Kind

    def steps(self, item: Item) -> Steps:
        """Yields rows, receives their values, returns the score."""
        ...


def make_scorer(name: str, *, rows: int, seed: int, compat: str = NO_COMPAT) -> Scorer:
    """The scorer called `name` with its row budget and seed; `compat` takes a published estimator instead.

    Raises:
        ValueError: unknown name (the known ones are listed) or a budget below 1.
    """
    if name not in SCORERS:
        raise ValueError(unknown("scorer", name, list(SCORERS)))
    if compat not in (NO_COMPAT, *COMPAT):
        raise ValueError(unknown("compat estimator", compat, [NO_COMPAT, *COMPAT]))
    if rows < 1:
        raise ValueError(f"rows={rows}: the row budget of a choice must be at least 1.")
    module, _, attribute = (SCORERS[name] if compat == NO_COMPAT else COMPAT[compat]).partition(":")
    return getattr(importlib.import_module(module), attribute)(rows=rows, seed=seed)


def rows_of(item: Item, hidden_NL: np.ndarray, wanted_NL: np.ndarray | None = None, ranked: int = 0) -> Rows:
    """Rows in which `hidden_NL` is masked; all hidden positions are asked for unless `wanted_NL` says fewer."""
    target_L = np.asarray(item.target, np.int64)
    return Rows(item.prompt, target_L, hidden_NL, hidden_NL if wanted_NL is None else wanted_NL, ranked)
