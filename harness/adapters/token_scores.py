"""Vocabulary logits of a network at chosen positions only, and the log-probabilities (nats) of tokens there.

With 250,000 tokens the projection to the vocabulary and its normalisation are most of a small network's time and nearly
all of its memory, so neither runs at a position that nobody asks about. Normalising needs a second tensor of that size;
a new one costs a processor more time than the arithmetic (the system hands out each page of memory anew), so a few
positions at a time go through one that stays.
Shapes: B rows, T positions, M chosen positions, D width, V vocabulary, P pairs of a chosen position and a token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

NORMALISED = {"cpu": 2**18}  # elements that are normalised together: on a processor what its caches hold
NORMALISED_ELSEWHERE = 2**26


def output_head(model: Any) -> nn.Module | None:
    """The module that projects states [B, T, D] to the vocabulary; None where a network has no such module."""
    head = model.get_output_embeddings()
    return head if isinstance(head, nn.Module) and not isinstance(head, nn.Embedding) else None


def logits_at(
    model: Any, head: nn.Module | None, arguments: dict[str, Any], positions: Sequence[tuple[int, int]], width: int
) -> torch.Tensor:
    """Logits [M, V] of `model(**arguments)` at (row, position) pairs of a batch `width` positions wide.

    Only these states reach the `head`; without one, or where it is called on something else than states, or more than once,
    logits of all positions are computed and the rest is dropped. What stands behind a head must treat all positions alike
    (scaling, capping). Positions that the network puts before a row (virtual tokens of a tuned prompt) are counted.
    """
    row_M, position_M = torch.tensor(positions).unbind(1)
    rows, gathered = int(row_M.max()) + 1, []

    def chosen(tensor_BTX: torch.Tensor) -> torch.Tensor:
        before = tensor_BTX.shape[1] - width
        return tensor_BTX[row_M.to(tensor_BTX.device), (position_M + before).to(tensor_BTX.device)]

    def only_chosen(_: nn.Module, inputs: tuple):
        states = inputs[0] if inputs else None
        if torch.is_tensor(states) and states.dim() == 3 and states.shape[0] == rows and states.shape[1] >= width:
            gathered.append(True)
            return (chosen(states).unsqueeze(0), *inputs[1:])
        return None

    hook = head.register_forward_pre_hook(only_chosen) if head is not None else None
    try:
        logits = model(**arguments).logits
    finally:
        if hook is not None:
            hook.remove()
    if not gathered:
        return chosen(logits)
    if len(gathered) > 1 or logits.shape[:2] != (1, len(positions)):  # something behind the head takes all positions
        return chosen(model(**arguments).logits)
    return logits[0]


def token_scores(
    logits_MV: torch.Tensor, tokens_M: Sequence[Sequence[int]], dtype: torch.dtype | None = None
) -> list[tuple[float, bool]]:
    """(log-probability, whether it is the most probable one) of each token asked for at each position, in order [P].

    Args:
        tokens_M: the tokens asked for at each position.
        dtype: what is normalised in; None: as the logits come.

    Of several tokens that are equally probable the first of the vocabulary is the most probable one.
    """
    count, vocabulary = logits_MV.shape
    place = [number for number, tokens in enumerate(tokens_M) for _ in tokens]
    place_P = torch.tensor(place, device=logits_MV.device)
    token_P = torch.tensor([token for tokens in tokens_M for token in tokens], device=logits_MV.device)
    most = NORMALISED.get(logits_MV.device.type, NORMALISED_ELSEWHERE)
    step = min(count, max(1, most // vocabulary, torch.get_num_threads()))
    space = torch.empty((step, vocabulary), dtype=dtype or logits_MV.dtype, device=logits_MV.device)
    found: list[tuple[float, bool]] = []
    for start in range(0, count, step):
        part = logits_MV[start : start + step]
        log_probability = torch.log_softmax(part, -1, dtype=dtype, out=space[: len(part)])
        pairs = slice(bisect_left(place, start), bisect_left(place, start + step))
        found += _read(log_probability, place_P[pairs] - start, token_P[pairs])
    return found


def _read(log_probability_MV: torch.Tensor, place_P: torch.Tensor, token_P: torch.Tensor) -> list[tuple[float, bool]]:
    """`argmax` is several times slower than `amax`: it is asked only where a token reaches the maximum."""
    score_P = log_probability_MV[place_P, token_P]
    best_P = ~(score_P < log_probability_MV.amax(-1)[place_P])
    if best_P.any():
        best_P &= log_probability_MV.argmax(-1)[place_P] == token_P
    return list(zip(score_P.tolist(), best_P.tolist(), strict=True))
