"""Prompt states: keys and values of encoded prompts, computed once and attended to by every pass over the answer.

Exact where the prompt cannot see the answer (layout `isolated`, Instruct-XMLR): its states are then the same whatever
the answer holds. A canvas that remembers its prompt holds the answer's segment only.
Shapes: B rows, H heads, P prompt tokens, W width of a head, T tokens of the answer's segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from harness.canvas import Canvas, Layout, SpecialIds


@dataclass(frozen=True)
class PromptStates:
    """Per layer keys and values [B, H, P, W] of the prompts; attend_BP, False on padding."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    attend_BP: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> PromptStates:
        """The states of some rows; a row may be taken more than once (candidates of one prompt)."""
        return PromptStates(
            tuple(k[rows] for k in self.keys), tuple(v[rows] for v in self.values), self.attend_BP[rows]
        )

    def to(self, device: torch.device | str) -> PromptStates:
        """The states on another device."""
        keys, values = (tuple(part.to(device) for part in parts) for parts in (self.keys, self.values))
        return PromptStates(keys, values, self.attend_BP.to(device))

    def attention_BTK(self, canvas: Canvas) -> torch.Tensor:
        """Boolean attention of the answer's segment: its own tokens and the prompt's, K = P + T keys."""
        allowed_BK = torch.cat([self.attend_BP, canvas.attend_BT], 1)
        return allowed_BK.unsqueeze(1).expand(-1, canvas.attend_BT.shape[1], -1)


@dataclass(frozen=True)
class AnswerCanvas(Canvas):
    """The answer's segment of a canvas, with the states of its prompt."""

    memory: PromptStates


class LayerCache:
    """What an attention layer of transformers asks of a cache; it never grows: `memory` stands before every pass.

    Without a memory it records the keys and values of the pass.
    """

    def __init__(self, memory: PromptStates | None = None):
        self.memory = memory
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}

    def get_seq_length(self, layer: int = 0) -> int:
        """0: positions are given explicitly, none are counted on from here."""
        del layer
        return 0

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_args, **_settings):
        """The keys and values to attend to in this layer."""
        if self.memory is None:
            self.keys[layer], self.values[layer] = keys, values
            return keys, values
        return torch.cat([self.memory.keys[layer], keys], 2), torch.cat([self.memory.values[layer], values], 2)

    def recorded(self, attend_BP: torch.Tensor) -> PromptStates:
        """What was recorded, as the states of prompts."""
        layers = sorted(self.keys)
        return PromptStates(tuple(self.keys[n] for n in layers), tuple(self.values[n] for n in layers), attend_BP)


def answer_canvas(
    layout: Layout, targets: Sequence[Sequence[int]], memory: PromptStates, ids: SpecialIds
) -> AnswerCanvas:
    """What `layout.pack` makes of prompts and targets, from the first token behind the prompt on; positions unchanged."""
    width, device = max(map(len, targets)) + 2, memory.attend_BP.device
    rows = [[ids.bos, *target, ids.eos] + [ids.pad] * (width - 2 - len(target)) for target in targets]
    end_B1 = torch.tensor([[1 + len(target)] for target in targets], device=device)
    index_1T = torch.arange(width, device=device).unsqueeze(0)
    attend_BT = index_1T <= end_B1
    behind = layout.target_position
    first = memory.attend_BP.sum(1, keepdim=True) if behind is None else behind
    return AnswerCanvas(
        tokens_BT=torch.tensor(rows, device=device),
        target_BT=(index_1T >= 1) & (index_1T < end_B1),
        eos_BT=index_1T == end_B1,
        attend_BT=attend_BT,
        prompt_BT=torch.zeros_like(attend_BT),
        positions_BT=(index_1T + first) * attend_BT,
        memory=memory,
    )


def answer_only(canvas: Canvas, memory: PromptStates) -> AnswerCanvas:
    """The canvas without its prompt: everything from the first token after it, positions unchanged."""
    first_B1 = canvas.prompt_BT.sum(1, keepdim=True)
    width = int((canvas.attend_BT.sum(1, keepdim=True) - first_B1).max())
    index_BT = first_B1 + torch.arange(width, device=first_B1.device)
    inside_BT = index_BT < canvas.tokens_BT.shape[1]
    index_BT = index_BT.clamp(max=canvas.tokens_BT.shape[1] - 1)
    parts = {field.name: getattr(canvas, field.name).gather(1, index_BT) for field in fields(canvas)}
    for name in ("target_BT", "eos_BT", "attend_BT"):
        parts[name] = parts[name] & inside_BT
    return AnswerCanvas(**parts, memory=memory)
