"""A backbone whose answers can be enumerated: a table instead of a network, three words, a few positions."""

from __future__ import annotations

import numpy as np
import torch

from harness.canvas import Canvas, Layout, SpecialIds

IDS = SpecialIds(bos=0, eos=1, pad=2, mask=3)
WORDS = (4, 5, 6)
VOCABULARY = 7


class GivenBackbone:
    """The same distribution at every pass: probability_LV[place] = {token: p}; `seen` records what was hidden, per pass."""

    def __init__(self, probability_LV: list[dict[int, float]]):
        self.ids, self.layout, self.device, self.max_length = IDS, Layout(), torch.device("cpu"), 64
        self.vocabulary = VOCABULARY
        self.logits_LV = torch.full((len(probability_LV), VOCABULARY), -torch.inf)
        for place, row in enumerate(probability_LV):
            for token, p in row.items():
                self.logits_LV[place, token] = float(np.log(p))
        self.seen: list[list[list[int]]] = []
        self.remembers, self.length_head = False, None

    def hidden(self, canvas: Canvas) -> torch.Tensor:
        """The logits themselves [B, T, V]."""
        place_BT = (canvas.target_BT.cumsum(1) - 1).clamp(min=0, max=len(self.logits_LV) - 1)
        hidden_BT = (canvas.tokens_BT == IDS.mask) & canvas.target_BT
        rows = zip(place_BT, hidden_BT, strict=True)
        self.seen.append([place_T[hidden_T].tolist() for place_T, hidden_T in rows])
        return self.logits_LV[place_BT]

    def logits_at(self, hidden_BTD: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """Logits at the true entries."""
        return hidden_BTD[positions_BT]

    def canvas(self, *lengths: int) -> Canvas:
        """A canvas of one row per length."""
        return self.layout.pack([([4, 5], [IDS.mask] * n) for n in lengths], IDS)


def sure(*probability: float) -> list[dict[int, float]]:
    """Places where word 4 has the given probability, and words 5 and 6 share the rest."""
    return [{4: p, 5: (1 - p) / 2, 6: (1 - p) / 2} for p in probability]


class TableBackbone:
    """p(y_j | visible part of y) from a table.

    kind "joint": the conditionals of one random joint distribution over all texts of `length` words, so that every order
    of writing has the same likelihood; "independent": each position has its own distribution and ignores the others;
    "inconsistent": conditionals drawn at random for every context, as a real network's are (no joint has them).
    """

    def __init__(self, length: int, kind: str = "joint", seed: int = 0):
        rng = np.random.default_rng(seed)
        self.length, self.kind, self.seed, self.ids, self.layout, self.remembers = (
            length,
            kind,
            seed,
            IDS,
            Layout(),
            False,
        )
        self.vocabulary = VOCABULARY
        self.device, self.max_length, self.rows_seen = torch.device("cpu"), 64, 0
        if kind == "joint":
            self.joint = rng.dirichlet(np.full(3**length, 0.3)).reshape([3] * length) + 1e-9
            self.joint /= self.joint.sum()
        self.alone = rng.dirichlet(np.ones(3), size=length)

    def conditional(self, seen: dict[int, int], position: int) -> np.ndarray:
        """Probabilities of the three words at `position`, given word numbers at other positions."""
        if self.kind == "independent":
            return self.alone[position]
        if self.kind == "inconsistent":
            code = sum((1 + word) * 4**place for place, word in seen.items())
            return np.random.default_rng([self.seed, position, code]).dirichlet(np.ones(3))
        table = self.joint[tuple(seen.get(place, slice(None)) for place in range(self.length))]
        axis = position - sum(place < position for place in seen)
        marginal = table.sum(axis=tuple(a for a in range(table.ndim) if a != axis))
        return marginal / marginal.sum()

    def hidden(self, canvas: Canvas) -> torch.Tensor:
        """The logits themselves [B, T, V]."""
        self.rows_seen += len(canvas.tokens_BT)
        logits_BTV = torch.full((*canvas.tokens_BT.shape, VOCABULARY), -torch.inf, dtype=torch.float64)
        for row, (tokens, target) in enumerate(zip(canvas.tokens_BT.tolist(), canvas.target_BT.tolist(), strict=True)):
            start = target.index(True)
            words = {i - start: tokens[i] - 4 for i, t in enumerate(target) if t and tokens[i] != IDS.mask}
            for place in range(sum(target)):
                if place not in words:
                    logits_BTV[row, start + place, 4:] = torch.from_numpy(np.log(self.conditional(words, place)))
        return logits_BTV

    def logits_at(self, hidden_BTD: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """Logits at the true entries."""
        return hidden_BTD[positions_BT]
