"""Which rows of a mixture are taken: caps, duplicates, and shares that keep the composition.

Everything works on arrays of N rows (some 40 bytes a row), so that tens of millions fit in memory; no row's text is
needed. Chance comes from a hash of seed and row, so the choice does not depend on the order of the files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled_keys(digest_N: np.ndarray, seed: int) -> np.ndarray:
    """A pseudo-random uint64 per row from its digest and a seed (splitmix64)."""
    with np.errstate(over="ignore"):
        z = digest_N.astype(np.uint64) + GOLDEN * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def repeats(digest_N: np.ndarray) -> np.ndarray:
    """True for every row whose digest an earlier row has."""
    order = np.argsort(digest_N, kind="stable")
    same = np.zeros(len(order), dtype=bool)
    digest_N = digest_N[order]
    same[order[1:]] = digest_N[1:] == digest_N[:-1]
    return same


def rank_in_group(group_N: np.ndarray, key_N: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each group by ascending key; equal keys in the order of the rows."""
    order = np.lexsort((key_N, group_N)).astype(np.int32)  # four bytes do for two billion rows, here and below
    sorted_group = group_N[order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])[: len(order)]
    sizes = np.diff(np.r_[starts, len(order)])
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes)
    return rank


def allot(quota: dict[tuple[str, ...], float], total: int) -> dict[tuple[str, ...], int]:
    """Whole numbers for the quotas of nested strata (language, task, template, …), summing to `total`.

    Every number is its quota rounded up or down, and so is every sum over a language, over a task of a language, and
    so on: largest remainders, level by level, outermost first. Ties go by name.

    Raises:
        ValueError: the quotas do not sum to `total`.
    """
    if abs(sum(quota.values()) - total) > 1e-6 * max(1, total):
        raise ValueError(f"quotas sum to {sum(quota.values())}, not to {total}")
    depth = max((len(key) for key in quota), default=0)
    given: dict[tuple[str, ...], int] = {(): total}
    for level in range(1, depth + 1):
        sums: dict[tuple[str, ...], float] = {}
        for key, value in quota.items():
            sums[key[:level]] = sums.get(key[:level], 0.0) + value
        children: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for key in sums:
            children.setdefault(key[:-1], []).append(key)
        for parent, keys in children.items():
            given |= _round({key: sums[key] for key in keys}, given[parent])
    return {key: given[key] for key in quota}


def _round(quota: dict[tuple[str, ...], float], total: int) -> dict[tuple[str, ...], int]:
    floors = {key: int(np.floor(value + 1e-9)) for key, value in quota.items()}
    left = total - sum(floors.values())
    by_remainder = sorted(quota, key=lambda key: (floors[key] - quota[key], key))
    return {key: floors[key] + (place < left) for place, key in enumerate(by_remainder)}


def copies(
    stratum_N: np.ndarray, key_N: np.ndarray, weight_N: np.ndarray, names: Sequence[tuple[str, ...]], rows: int | None
) -> np.ndarray:
    """How often each row is taken, so that the strata's shares (times the rows' weights) are kept within one row.

    `rows` None: as many as the weights give. A stratum that must give more than it has repeats all of its rows as often
    as needed, and some once more.
    """
    mass = np.bincount(stratum_N, weights=weight_N, minlength=len(names))
    count = np.bincount(stratum_N, minlength=len(names))
    total = int(round(mass.sum())) if rows is None else rows
    scale = total / mass.sum() if mass.sum() else 0.0
    wanted = allot({names[s]: mass[s] * scale for s in range(len(names)) if count[s]}, total)
    taken = np.zeros(len(names), dtype=np.int64)
    for s, name in enumerate(names):
        taken[s] = wanted.get(name, 0)
    whole, rest = np.divmod(taken, np.maximum(count, 1))
    # heavier rows first would change the composition inside a stratum: chance alone decides who is taken once more
    return (whole.astype(np.uint16)[stratum_N] + (rank_in_group(stratum_N, key_N) < rest[stratum_N])).astype(np.uint16)
