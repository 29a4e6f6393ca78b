"""One progress bar for every stage: a tqdm bar on a terminal, a line now and then in a log.

Several stages run side by side under `make`, where bars would overwrite each other; with ANYORDER_LINES=1, or
when the output is no terminal, the same bar is printed as a line about every ten seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


class _Lines:
    """A text stream that turns tqdm's carriage returns into lines."""

    def write(self, text: str) -> int:
        text = text.replace("\r", "").strip()
        return sys.stderr.write(text + "\n") if text else 0

    def flush(self) -> None:
        sys.stderr.flush()


def bar(
    items: Iterable[Any] | None = None, *, total: int | None = None, what: str, unit: str = "it", quiet: bool = False
) -> tqdm:
    """A tqdm bar over `items` (or a manual one of `total`), with time left; `what` names the stage."""
    lines = os.environ.get("ANYORDER_LINES") == "1" or not sys.stderr.isatty()
    if not lines:
        return tqdm(items, total=total, desc=what, unit=unit, disable=quiet, dynamic_ncols=True)
    form = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"
    return tqdm(
        items, total=total, desc=what, unit=unit, disable=quiet, file=_Lines(), mininterval=10, maxinterval=60,
        bar_format=form, miniters=1 if total is None else None,
    )  # fmt: skip
