"""What is held out: facts, templates, combinations of language and task, directions of translation.

Every rule here is a pure function of the item, never of the order in which items are drawn.
"""

from __future__ import annotations

import random
import zlib

from trainers.world.instructions import HELDOUT, instructions
from trainers.world.item import Item
from trainers.world.lexicon import LANGUAGES, PIVOT, tables

TEST_SHARE = 0.2  # of the facts of every trained task
ENGLISH_SHARE = 0.05  # of the instructions around text in another language
# Templates of describe are all trained: the template axis scores one right answer, describe has many.
ALWAYS_TRAINED = ("describe_list", "describe_fact")
HELDOUT_LANGUAGE = {
    "relation": "es",
    "sentiment": "fr",
    "topic": "sw",
    "paraphrase": "de",
    "continuation_choice": "zh",
    "role_choice": "sw",
    "qa": "de",
    "arithmetic": "fr",
    "headline": "es",
    "copy": "zh",
    "reverse": "fr",
    "continuation": "zh",
    "reason": "zh",
    "role": "sw",
}
TRANSLATING = ("translation", "word")  # trained from and into English; all other directions are zero-shot


def is_test_fact(task: str, key: str) -> bool:
    """Whether this fact of this task is kept for testing, in every language; what has no key is never kept."""
    return bool(key) and zlib.crc32(f"{task}|{key}".encode()) % 1000 < 1000 * TEST_SHARE


def is_heldout_combination(task: str, code: str, source: str) -> bool:
    """Whether training never shows this task in this language (translation: from this source into it)."""
    if task in TRANSLATING:
        return PIVOT not in (source, code)
    return HELDOUT_LANGUAGE.get(task) == code


def heldout_languages(task: str) -> tuple[str, ...]:
    """Languages in which a task has a held-out combination."""
    if task in TRANSLATING:
        return tuple(code for code in LANGUAGES if code != PIVOT)
    return (HELDOUT_LANGUAGE[task],) if task in HELDOUT_LANGUAGE else ()


def trained_languages(task: str, languages: tuple[str, ...]) -> tuple[str, ...]:
    """Languages in which a task is trained (translation and word: into which)."""
    return tuple(code for code in languages if HELDOUT_LANGUAGE.get(task) != code)


def draw_template(item: Item, axis: str, rng: random.Random) -> tuple[str, str]:
    """Name and text of an instruction for an item; axis is train, heldin, template, language or task.

    Held-out combinations get English instructions: their own language's would be words never seen.
    """
    english = rng.random() < ENGLISH_SHARE
    code = "en" if english or axis == "language" else item.source
    if axis == "task":
        code = item.source
    texts = instructions(code, item.wording)
    indices = range(len(texts))
    if axis != "task" and item.wording not in ALWAYS_TRAINED:
        boundary = len(texts) - HELDOUT
        indices = range(boundary, len(texts)) if axis == "template" else range(boundary)
    index = rng.choice(indices)
    return f"{code}/{item.wording}/{index}", texts[index]


def render(item: Item, axis: str, rng: random.Random) -> tuple[str, str]:
    """Template name and prompt of an item."""
    name, text = draw_template(item, axis, rng)
    slots = item.slots
    if name.startswith("en/") and "to" in slots:
        slots = slots | {"lang": tables("en")["languages"][slots["to"]]}
    return name, text.format(**slots)
