"""Words: the concepts of the mini world and their hand-written entries in six languages.

Concepts are English keys; `languages/CODE.toml` holds the words, sentence patterns and instruction templates
of one language. A new language is one such file plus a class beside it.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

LANGUAGES = ("en", "es", "de", "fr", "sw", "zh")
FEMALE_NAMES = ("Anna", "Maria", "Lisa")
MALE_NAMES = ("Tom", "Paul", "Peter")
NAMES = FEMALE_NAMES + MALE_NAMES

PEOPLE = ("girl", "boy", "teacher", "doctor", "king")
OBJECTS = ("apple", "book", "lamp", "key", "bread")
ANIMALS = ("dog", "cat", "horse", "bird", "fish")
COUNTED = ("apple", "book", "key")
OPINED = ("film", "soup", "book")
VERBS = ("buy", "sell", "see", "hide")
COLOURS_AND_SIZES = ("big", "small", "red")
PLACES = ("garden", "kitchen", "market", "school")
TIMES = ("today", "evening")
TOPICS = {
    "animals": ("dog", "cat", "horse", "bird"),
    "food": ("apple", "bread", "egg", "soup"),
    "weather": ("rain", "wind", "snow", "sun"),
    "furniture": ("chair", "table", "bed", "cupboard"),
}
RELATIONS = ("yes", "no", "maybe")
RULES = ("hungry", "thirsty", "tired", "cold", "rain", "win", "sad", "key")
# Rules whose effects could be taken for each other: never shown side by side.
CONFUSABLE = (frozenset(("rain", "cold")), frozenset(("sad", "key")))
STYLES = ("plain", "very", "not", "likes", "both")  # of an opinion
ROLES = ("help", "teach", "ask", "pay")


@functools.cache
def tables(code: str) -> dict:
    """The parsed `languages/CODE.toml`. Raises ValueError for an unknown language."""
    if code not in LANGUAGES:
        raise ValueError(f"unknown language {code!r}: choose one of {', '.join(LANGUAGES)}")
    text = (Path(__file__).parent / "languages" / f"{code}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


NOUNS = tuple(tables("en")["nouns"])
WORDS = NOUNS + COLOURS_AND_SIZES + tuple(tables("en")["labels"]) + tuple(TOPICS)
