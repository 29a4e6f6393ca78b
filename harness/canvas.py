"""A canvas: prompt + target + masks as tensors, and the layouts in which a masked LM reads them.

Shapes: B rows, T tokens. Two layouts, both from the literature, each with its settings recorded in the checkpoint:
- joint: `<s> prompt target </s>`, every token sees every token (DiffusionLLM; any plain masked LM);
- isolated: `<s> prompt </s> <s> target </s>`, the prompt does not see the target and the target's positions
  restart (Instruct-XMLR, after UniLM).
`target_position` shifts the first position of the target: 0 is Instruct-XMLR's restart, a larger number keeps the
two position ranges apart (our deviation for small models), None lets positions run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch


@dataclass(frozen=True)
class Canvas:
    """What is scored or filled.

    tokens_BT int64; target_BT bool, content tokens of the target (never bos, eos, padding or prompt);
    eos_BT bool, the end-of-sequence token that closes the target; attend_BT bool, False on padding;
    prompt_BT bool, the prompt with its own special tokens; positions_BT int64, 0-based.
    """

    tokens_BT: torch.Tensor
    target_BT: torch.Tensor
    eos_BT: torch.Tensor
    attend_BT: torch.Tensor
    prompt_BT: torch.Tensor
    positions_BT: torch.Tensor

    def with_tokens(self, tokens_BT: torch.Tensor) -> Canvas:
        """The same canvas with other tokens."""
        return replace(self, tokens_BT=tokens_BT)

    def select(self, rows: torch.Tensor) -> Canvas:
        """The canvas of some rows (index or boolean tensor of shape B)."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def to(self, device: torch.device | str) -> Canvas:
        """The canvas on another device."""
        if self.tokens_BT.device == torch.device(device):
            return self
        return type(self)(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def without_eos(self) -> Canvas:
        """An open canvas: the network does not see where the target ends, so an eos that it writes ends it."""
        return replace(self, attend_BT=self.attend_BT & ~self.eos_BT, eos_BT=torch.zeros_like(self.eos_BT))


@dataclass(frozen=True)
class PackedCanvas(Canvas):
    """Several examples a row, each of which sees itself alone: segment_BT is the number of each token's example, 0 on padding."""

    segment_BT: torch.Tensor


@dataclass(frozen=True)
class SpecialIds:
    """Token ids a layout needs."""

    bos: int
    eos: int
    pad: int
    mask: int


@dataclass(frozen=True)
class Layout:
    """How prompt and target share one sequence; `attention` = "full" or "isolated" (prompt cannot see target)."""

    name: Literal["joint", "isolated"] = "joint"
    target_position: int | None = None

    @property
    def isolated(self) -> bool:
        """Whether the prompt is kept from seeing the target."""
        return self.name == "isolated"

    @property
    def overhead(self) -> int:
        """Special tokens added to prompt + target."""
        return 4 if self.isolated else 2

    def target_room(self, max_length: int) -> int:
        """Most target tokens a network of `max_length` positions can hold behind an empty prompt."""
        if self.target_position is None:
            return max_length - self.overhead
        own = 2 if self.isolated else 1  # bos and eos, or eos, stand at the target's restarted positions
        return min(max_length - self.overhead, max_length - self.target_position - own)

    def row(self, prompt: Sequence[int], target: Sequence[int], ids: SpecialIds) -> tuple[list[int], int]:
        """Tokens of one row and the index of the target's first content token."""
        if self.isolated:
            tokens = [ids.bos, *prompt, ids.eos, ids.bos, *target, ids.eos]
            return tokens, len(prompt) + 3
        return [ids.bos, *prompt, *target, ids.eos], len(prompt) + 1

    def pack(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], ids: SpecialIds) -> Canvas:
        """Right-padded canvas of (prompt, target) id pairs; targets may be empty (prompt-only rows)."""
        rows = [self.row(prompt, target, ids) for prompt, target in pairs]
        width = max(len(tokens) for tokens, _ in rows)
        tokens_BT = torch.tensor([tokens + [ids.pad] * (width - len(tokens)) for tokens, _ in rows], dtype=torch.long)
        starts_B = torch.tensor([start for _, start in rows])
        return self.canvas_of(tokens_BT, starts_B, torch.tensor([len(target) for _, target in pairs]))

    def canvas_of(self, tokens_BT: torch.Tensor, start_B: torch.Tensor, length_B: torch.Tensor) -> Canvas:
        """Canvas of right-padded rows whose targets begin at `start_B` and have `length_B` content tokens."""
        size, start_B1 = tokens_BT.shape, start_B.unsqueeze(1)
        end_B1 = start_B1 + length_B.unsqueeze(1)
        index_BT = torch.arange(size[1]).expand(size)
        first_B1 = start_B1 - 1 if self.isolated else start_B1
        positions_BT = index_BT
        if self.target_position is not None:
            restarted = index_BT - first_B1 + self.target_position
            positions_BT = torch.where(index_BT >= first_B1, restarted, index_BT)
        return Canvas(
            tokens_BT=tokens_BT,
            target_BT=(index_BT >= start_B1) & (index_BT < end_B1),
            eos_BT=index_BT == end_B1,
            attend_BT=index_BT <= end_B1,
            prompt_BT=index_BT < first_B1,
            positions_BT=positions_BT.clamp(min=0) * (index_BT <= end_B1),
        )

    def prompt_only(self, prompts: Sequence[Sequence[int]], ids: SpecialIds, probe: int = 0) -> Canvas:
        """Canvas of prompts alone (what a length head reads): `<s> prompt </s>` or, joint, `<s> prompt`.

        With `probe`, an answer of that many hidden tokens follows, whatever the real one's length, and is read as
        part of the prompt: what a joint network thinks of the answer stands there.
        """
        if probe:
            canvas = self.pack([(prompt, [ids.mask] * probe) for prompt in prompts], ids)
            none_BT = torch.zeros_like(canvas.attend_BT)
            return replace(canvas, target_BT=none_BT, eos_BT=none_BT, prompt_BT=canvas.attend_BT)
        tail = [ids.eos] if self.isolated else []
        rows = [[ids.bos, *prompt, *tail] for prompt in prompts]
        width = max(map(len, rows))
        tokens_BT = torch.tensor([row + [ids.pad] * (width - len(row)) for row in rows], dtype=torch.long)
        attend_BT = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        none_BT = torch.zeros_like(attend_BT)
        positions_BT = torch.arange(width).expand(tokens_BT.shape) * attend_BT
        return Canvas(tokens_BT, none_BT, none_BT, attend_BT, attend_BT, positions_BT)

    def attention_BTT(self, canvas: Canvas) -> torch.Tensor:
        """Boolean attention [B, query, key]: key is no padding, a prompt query sees prompt keys only, a packed one its own example's."""
        allowed_BTT = canvas.attend_BT.unsqueeze(1).expand(-1, canvas.attend_BT.shape[1], -1)
        if self.isolated:
            allowed_BTT = allowed_BTT & (~canvas.prompt_BT.unsqueeze(2) | canvas.prompt_BT.unsqueeze(1))
        if isinstance(canvas, PackedCanvas):
            allowed_BTT = allowed_BTT & (canvas.segment_BT.unsqueeze(2) == canvas.segment_BT.unsqueeze(1))
            size = canvas.segment_BT.shape[1]  # padding sees itself: a softmax over nothing would be no number
            allowed_BTT = allowed_BTT | torch.eye(size, dtype=torch.bool, device=allowed_BTT.device)
        return allowed_BTT

    def settings(self) -> dict[str, str | int | None]:
        """The layout as plain data for checkpoint.json."""
        return asdict(self)
