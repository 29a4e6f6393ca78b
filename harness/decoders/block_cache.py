"""Block-wise cache of keys and values for models whose prompt sees the answer (Fast-dLLM, arXiv 2505.22618, §3.2).

1. When a row begins a block, one pass over its whole canvas records the keys and values of every position and layer.
2. Its further passes within the block compute a segment only: the block ("dual") or the block and all that follows
   ("prefix"). Everything else is attended to as recorded.
An approximation: tokens written since the recording would have changed the states of all others. It is exact for one
pass per block, and for networks of one layer, whose keys and values do not depend on other positions. Runs that use it
are marked ≈ in every table.
Shapes: B rows, R rows of this pass, T tokens, S tokens of the segment, D width.
"""

from __future__ import annotations

from typing import Literal

import torch

from harness.backbones import BackboneError, MaskedBackbone
from harness.canvas import Canvas
from harness.prompt_states import AnswerCanvas, PromptStates

BlockCaching = Literal["off", "prefix", "dual"]
BLOCK_CACHES: tuple[BlockCaching, ...] = ("off", "prefix", "dual")
NO_BLOCK = -1


class BlockCache:
    """Hidden states for the confidence decoder; one per decoding, as it holds what each row recorded.

    Args:
        block_BT: number of the block that a target position belongs to.
        kind: "prefix" or "dual", see the module's first lines.

    Raises:
        BackboneError: the network takes no cache, or its prompt does not see the answer.
    """

    def __init__(self, backbone: MaskedBackbone, block_BT: torch.Tensor, kind: BlockCaching):
        if not backbone.takes_cache:
            raise BackboneError(
                f"block_cache={kind}: {type(backbone.model).__name__} takes no cached keys and values; use block_cache=off."
            )
        if backbone.layout.isolated:
            raise BackboneError(
                f"block_cache={kind} is for models whose prompt sees the answer; here it does not, and prompt_cache=auto "
                "reads it once, exactly: use block_cache=off."
            )
        self.backbone, self.block_BT, self.kind = backbone, block_BT, kind
        self.begun_B = torch.full((len(block_BT),), NO_BLOCK, device=block_BT.device)
        self.states: PromptStates | None = None

    def hidden(self, canvas: Canvas, asked_RT: torch.Tensor, asking_B: torch.Tensor) -> torch.Tensor:
        """States [R, T, D] of the asking rows; true at least where asked, 0 where nothing was computed."""
        rows_R = asking_B.nonzero().squeeze(1)
        block_RT = self.block_BT[rows_R]
        first_R = block_RT.masked_fill(~asked_RT, block_RT.shape[1]).amin(1)
        last_R1 = block_RT.masked_fill(~asked_RT, NO_BLOCK).amax(1, keepdim=True)
        begins_R = self.begun_B[rows_R] != first_R
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        if begins_R.any():
            states_RTD, recorded = self.backbone.hidden_and_states(canvas.select(begins_R))
            self._keep(rows_R[begins_R], recorded)
            self.begun_B[rows_R[begins_R]] = first_R[begins_R]
            parts.append((begins_R, states_RTD))
        if not begins_R.all():
            block_RT = block_RT.masked_fill(~canvas.target_BT, NO_BLOCK)
            segment_RT = (block_RT >= first_R.unsqueeze(1)) & (block_RT <= last_R1)
            if self.kind == "prefix":  # the block, all that follows, and the eos
                segment_RT = (segment_RT.cumsum(1) > 0) & canvas.attend_BT
            again_R = ~begins_R
            parts.append((again_R, self._segment(canvas.select(again_R), segment_RT[again_R], rows_R[again_R])))
        if len(parts) == 1:
            return parts[0][1]
        out_RTD = parts[0][1].new_zeros(len(rows_R), *parts[0][1].shape[1:])
        for where_R, states_RTD in parts:
            out_RTD[where_R] = states_RTD
        return out_RTD

    def _keep(self, rows: torch.Tensor, recorded: PromptStates) -> None:
        """Remember what these rows recorded (the first recording is of all rows: none has begun a block before)."""
        if self.states is None:
            shape = (len(self.block_BT), *recorded.keys[0].shape[1:])
            keys, values = (tuple(p.new_zeros(shape) for p in parts) for parts in (recorded.keys, recorded.values))
            self.states = PromptStates(keys, values, recorded.attend_BP.new_zeros(self.block_BT.shape))
        for old, new in zip((*self.states.keys, *self.states.values), (*recorded.keys, *recorded.values), strict=True):
            old[rows] = new

    def _segment(self, canvas: Canvas, segment_RT: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """States [R, T, D] at the segment, computed with everything outside it as recorded; 0 elsewhere."""
        assert self.states is not None  # a row computes a segment only after it has begun a block
        start_R1, count_R1 = segment_RT.int().argmax(1, keepdim=True), segment_RT.sum(1, keepdim=True)
        offset_1S = torch.arange(int(count_R1.max()), device=rows.device).unsqueeze(0)
        inside_RS = offset_1S < count_R1
        index_RS = (start_R1 + offset_1S).clamp(max=segment_RT.shape[1] - 1)
        keys, values = (tuple(p[rows] for p in parts) for parts in (self.states.keys, self.states.values))
        part = AnswerCanvas(
            tokens_BT=canvas.tokens_BT.gather(1, index_RS),
            target_BT=canvas.target_BT.gather(1, index_RS) & inside_RS,
            eos_BT=canvas.eos_BT.gather(1, index_RS) & inside_RS,
            attend_BT=inside_RS,
            prompt_BT=torch.zeros_like(inside_RS),
            positions_BT=canvas.positions_BT.gather(1, index_RS),
            memory=PromptStates(keys, values, canvas.attend_BT & ~segment_RT),
        )
        states_RSD = self.backbone.hidden(part)
        out_RTD = states_RSD.new_zeros(*segment_RT.shape, states_RSD.shape[-1])
        out_RTD[segment_RT] = states_RSD[inside_RS]
        return out_RTD
