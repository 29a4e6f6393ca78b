"""In step: a task that the model cannot take ends on all processes at the same call, so that all begin the next one.

Between two such calls lm-eval lets the processes exchange numbers; one that left a task by itself would meet another
exchange than the rest, and all would wait for ever.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

CALLS = ("loglikelihood", "loglikelihood_rolling", "generate_until")  # of a model; of a task: `build_all_requests`


class TaskRefused(RuntimeError):
    """A task does not fit the model or lacks some of its documents; said on all processes."""


@contextlib.contextmanager
def in_step(model: Any) -> Iterator[None]:
    """Inside, a ScoringError, BackboneError or DataError of building requests or of answering them is a TaskRefused.

    It is raised on every process once one of them has met it, with the sentence of the first. Other errors, and those
    of other places, stay what they are.
    """
    from lm_eval.api.task import Task

    built = Task.build_all_requests
    Task.build_all_requests = _agreed(model, built)
    for name in CALLS:
        setattr(model, name, _agreed(model, getattr(model, name)))
    try:
        yield
    finally:
        Task.build_all_requests = built
        for name in CALLS:
            delattr(model, name)


def _agreed(model: Any, call: Callable) -> Callable:
    """`call`, after which all processes know whether one of them was refused."""
    from harness.backbones import BackboneError
    from harness.mirror import DataError
    from harness.rows import ScoringError

    @functools.wraps(call)
    def together(*arguments: Any, **named: Any) -> Any:
        result, refusal = None, None
        try:
            result = call(*arguments, **named)
        except (ScoringError, BackboneError, DataError) as error:
            refusal = error
        for reason in _of_all(model, refusal):
            if reason is not None:
                raise TaskRefused(reason) from refusal
        return result

    return together


def _of_all(model: Any, refusal: Exception | None) -> list[str | None]:
    """Each process's reason in one line, by rank; None where there is none."""
    own = None if refusal is None else " ".join(str(refusal).split())
    if model.world_size == 1:
        return [own]
    import torch.distributed

    reasons: list[str | None] = [None] * model.world_size
    torch.distributed.all_gather_object(reasons, own)
    return reasons
