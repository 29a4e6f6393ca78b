"""Aggregates: over prompts (the xMTF paper's median and what stands beside it) and over answers (pass@k). Pure Python.

A score is (subset, prompt, value): one document under one prompt, value in 0..1, higher is better. First the mean
over documents per (subset, prompt), then one number over a subset's prompts, then the mean over subsets (languages,
subjects), each counted once. Muennighoff et al. 2023: Table 9 is the median over five prompts, Table 1 the mean.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

Score = Sequence  # (subset, prompt, value)


def by_prompt(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """{subset: {prompt: mean over documents}}, in order of appearance."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for subset, prompt, value in scores:
        values[subset][prompt].append(value)
    return {
        subset: {prompt: statistics.fmean(found) for prompt, found in prompts.items()}
        for subset, prompts in values.items()
    }


def _over_subsets(scores: Iterable[Score], reduce: Callable[[list[float]], float]) -> float:
    per_subset = [reduce(list(prompts.values())) for prompts in by_prompt(scores).values()]
    return statistics.fmean(per_subset)


def median_over_prompts(scores: Iterable[Score]) -> float:
    """Mean over subsets of the median over prompts (of an even number: the mean of the middle two)."""
    return _over_subsets(scores, statistics.median)


def mean_over_prompts(scores: Iterable[Score]) -> float:
    """Mean over subsets of the mean over prompts; every prompt counts once, however many documents it rendered."""
    return _over_subsets(scores, statistics.fmean)


def best_prompt(scores: Iterable[Score]) -> float:
    """Mean over subsets of the best prompt: chosen on the test items themselves, hence optimistic."""
    return _over_subsets(scores, max)


def worst_prompt(scores: Iterable[Score]) -> float:
    """Mean over subsets of the worst prompt."""
    return _over_subsets(scores, min)


def mean(values: Iterable[float]) -> float:
    """The mean over documents and prompts. Unlike lm-eval's `mean` it has no standard error: the prompts of one
    document are no independent draws; reports compute errors over documents."""
    return statistics.fmean(values)


def mean_of_known(values: Iterable[float | None]) -> float:
    """The mean of the values that there are (None: an item that has none); NaN, hence absent from a record, of none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else math.nan


def total(values: Iterable[float]) -> float:
    """The sum: for counts of items."""
    return math.fsum(values)


def pass_at_k(scores: Iterable[tuple[str, float]], k: int) -> float:
    """The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, equation 1), mean over problems, in 0..1.

    Of n answers to a problem c pass: 1 − C(n − c, k) / C(n, k), the probability that k drawn answers hold one that passes.

    Raises:
        ValueError: a problem has fewer than k answers.
    """
    answers: dict[str, list[float]] = defaultdict(list)
    for problem, passed in scores:
        answers[problem].append(passed)
    fewest = min(len(found) for found in answers.values())
    if fewest < k:
        raise ValueError(f"pass@{k} needs {k} answers per problem; one problem has {fewest}.")
    per_problem = [_pass_at_k(len(found), round(sum(found)), k) for found in answers.values()]
    return statistics.fmean(per_problem)


def _pass_at_k(n: int, passed: int, k: int) -> float:
    return 1.0 - math.comb(n - passed, k) / math.comb(n, k)


pass_at_1 = functools.partial(pass_at_k, k=1)
pass_at_10 = functools.partial(pass_at_k, k=10)
pass_at_100 = functools.partial(pass_at_k, k=100)
