"""Scales: what a metric's number means, by the metric's name. Pure Python.

lm-eval and we give shares (accuracy, exact match, F1, ROUGE, pass@k, …) in 0..1. The names below are what is known to be
none: BLEU 0.9 of 100 is no share of 0.9. Some of lm-eval's own tasks give 0..100 under a share's name (squad's `f1`): what is
above 1 is no share under any name.
"""

from __future__ import annotations

import re

COUNT = re.compile(r"n_.+")  # n_skipped, n_unidentified
_NO_SHARE = re.compile(
    r"(?:bleu|chrf|ter)(?:_(?!acc$).+)?"  # 0..100 already; bleu_acc is truthfulqa_gen's share of questions
    r"|rouge[12L]_(?:max|diff)|eqbench|percent_parseable"  # of lm-eval's own tasks: 0..100 already
    r"|characters|sample_len"  # lengths
    r"|(?:.+_)?perplexity|bits_per_byte|likelihood_diff"  # of log-probabilities
)


def is_count(metric: str) -> bool:
    """Whether the metric is a number of items."""
    return COUNT.fullmatch(metric) is not None


def is_share(metric: str) -> bool:
    """Whether the metric is a share in 0..1, which people read in per cent."""
    return not is_count(metric) and _NO_SHARE.fullmatch(metric) is None


def shown(value: float, metric: str) -> str:
    """The number as a table has it: a share in per cent, a count whole, anything else as it is."""
    if is_count(metric):
        return f"{value:.0f}"
    return f"{100 * value:.1f}" if is_share(metric) and 0 <= value <= 1 else f"{value:.2f}"
