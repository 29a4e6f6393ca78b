"""Which examples each optimiser step sees, and in which pieces the processes work on them.

A step's batch is collated and corrupted once, as a whole, by every process alike (token ids only: cheap), then cut
into micro-batches: how many pieces and processes there are changes neither the data, nor the noise, nor the weights.
"""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from harness.config import ConfigError
from trainers.encode import Example
from trainers.objectives import Objective, cut
from trainers.packing import row_ends


class BatchPlan:
    """Seeded batches of example indices: shuffled epochs, sorted by length within windows, windows' batches shuffled.

    The order depends on lengths, seed and sizes only, so every recipe with the same numbers sees the same data in
    the same order, whatever its objective. `plan[step]` costs the same for every step.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int, steps: int, seed: int, window: int):
        if len(lengths) < batch_size:
            raise ConfigError(f"batch_size {batch_size} is larger than the {len(lengths)} training examples.")
        self.lengths, self.batch_size, self.steps = np.asarray(lengths, dtype=np.int32), batch_size, steps
        self.seed, self.window = seed, window
        self._sizes: dict[int, int] = {}
        self._latest: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        return (self[step] for step in range(self.steps))

    def __getitem__(self, step: int) -> list[int]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        epoch, place = 0, step
        while place >= self._size(epoch):
            epoch, place = epoch + 1, place - self._size(epoch)
        return self._batch(epoch, place)

    def _batch(self, epoch: int, place: int) -> list:
        return self._batches(epoch)[place].tolist()

    def _batches(self, epoch: int) -> Any:
        if self._latest[0] != epoch:
            self._latest = (epoch, self.epoch(epoch))
        return self._latest[1]

    def _size(self, epoch: int) -> int:
        if epoch not in self._sizes:
            self._sizes[epoch] = len(self._batches(epoch))
        return self._sizes[epoch]

    def shuffled(self, epoch: int) -> tuple[np.ndarray, random.Random]:
        """All indices [N] in the order of an epoch, and the generator that goes on from there."""
        rng = random.Random(f"{self.seed}/batches/{epoch}")
        order = array("i", range(len(self.lengths)))  # an int of Python's own takes nine times as much
        rng.shuffle(order)
        return np.frombuffer(order, dtype=np.int32), rng

    def epoch(self, epoch: int) -> Any:
        """The batches of one epoch [batches, batch_size]; what does not fill a batch is left to the next epoch's order."""
        order_N, rng = self.shuffled(epoch)
        made = np.empty((len(order_N) // self.batch_size, self.batch_size), dtype=np.int32)
        size, done = self.batch_size * self.window, 0
        for start in range(0, len(order_N), size):
            window = order_N[start : start + size]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            batches = [window[at : at + self.batch_size] for at in range(0, len(window), self.batch_size)]
            rng.shuffle(batches)
            for batch in batches:
                if len(batch) == self.batch_size:
                    made[done] = batch
                    done += 1
        return made


class PackedPlan(BatchPlan):
    """Batches of packed rows: `plan[step]` lists `batch_size` rows, each a list of example indices of ≤ `room` tokens."""

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int, steps: int, seed: int, room: int):
        super().__init__(lengths, batch_size, steps, seed, 1)
        self.room = room
        if not len(self._batches(0)):
            raise ConfigError(
                f"batch_size {batch_size} packed rows of {room} tokens need more than the {len(lengths)} examples at hand."
            )

    def _batch(self, epoch: int, place: int) -> list:
        return self._batches(epoch)[place]

    def epoch(self, epoch: int) -> PackedEpoch:
        """The batches of one epoch, rows filled in its order."""
        order_N = self.shuffled(epoch)[0]
        order_N = order_N[self.lengths[order_N] <= self.room]
        return PackedEpoch(order_N, row_ends(self.lengths[order_N], self.room), self.batch_size)


@dataclass(frozen=True)
class PackedEpoch:
    """Examples in their order [N], and the end of each packed row [R]; item k: the rows of batch k."""

    order_N: np.ndarray
    end_R: np.ndarray
    batch_size: int

    def __len__(self) -> int:
        return len(self.end_R) // self.batch_size

    def __getitem__(self, batch: int) -> list[list[int]]:
        if not 0 <= batch < len(self):
            raise IndexError(batch)
        ends = self.end_R[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
        first = int(self.end_R[batch * self.batch_size - 1]) if batch else 0
        return [self.order_N[start:end].tolist() for start, end in zip([first, *ends], ends, strict=False)]


def pieces(widths_RA: np.ndarray, processes: int, accumulation: int, micro_tokens: int | None) -> list[slice]:
    """Cut R rows, whose tokens on every axis are widths_RA, into parts for the processes in turn, as many for each.

    Without `micro_tokens`, into `accumulation` equal parts a process. With it, neighbours go together as long as every part,
    padded to its widest row, keeps within so many tokens: rows sorted by width waste next to none.

    Raises:
        ConfigError: fewer rows than processes.
    """
    rows = len(widths_RA)
    if rows < processes:
        raise ConfigError(
            f"a batch of {rows} rows cannot be shared by {processes} processes: raise training.batch_size."
        )
    if micro_tokens is None:
        return _equal(0, rows, min(processes * accumulation, rows // processes * processes))
    groups = _groups(widths_RA, processes, micro_tokens)
    return [part for start, end in groups for part in _equal(start, end, processes)]


def _equal(start: int, end: int, parts: int) -> list[slice]:
    edges = np.linspace(start, end, parts + 1).round().astype(int).tolist()
    return [slice(one, other) for one, other in itertools.pairwise(edges)]


def _groups(widths_RA: np.ndarray, processes: int, micro_tokens: int) -> list[tuple[int, int]]:
    """(start, end) of rows that are worked on at one time, from the last; each has at least one for every process."""
    groups, end = [], len(widths_RA)
    while end:
        start = max(0, end - processes)
        widest_A = widths_RA[start:end].max(0)
        while start:
            widest_A = np.maximum(widest_A, widths_RA[start - 1])
            if -(-(end - start + 1) // processes) * widest_A.sum() > micro_tokens:
                break
            start -= 1
        if 0 < start < processes:  # too few would be left to share
            start = processes if end - processes >= processes else 0
        groups.append((start, end))
        end = start
    return groups


def _widths(batch: dict[str, torch.Tensor]) -> np.ndarray:
    """Tokens of each row of a batch on every axis that has a mask of real tokens [B, A]."""
    masks = [tensor for name, tensor in batch.items() if name.startswith("attend_")]
    return np.stack([(mask.long() * torch.arange(1, mask.shape[1] + 1)).amax(1).numpy() for mask in masks], axis=1)


class Steps(Dataset):
    """Item k: what one process needs for optimiser step k: its micro-batches, and the whole step's weights [K]."""

    def __init__(
        self,
        examples: Sequence[Example],
        plan: BatchPlan,
        objective: Objective,
        seed: int,
        *,
        accumulation: int = 1,
        micro_tokens: int | None = None,
    ):
        self.examples, self.plan, self.objective, self.seed = examples, plan, objective, seed
        self.process, self.processes = 0, 1
        self.accumulation, self.micro_tokens = accumulation, micro_tokens

    def deal(self, process: int, processes: int) -> Steps:
        """The same for one of several processes."""
        self.process, self.processes = process, processes
        return self

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> dict:
        chosen: list = self.plan[step]
        rows: list[list[int]] = chosen if isinstance(self.plan, PackedPlan) else [[index] for index in chosen]
        clean = self.objective.collate([self.examples[index] for row in rows for index in row])
        batch = self.objective.corrupt(clean, self._generator(step))
        ends = [0, *itertools.accumulate(len(row) for row in rows)]
        if isinstance(self.plan, PackedPlan):
            batch["pack_B"] = torch.repeat_interleave(torch.tensor([len(row) for row in rows]))
            widths_RA = np.array([[sum(self.plan.lengths[index] for index in row)] for row in rows])
        else:
            widths_RA = _widths(batch)
        parts = pieces(widths_RA, self.processes, self.accumulation, self.micro_tokens)
        mine = [cut(batch, slice(ends[p.start], ends[p.stop])) for p in parts[self.process :: self.processes]]
        return {"parts": mine, "weights": self.objective.weights(batch)}

    def _generator(self, step: int) -> torch.Generator:
        """The step's own randomness: nothing depends on global state or history."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 1_009 % 2**63)
