"""Z-Bench: answers are written here and graded by a judge afterwards."""

from __future__ import annotations


def answered(doc: dict, results: list[str]) -> dict[str, float]:
    """answered: 1 if there is any text; characters: its length. Neither says whether the answer is right."""
    text = results[0].strip()
    return {"answered": float(bool(text)), "characters": float(len(text))}
