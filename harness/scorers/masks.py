"""Which masks an any-order estimate reads: all of them, or a plan of exact strata and sampled cells.

Stratum k holds the masks with k of L positions hidden. Randomness is counter-based: a pure function of (seed,
question, cell, replicate), so that a target has the same masks alone, in any batch and on any number of processes, and
choices of equal length share them. Longer targets reuse the same uniforms, which keeps unequal lengths close.

Plan of a budget of N rows (facts §5.3):
1. The full mask (k = L) always; then k = L−1, and then k = 1, each with its L masks, if the rows left over still are at
   least as many as the strata left over (and, for k = 1, at least ten, for the error bar to rest on).
2. The strata left over, laid side by side with widths ∝ √((L−k)/k) (a fixed guess at how much a row varies there), are
   cut into cells of equal width; in every cell, R = 2 independent replicates draw one point each: its stratum is k.
3. The mask of size k is a cyclic window of a random permutation; consecutive cells continue where the window before
   ended, until the circle is closed. Cells of one circle are one independent unit of the error bar. Where k = 1 is known,
   positions are accounted for by the control variate, and each cell is a unit of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

REPLICATES = 2
LEAST_ROWS = 1 + REPLICATES
LEAST_SAMPLED = 10


@lru_cache(maxsize=64)
def all_masks(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every non-empty mask, the full one first: hidden_NL, and weight_N = 1 / (k·C(L, k)), N = 2^L − 1."""
    subsets = [subset for size in range(length, 0, -1) for subset in combinations(range(length), size)]
    hidden_NL = np.zeros((len(subsets), length), bool)
    for row, subset in enumerate(subsets):
        hidden_NL[row, list(subset)] = True
    size_N = hidden_NL.sum(1)
    return hidden_NL, np.array([1 / (k * comb(length, k)) for k in size_N])


def key_of(seed: int, question: str) -> np.uint64:
    """64 bits of (seed, question)."""
    return np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{question}".encode()).digest()[:8], "little"))


def uniforms(key: np.uint64, stream: int, *shape: int) -> np.ndarray:
    """Uniform numbers in [0, 1): a hash (splitmix64, Steele et al. 2014) of key, stream and each element's index.

    An element depends on its own indices only: a larger shape keeps the numbers of a smaller one.
    """
    counter = np.zeros(shape, np.uint64)
    for axis, size in enumerate(shape):
        place = np.arange(size, dtype=np.uint64).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        counter = counter + (place << np.uint64(16 * axis))
    with np.errstate(over="ignore"):
        state = _mix(key + np.uint64(stream) * np.uint64(0xD1342543DE82EF95))
        bits = _mix(state + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    return np.asarray(bits >> np.uint64(11), np.float64) * 2.0**-53


def _mix(x: np.ndarray | np.uint64):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Plan:
    """The fixed part of a sampled estimate, from length and budget alone.

    with_last, with_first: strata k = L−1 and k = 1 are read whole; sizes_K the strata left to sampling, density_K their
    share of the sampled rows, cells how many cells they are cut into; circle_C the circle that each cell belongs to.
    """

    length: int
    with_last: bool
    with_first: bool
    sizes_K: np.ndarray
    density_K: np.ndarray
    cells: int
    circle_C: np.ndarray

    @property
    def exact_NL(self) -> np.ndarray:
        """The rows read in any case: the full mask, then k = L−1, then k = 1."""
        one_LL = np.eye(self.length, dtype=bool)
        parts = [np.ones((1, self.length), bool)]
        parts += [~one_LL] if self.with_last else []
        parts += [one_LL] if self.with_first else []
        return np.concatenate(parts)


@lru_cache(maxsize=512)
def plan_of(length: int, rows: int) -> Plan:
    """The plan of `rows` rows (at least LEAST_ROWS) for a target of `length` ≥ 3 tokens."""
    left, strata = max(rows, LEAST_ROWS) - 1, length - 1
    with_last = left - length >= strata - 1
    left, strata = (left - length, strata - 1) if with_last else (left, strata)
    with_first = with_last and left - length >= max(strata - 1, LEAST_SAMPLED)
    left, strata = (left - length, strata - 1) if with_first else (left, strata)
    sizes_K = np.arange(2 if with_first else 1, length - 1 if with_last else length)
    width_K = np.sqrt((length - sizes_K) / sizes_K)
    density_K, cells = width_K / width_K.sum(), left // REPLICATES
    point_C = (np.arange(cells) + 0.5) / cells
    before_C = np.concatenate([[0], np.cumsum(_size_at(point_C, sizes_K, density_K))[:-1]])
    circle_C = np.arange(cells) if with_first else (before_C // length).astype(int)
    return Plan(length, with_last, with_first, sizes_K, density_K, cells, circle_C)


def _size_at(point: np.ndarray, sizes_K: np.ndarray, density_K: np.ndarray) -> np.ndarray:
    index = np.searchsorted(density_K.cumsum(), point, side="right")
    return sizes_K[np.minimum(index, len(sizes_K) - 1)]


def draw(plan: Plan, seed: int, question: str) -> np.ndarray:
    """The sampled masks, hidden_RCL: R replicates of C cells."""
    key, cells = key_of(seed, question), plan.cells
    point_RC = (np.arange(cells) + uniforms(key, 0, cells, REPLICATES).T) / cells
    size_RC = _size_at(point_RC, plan.sizes_K, plan.density_K)
    circles = int(plan.circle_C[-1]) + 1
    order_LOR = uniforms(key, 1, plan.length, circles, REPLICATES).argsort(axis=0, kind="stable")
    rank_ROL = order_LOR.argsort(axis=0, kind="stable").transpose(2, 1, 0)
    end_RC = size_RC.cumsum(1)
    opens_C = np.searchsorted(plan.circle_C, plan.circle_C)  # the first cell of each cell's circle
    start_RC = (end_RC - size_RC) - (end_RC - size_RC)[:, opens_C]
    place_RCL = (rank_ROL[:, plan.circle_C] - start_RC[:, :, None]) % plan.length
    return place_RCL < size_RC[:, :, None]
