"""What a judge says when it is asked again: the same question once more, or the same two answers in the other order.

Samples are drawn with a seed of their own, so that a second command asks the same ones and finds them in the store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.judges import trust
from harness.judges.alpaca_package import SETTINGS, TEMPLATES, messages_of, package, reader_of
from harness.judges.asking import Judged, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask, Reply
from harness.judges.rubrics import fill

ORDERS = ((1, 2), (2, 1))
DRAW = 1.5  # AlpacaEval's preference where neither output is preferred


def sample_of(rows: Sequence[Any], count: int | None, seed: int = 0) -> list[Any]:
    """`count` rows drawn with a seed of their own (all of them for None), in their order."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), count))]


def consistency_of(
    client: JudgeClient,
    asks: Sequence[Ask],
    readers: Sequence[Callable[[Reply], Any]],
    judged: Sequence[Judged],
    count: int,
    side: Callable[[Any], Any] = lambda verdict: verdict,
) -> dict[str, trust.Estimate | None]:
    """The judge against itself: `count` of its questions asked once more (0: none, and nothing is said).

    side: what of two verdicts has to be equal (the preferred answer, say, where a verdict is a weight).
    """
    chosen = sample_of(range(len(asks)), count, seed=1)
    repeated = [replace(asks[i], attempt=asks[i].attempt + 1) for i in chosen]
    second = verdicts(client, repeated, [readers[i] for i in chosen], "once more")
    both = [(judged[i].verdict, one.verdict) for i, one in zip(chosen, second, strict=True)]
    both = [(x, y) for x, y in both if x is not None and y is not None]
    first, again = [x for x, _ in both], [y for _, y in both]
    equal = trust.consistency([side(x) for x in first], [side(y) for y in again])
    return {"same_verdict": equal["same_verdict"], "distance": trust.consistency(first, again)["distance"]}


def both_orders(
    client: JudgeClient, rows: Sequence[Mapping[str, Any]], version: int = 1
) -> tuple[list[tuple[str, str]], list[Judged]]:
    """Pairs in AlpacaEval's form (instruction, output_1, output_2), asked with either output first.

    Returns the winners ("model_1": output_1; "tie"; "error": unread) with output_1 first and second, and what was judged
    (two per pair). A question that AlpacaEval's own run has asked is in the store.
    """
    template = template_of(version)
    asks = [
        ask_of(template, row["instruction"], row[f"output_{first}"], row[f"output_{second}"], version)
        for row in rows
        for first, second in ORDERS
    ]
    judged = verdicts(client, asks, [reader_of(version)] * len(asks), "both orders")
    winners = [_winner(one.verdict, ORDERS[index % 2]) for index, one in enumerate(judged)]
    return list(zip(winners[::2], winners[1::2], strict=True)), judged


def template_of(version: int) -> str:
    """The package's own prompt."""
    return (Path(package().__file__).parent / "evaluators_configs" / TEMPLATES[version]).read_text(encoding="utf-8")


def ask_of(template: str, instruction: str, first: str, second: str, version: int) -> Ask:
    """AlpacaEval's question, with one output before the other."""
    values = {"instruction": instruction, "output_1": first, "output_2": second}
    settings = SETTINGS[version]["completions_kwargs"]
    return Ask(
        messages_of(fill(template, values)), settings["max_tokens"], settings["temperature"],
        logprobs=settings.get("top_logprobs", 0),
    )  # fmt: skip


def preferred(preference: float) -> int:
    """The output that a preference (1 to 2) is for; 0 for a draw."""
    return 0 if preference == DRAW else 1 + (preference > DRAW)


def _winner(preference: float | None, order: tuple[int, int]) -> str:
    if preference is None:
        return "error"
    place = preferred(preference)
    return f"model_{order[place - 1]}" if place else "tie"
