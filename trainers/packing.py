"""Packed rows: several examples share one row of the network, and each sees itself alone (block-diagonal attention).

Batches, noise, weights and losses are those of loose rows, one example each; `pack_B` says in which packed row an example
lies, and only the network reads them packed. As in xMTF's training (facts A5) examples fill rows greedily in order, none is
cut. Positions restart with every example, and with them BLOOM's ALiBi biases: those of a long row's end are so large that
bfloat16 would round the scores beside them away. T5's relative ones depend on distances alone. The mask is given whole,
but to flash attention under a decoder: it finds the examples' edges by the restarting positions, and only where all
examples stand in one row.
Shapes: B examples, T tokens, P packed rows, W tokens of a packed row, M places asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas, PackedCanvas
from harness.config import ConfigError
from harness.windows import lost_windows


def fill(order: Iterable[int], lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indices in their order, as rows of at most `room` tokens; an example longer than a row is left out."""
    kept = np.array([index for index in order if lengths[index] <= room], dtype=np.int64)
    ends = row_ends(np.array([lengths[index] for index in kept], dtype=np.int64), room).tolist()
    return [kept[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]


def row_ends(length_N: np.ndarray, room: int) -> np.ndarray:
    """Where each row ends [R] when examples of at most `room` tokens fill rows in turn, each as far as the next one fits."""
    total_N, ends, end = np.cumsum(length_N, dtype=np.int64), array("q"), 0
    while end < len(total_N):
        before = int(total_N[end - 1]) if end else 0
        end = int(np.searchsorted(total_N, before + room, side="right"))
        ends.append(end)
    return np.frombuffer(ends, dtype=np.int64)


@dataclass(frozen=True)
class Packing:
    """Where the real tokens of loose rows stand in packed ones; their order is the same in both.

    real_BT and filled_PW mark them (bool), segment_PW is the number of each one's example, from 1 (0 on padding).
    """

    real_BT: torch.Tensor
    filled_PW: torch.Tensor
    segment_PW: torch.Tensor

    @classmethod
    def of(cls, attend_BT: torch.Tensor, pack_B: torch.Tensor) -> Packing:
        """The packing of rows whose real tokens are attended to; neighbours with the same pack_B share a row."""
        real_BT, device = attend_BT.bool(), attend_BT.device
        row_B = torch.unique_consecutive(pack_B, return_inverse=True)[1]
        total_P = torch.zeros(int(row_B[-1]) + 1, dtype=torch.long, device=device).index_add_(0, row_B, real_BT.sum(1))
        filled_PW = torch.arange(int(total_P.max()), device=device) < total_P.unsqueeze(1)
        packing = cls(real_BT, filled_PW, filled_PW.long())
        number_BT = torch.arange(1, len(real_BT) + 1, device=device).unsqueeze(1).expand(real_BT.shape)
        return cls(real_BT, filled_PW, packing.pack(number_BT))

    def pack(self, values_BT: torch.Tensor, empty: float = 0) -> torch.Tensor:
        """Values of the tokens, in packed rows."""
        values_PW = torch.full(self.filled_PW.shape, empty, dtype=values_BT.dtype, device=values_BT.device)
        values_PW[self.filled_PW] = values_BT[self.real_BT]
        return values_PW

    def unpack(self, states_PWD: torch.Tensor) -> torch.Tensor:
        """States [B, T, D] of loose rows, 0 on padding."""
        states_BTD = states_PWD.new_zeros((*self.real_BT.shape, states_PWD.shape[-1]))
        return states_BTD.index_put((self.real_BT,), states_PWD[self.filled_PW])

    def positions_PW(self) -> torch.Tensor:
        """Places in the examples' own rows, from 0."""
        return self.pack(torch.arange(self.real_BT.shape[1], device=self.real_BT.device).expand(self.real_BT.shape))

    def mask(self, keys: Packing, dtype: torch.dtype, causal: bool = False) -> torch.Tensor:
        """[P, 1, W, W']: 0 where a query sees a key (of its own example; `causal`: not a later one), else the smallest number."""
        seen_PWW = self.segment_PW.unsqueeze(2) == keys.segment_PW.unsqueeze(1)
        if causal:
            seen_PWW = seen_PWW & torch.ones_like(seen_PWW).tril()
        return torch.zeros_like(seen_PWW, dtype=dtype).masked_fill(~seen_PWW, torch.finfo(dtype).min).unsqueeze(1)


def check_packable(config: Any) -> None:
    """ConfigError for a network whose sliding windows the mask of packed rows would replace."""
    if lost := lost_windows(config):
        raise ConfigError(f"training.packing: {lost}: remove packing.")


def is_flash(config: Any) -> bool:
    """Whether a network of this configuration computes flash attention, which takes no mask of ours."""
    return "flash" in str(getattr(config, "_attn_implementation", None))


def states_at(network: Any, batch: dict[str, torch.Tensor], at_BT: torch.Tensor) -> torch.Tensor:
    """Final hidden states [M, D] of a decoder at the true entries of at_BT, row by row."""
    arguments = {"input_ids": batch["tokens_BT"], "attention_mask": batch["attend_BT"], "use_cache": False}
    if "pack_B" not in batch:
        return network.base_model(**arguments)[0][at_BT]
    flash = is_flash(network.config)
    packing = Packing.of(batch["attend_BT"], torch.zeros_like(batch["pack_B"]) if flash else batch["pack_B"])
    arguments["input_ids"], positions_PW = packing.pack(batch["tokens_BT"]), packing.positions_PW()
    arguments["attention_mask"] = None if flash else packing.mask(packing, network.dtype, causal=True)
    if network.config.model_type == "bloom":
        with _restarting_alibi(network.base_model, positions_PW):
            states_PWD = network.base_model(**arguments)[0]
    else:
        states_PWD = network.base_model(**arguments, position_ids=positions_PW)[0]
    return states_PWD[packing.pack(at_BT)]


class Reading:
    """A masked LM's reading of canvases, loose or packed: logits and states by the places of the loose rows."""

    def __init__(self, network: MaskedBackbone, canvas: Canvas, pack_B: torch.Tensor | None):
        self.network, self.packing = network, None
        if pack_B is not None:
            self.packing = Packing.of(canvas.attend_BT, pack_B)
            rows = {name: self.packing.pack(getattr(canvas, name)) for name in Canvas.__dataclass_fields__}
            canvas = PackedCanvas(**rows, segment_BT=self.packing.segment_PW)
        self._states = network.hidden(canvas)

    def logits_at(self, at_BT: torch.Tensor) -> torch.Tensor:
        """Vocabulary logits [M, V] at the true entries, row by row."""
        return self.network.logits_at(self._states, at_BT if self.packing is None else self.packing.pack(at_BT))

    def states_BTD(self) -> torch.Tensor:
        """Final states in loose rows."""
        return self._states if self.packing is None else self.packing.unpack(self._states)


@contextmanager
def _restarting_alibi(network: Any, positions_PW: torch.Tensor) -> Iterator[None]:
    """BLOOM's biases [P·heads, 1, W] by the places in the examples' own rows; by itself it counts through the packed row."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    def restarting(attention_mask: torch.Tensor, num_heads: int, dtype: torch.dtype) -> torch.Tensor:
        counted_1T = torch.ones_like(positions_PW[:1])
        bias_HT = build_alibi_tensor(counted_1T, num_heads, dtype).squeeze(1)
        return bias_HT[:, positions_PW].transpose(0, 1).flatten(0, 1).unsqueeze(1)

    network.build_alibi_tensor = restarting
    try:
        yield
    finally:
        del network.build_alibi_tensor
