"""One queue of rows over all requests: each distinct (prompt, canvas) is computed once, packed by length.

A row asks for log p(token | prompt, canvas) at some hidden positions of a target. Rows of all requests stand in one
queue, equal (prompt, canvas) pairs share one forward pass, passes are packed up to a budget of tokens, the vocabulary
projection runs only at the positions asked for and in slices of bounded size, and values are scattered back. Where
the prompt cannot see the target (layout `isolated`), rows that share a prompt share one reading of it, exactly.
Log-sum-exp runs in float32; a value does not depend on what else is in its pass beyond float32 rounding.
Shapes: N rows of one target, L target positions, B rows of a pass, T tokens, M positions asked for, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.prompt_states import answer_only

TOKENS_PER_PASS = {"cpu": 8192, "cuda": 16384}
LOGITS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}  # numbers of one slice of logits: a processor's cache, 256 MiB
POSITIONS_AT_ONCE = 64  # at least, whatever the vocabulary: fewer would read its matrix too often
Key = tuple[int, bytes]  # number of the prompt, int64 ids of the canvas


class ScoringError(RuntimeError):
    """The network gave no usable number (NaN or infinite logits), or a row does not fit."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one target: which positions are hidden, which of those are asked for.

    prompt: ids; target_L int64; hidden_NL, wanted_NL bool. The first `ranked` rows are also asked for the network's
    own best token at every wanted position (a second pass over the vocabulary, so only where a scorer needs it).
    """

    prompt: tuple[int, ...]
    target_L: np.ndarray
    hidden_NL: np.ndarray
    wanted_NL: np.ndarray
    ranked: int = 0

    def __len__(self) -> int:
        return len(self.hidden_NL)

    @property
    def length(self) -> int:
        """Prompt and target tokens of each row."""
        return len(self.prompt) + len(self.target_L)


@dataclass(frozen=True)
class Values:
    """Answers to `Rows`: logprob_NL in nats, float64 (NaN where not asked for); for the ranked rows, whether the target
    token is the network's best token, and that token's log-probability (the mask token takes no part in either).
    """

    logprob_NL: np.ndarray
    argmax_RL: np.ndarray
    confidence_RL: np.ndarray


@dataclass
class _Asked:
    rows: Rows
    values: Values
    open: int


@dataclass
class _Want:
    """Places of a pass asked for by one asker: row of the pass, row of the asker, target position, token id."""

    name: Hashable
    rows: int
    row_M: np.ndarray
    own_M: np.ndarray
    position_M: np.ndarray
    token_M: np.ndarray


class RowEngine:
    """The queue: `open` rows under a name, `step` one forward pass, receive the names whose rows are all answered.

    Args:
        most_rows: of a forward pass; a pass also holds at most `TOKENS_PER_PASS` tokens, fewer after out-of-memory.
        remember: whether rows may share one reading of their prompt, where that is exact.
    """

    def __init__(self, backbone: MaskedBackbone, most_rows: int | None = None, remember: bool = True):
        self.backbone, self.most_rows = backbone, most_rows
        self.remember = remember and backbone.remembers
        self.tokens_per_pass = TOKENS_PER_PASS[_kind(backbone)]
        self.positions_at_once = positions_at_once(backbone)
        self.rows_computed = self.passes = 0
        self._queue: deque[Key] = deque()
        self._waiting: dict[Key, list[tuple[Hashable, int]]] = {}
        self._asked: dict[Hashable, _Asked] = {}
        self._numbers: dict[tuple[int, ...], int] = {}
        self._prompts: list[tuple[int, ...]] = []

    def open(self, name: Hashable, rows: Rows, urgent: bool = False) -> None:
        """Put rows into the queue; urgent ones (of a target already begun) come first."""
        shape, ranked = rows.hidden_NL.shape, (rows.ranked, len(rows.target_L))
        values = Values(np.full(shape, np.nan), np.zeros(ranked, bool), np.full(ranked, -np.inf))
        self._asked[name] = _Asked(rows, values, len(rows))
        canvas_NL = np.where(rows.hidden_NL, self.backbone.ids.mask, rows.target_L)
        prompt, new = self._number(rows.prompt), []
        for index, ids in enumerate(canvas_NL):
            key = (prompt, ids.tobytes())
            if key not in self._waiting:
                self._waiting[key] = []
                new.append(key)
            self._waiting[key].append((name, index))
        if urgent:
            self._queue.extendleft(reversed(new))
        else:
            self._queue.extend(new)

    def _number(self, prompt: tuple[int, ...]) -> int:
        if prompt not in self._numbers:
            self._numbers[prompt] = len(self._prompts)
            self._prompts.append(prompt)
        return self._numbers[prompt]

    def hungry(self, length: int) -> bool:
        """Whether the queue holds less than one pass of rows of `length` tokens."""
        return len(self._queue) < self._rows_at_once(length + self.backbone.layout.overhead)

    def run(self, asked: Sequence[Rows]) -> list[Values]:
        """Values of all rows, in the order given."""
        for index, rows in enumerate(asked):
            self.open(("run", index), rows)
        found: dict[Hashable, Values] = {}
        while len(found) < len(asked):
            found.update(self.step())
        return [found["run", index] for index in range(len(asked))]

    def step(self) -> list[tuple[Hashable, Values]]:
        """One forward pass; names whose rows are all answered, with their values. Nothing on out-of-memory (retried).

        Raises:
            ScoringError: NaN or infinite logits, or one row alone does not fit into memory.
        """
        chunk = self._chunk()
        try:
            finished = self._forward(chunk)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            self._shrink(chunk)
            return []
        for _ in chunk:
            del self._waiting[self._queue.popleft()]
        self.rows_computed += len(chunk)
        self.passes += 1
        return finished

    def _rows_at_once(self, length: int) -> int:
        packed = max(1, self.tokens_per_pass // length)
        return packed if self.most_rows is None else min(packed, self.most_rows)

    def _chunk(self) -> list[Key]:
        chunk, longest = [], 0
        for key in self._queue:
            longest = max(longest, self._length(key))
            if chunk and len(chunk) >= self._rows_at_once(longest):
                break
            chunk.append(key)
        return chunk

    def _length(self, key: Key) -> int:
        """Tokens of a row, special ones included."""
        return len(self._prompts[key[0]]) + len(key[1]) // 8 + self.backbone.layout.overhead

    def _shrink(self, chunk: Sequence[Key]) -> None:
        """Half the tokens of the pass that was too much, or half the positions of a slice where it was a single row."""
        if len(chunk) > 1:
            self.tokens_per_pass = len(chunk) * max(map(self._length, chunk)) // 2
        elif self.positions_at_once > 1:
            self.positions_at_once //= 2
        else:
            raise ScoringError("one row alone does not fit into memory: take a smaller model or another device.")

    @torch.inference_mode()
    def _forward(self, chunk: Sequence[Key]) -> list[tuple[Hashable, Values]]:
        canvas, start_B = self._pack(chunk)
        wants = self._wants(chunk)
        row_M = np.concatenate([want.row_M for want in wants])
        place_M = np.concatenate([want.position_M for want in wants]) + start_B[row_M]
        token_M = np.concatenate([want.token_M for want in wants])
        best_M = np.concatenate([want.own_M < self._asked[want.name].rows.ranked for want in wants])
        place_U, slot_M = np.unique(row_M * canvas.tokens_BT.shape[1] + place_M, return_inverse=True)
        hidden_BTD = self.backbone.hidden(canvas)
        found = self._read(hidden_BTD, place_U, slot_M, token_M, best_M)
        if not np.isfinite(found["logprob"]).all():
            raise ScoringError(
                "the network gave NaN or infinite logits: its weights or its dtype are broken; nothing was scored."
            )
        return self._scatter(wants, found)

    def _pack(self, chunk: Sequence[Key]):
        """The canvas of a pass and the first target position of each row."""
        ids, blocks = self.backbone.ids, []
        for (prompt, size), keys in groupby(chunk, key=lambda key: (key[0], len(key[1]))):
            canvas_NL = np.frombuffer(b"".join(ids_ for _, ids_ in keys), np.int64).reshape(-1, size // 8)
            frame, start = self.backbone.layout.row(self._prompts[prompt], canvas_NL[0].tolist(), ids)
            blocks.append((np.asarray(frame), start, canvas_NL))
        width = max(len(frame) for frame, _, _ in blocks)
        tokens_BT = np.full((len(chunk), width), ids.pad, np.int64)
        start_B, length_B, at = np.empty(len(chunk), np.int64), np.empty(len(chunk), np.int64), 0
        for frame, start, canvas_NL in blocks:
            end, length = at + len(canvas_NL), canvas_NL.shape[1]
            tokens_BT[at:end, : len(frame)] = frame
            tokens_BT[at:end, start : start + length] = canvas_NL
            start_B[at:end], length_B[at:end], at = start, length, end
        canvas = self.backbone.layout.canvas_of(
            torch.from_numpy(tokens_BT), torch.from_numpy(start_B), torch.from_numpy(length_B)
        )
        number_P, owner_B = np.unique([prompt for prompt, _ in chunk], return_inverse=True)
        if not self.remember or 2 * len(number_P) > len(chunk):  # reading most prompts apart would be a second pass
            return canvas.to(self.backbone.device), start_B
        start_B -= canvas.prompt_BT.sum(1).numpy()
        return self._answers(canvas, number_P, owner_B), start_B

    def _answers(self, canvas: Canvas, number_P: np.ndarray, owner_B: np.ndarray) -> Canvas:
        """The targets' segments of a canvas, with the states of their prompts, each read once."""
        device = self.backbone.device
        prompts = self.backbone.layout.prompt_only([self._prompts[n] for n in number_P], self.backbone.ids)
        _, memory = self.backbone.hidden_and_states(prompts.to(device))
        return answer_only(canvas.to(device), memory[torch.from_numpy(owner_B).to(device)])

    def _wants(self, chunk: Sequence[Key]) -> list[_Want]:
        places: dict[Hashable, tuple[list[int], list[int]]] = {}
        for row, key in enumerate(chunk):
            for name, own in self._waiting[key]:
                rows, owns = places.setdefault(name, ([], []))
                rows.append(row)
                owns.append(own)
        wants = []
        for name, (row_N, own_N) in places.items():
            asked = self._asked[name].rows
            own_N, row_N = np.asarray(own_N), np.asarray(row_N)
            at_M, position_M = asked.wanted_NL[own_N].nonzero()
            wants.append(_Want(name, len(own_N), row_N[at_M], own_N[at_M], position_M, asked.target_L[position_M]))
        return wants

    def _read(self, hidden_BTD, place_U, slot_M, token_M, best_M) -> dict[str, np.ndarray]:
        """Log-probability (and, where best_M, argmax and its log-probability) of each place asked for."""
        rows, width = hidden_BTD.shape[:2]
        found = {
            "logprob": np.empty(len(slot_M)),
            "argmax": np.zeros(len(slot_M), bool),
            "confidence": np.full(len(slot_M), -np.inf),
        }
        step = self.positions_at_once
        for at in range(0, len(place_U), step):
            part_U = place_U[at : at + step]
            here_M = ((slot_M >= at) & (slot_M < at + step)).nonzero()[0] if len(place_U) > step else slice(None)
            where_BT = torch.zeros(rows * width, dtype=torch.bool)
            where_BT[torch.from_numpy(part_U)] = True
            logits_UV = self.backbone.logits_at(hidden_BTD, where_BT.view(rows, width).to(hidden_BTD.device)).float()
            part = _read_slice(logits_UV, slot_M[here_M] - at, token_M[here_M], best_M[here_M], self.backbone.ids.mask)
            for name, values in part.items():
                found[name][here_M] = values
        return found

    def _scatter(self, wants: Iterable[_Want], found: dict[str, np.ndarray]) -> list[tuple[Hashable, Values]]:
        finished, at = [], 0
        for want in wants:
            asked, end = self._asked[want.name], at + len(want.own_M)
            asked.values.logprob_NL[want.own_M, want.position_M] = found["logprob"][at:end]
            if asked.rows.ranked:
                ranked = want.own_M < asked.rows.ranked
                own, position = want.own_M[ranked], want.position_M[ranked]
                asked.values.argmax_RL[own, position] = found["argmax"][at:end][ranked]
                asked.values.confidence_RL[own, position] = found["confidence"][at:end][ranked]
            asked.open -= want.rows
            at = end
            if not asked.open:
                finished.append((want.name, asked.values))
                del self._asked[want.name]
        return finished


def _read_slice(logits_UV: torch.Tensor, slot_M, token_M, best_M, mask: int) -> dict[str, np.ndarray]:
    """Values of one slice; p(best) is renormalised over all tokens but the mask token."""
    logprob_UV = logits_UV.log_softmax(-1)
    slot, token = torch.from_numpy(slot_M).to(logits_UV.device), torch.from_numpy(token_M).to(logits_UV.device)
    logprob_M = logprob_UV[slot, token].double().cpu().numpy()
    found = {"logprob": logprob_M, "argmax": np.zeros(len(slot_M), bool), "confidence": np.full(len(slot_M), -np.inf)}
    if best_M.any():
        ranked = torch.from_numpy(best_M).to(logits_UV.device)
        used_R, inverse_M = slot[ranked].unique(return_inverse=True)
        all_ranked = len(used_R) == len(logprob_UV)  # no copy then: it takes as long as the log-softmax
        logprob_RV = logprob_UV if all_ranked else logprob_UV[used_R]
        mask_R = logprob_RV[:, mask].double().exp().clamp(max=1 - 1e-12)
        logprob_RV[:, mask] = -torch.inf
        best_R, token_R = logprob_RV.max(-1)
        found["argmax"][best_M] = (token_R[inverse_M] == token[ranked]).cpu().numpy()
        found["confidence"][best_M] = (best_R.double() - torch.log1p(-mask_R))[inverse_M].cpu().numpy()
    return found


def positions_at_once(backbone: MaskedBackbone) -> int:
    """Positions whose logits are computed together: a slice of bounded size, whatever the vocabulary."""
    return max(POSITIONS_AT_ONCE, LOGITS_AT_ONCE[_kind(backbone)] // backbone.vocabulary)


def _kind(backbone: MaskedBackbone) -> str:
    return "cpu" if backbone.device.type == "cpu" else "cuda"


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
