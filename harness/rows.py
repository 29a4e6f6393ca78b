"""One queue of rows over all requests: each distinct (prompt, canvas) is computed once, packed by length.

A row asks for log p(token | prompt, canvas) at some positions of the target. Rows of all requests go into one
queue, equal (prompt, canvas) pairs share one forward pass, passes are packed by length, and values are scattered
back. Log-sum-exp runs in float32; a row's value does not depend on what else is in its batch beyond float32
rounding of the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.backbones import MaskedBackbone

TOKENS_PER_PASS = 16384


@dataclass(frozen=True)
class Row:
    """Target `canvas` (ids, mask id where hidden) after `prompt`; `wanted` = target positions, `tokens` their ids."""

    prompt: tuple[int, ...]
    canvas: tuple[int, ...]
    wanted: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class RowResult:
    """Per wanted position: log-probability of the token (nats, float64), and whether it was the argmax."""

    logprob: np.ndarray
    argmax: np.ndarray


class ScoringError(RuntimeError):
    """The network gave no usable number (NaN or infinite logits), or a row does not fit."""


class RowEngine:
    """Runs rows through a backbone.

    Args:
        batch_size: rows per forward pass; None packs up to `TOKENS_PER_PASS` tokens and halves on out-of-memory.
        progress: called with the number of rows finished.
    """

    def __init__(self, backbone: MaskedBackbone, batch_size: int | None = None):
        self.backbone, self.batch_size = backbone, batch_size
        self.tokens_per_pass = TOKENS_PER_PASS
        self.rows_computed = 0

    def run(self, rows: Sequence[Row], progress: Callable[[int], object] | None = None) -> list[RowResult]:
        """Values of all rows, in the order given; `progress` is called with the number of passes' rows done."""
        shared: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for index, row in enumerate(rows):
            shared.setdefault((row.prompt, row.canvas), []).append(index)
        keys = sorted(shared, key=lambda key: -(len(key[0]) + len(key[1])))
        results: list[RowResult | None] = [None] * len(rows)
        start = 0
        while start < len(keys):
            chunk = keys[start : start + self._rows_at_once(len(keys[start][0]) + len(keys[start][1]))]
            try:
                self._forward(chunk, shared, rows, results)
            except torch.OutOfMemoryError:
                if len(chunk) == 1:
                    raise
                if self.batch_size is None:
                    self.tokens_per_pass = max(1, self.tokens_per_pass // 2)
                else:
                    self.batch_size = max(1, len(chunk) // 2)
                continue
            start += len(chunk)
            self.rows_computed += len(chunk)
            if progress is not None:
                progress(sum(len(shared[key]) for key in chunk))
        return results  # type: ignore[return-value]

    def _rows_at_once(self, length: int) -> int:
        return self.batch_size or max(1, self.tokens_per_pass // (length + self.backbone.layout.overhead))

    @torch.inference_mode()
    def _forward(self, keys: list, shared: dict, rows: Sequence[Row], results: list) -> None:
        backbone = self.backbone
        canvas = backbone.layout.pack(keys, backbone.ids)
        starts = canvas.target_BT.long().argmax(1)
        owner, flat_row, flat_position, flat_token = [], [], [], []
        for place, key in enumerate(keys):
            for index in shared[key]:
                row = rows[index]
                owner.append((index, len(row.wanted)))
                flat_row += [place] * len(row.wanted)
                flat_position += row.wanted
                flat_token += row.tokens
        row_M = torch.tensor(flat_row)
        position_M = torch.tensor(flat_position) + starts[row_M]
        needed_BT = torch.zeros_like(canvas.target_BT)
        needed_BT[row_M, position_M] = True
        slot_BT = (needed_BT.flatten().cumsum(0) - 1).view(needed_BT.shape)
        slot_M = slot_BT[row_M, position_M].to(backbone.device)
        canvas = canvas.to(backbone.device)
        logits = backbone.logits_at(backbone.hidden(canvas), needed_BT.to(backbone.device)).float()
        total, best = logits.logsumexp(-1), logits.argmax(-1)
        token_M = torch.tensor(flat_token, device=logits.device)
        logprob = (logits[slot_M, token_M] - total[slot_M]).double().cpu().numpy()
        greedy = (best[slot_M] == token_M).cpu().numpy()
        if not np.isfinite(logprob).all():
            raise ScoringError(
                "the network gave NaN or infinite logits: its weights or its dtype are broken; nothing was scored."
            )
        at = 0
        for index, count in owner:
            results[index] = RowResult(logprob[at : at + count], greedy[at : at + count])
            at += count
