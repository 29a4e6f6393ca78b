"""Instructions: what is put around an item's slots.

Those of trained tasks are made of a body (what is given) and two cues (what to do with it) in the arrangements below;
the last HELDOUT of them are kept for testing, so a new instruction holds known words in an unseen arrangement.
Those of the held-out clusters are written out one by one.
"""

from __future__ import annotations

import functools

from trainers.world.languages import grammar
from trainers.world.lexicon import tables

# (cue, arrangement of the parts). What is given comes first: a network with absolute positions finds it.
ARRANGEMENTS = (
    (0, ("body", "cue")),
    (1, ("body", "cue")),
    (0, ("body", "cue", "answer")),
    (1, ("body", "task", "cue")),
    (0, ("body", "task", "cue", "answer")),
    (0, ("body", "task", "cue")),
    (1, ("body", "cue", "answer")),
)
HELDOUT = 2  # the last arrangements of every trained list


@functools.cache
def instructions(code: str, wording: str) -> tuple[str, ...]:
    """All instructions of a list in a language, as format strings of an item's slots."""
    words = tables(code)
    if wording in words["templates"]:
        return tuple(words["templates"][wording])
    parts = words["frames"] | words["instructions"][wording]
    return tuple(
        grammar(code).space.join(parts["cues"][cue] if part == "cue" else parts[part] for part in arrangement)
        for cue, arrangement in ARRANGEMENTS
    )
