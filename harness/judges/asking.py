"""Asking for verdicts: every question once, malformed ones a second time, and what remains unread is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask, Reply

REASK = 1_000_000  # added to `attempt` of a question that is put again because its verdict was malformed


@dataclass(frozen=True)
class Judged:
    """A question's last reply and the verdict read from it; None = malformed or refused: unscored, never a number."""

    reply: Reply
    verdict: Any
    asked_again: bool


@dataclass(frozen=True)
class Counts:
    """Of `judged` questions: how many have a verdict, how many were asked a second time, how many were refused."""

    judged: int
    scored: int
    unscored: int
    asked_again: int
    refused: int

    def as_dict(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)


def verdicts(
    client: JudgeClient, asks: Sequence[Ask], readers: Sequence[Callable[[Reply], Any]], what: str
) -> list[Judged]:
    """Verdicts in order; readers[i] reads a reply to asks[i], or returns None."""
    first = client.replies(asks, what)
    read = [reader(reply) if reply.refused is None else None for reader, reply in zip(readers, first, strict=True)]
    again = [
        i
        for i, (reply, verdict) in enumerate(zip(first, read, strict=True))
        if verdict is None and reply.refused is None
    ]
    second = client.replies([replace(asks[i], attempt=asks[i].attempt + REASK) for i in again], f"{what}, once more")
    judged = [Judged(reply, verdict, False) for reply, verdict in zip(first, read, strict=True)]
    for i, reply in zip(again, second, strict=True):
        judged[i] = Judged(reply, readers[i](reply) if reply.refused is None else None, True)
    return judged


def counts(judged: Sequence[Judged]) -> Counts:
    """How many were read, and how many were not."""
    scored = sum(one.verdict is not None for one in judged)
    return Counts(
        judged=len(judged),
        scored=scored,
        unscored=len(judged) - scored,
        asked_again=sum(one.asked_again for one in judged),
        refused=sum(one.reply.refused is not None for one in judged),
    )
