"""Words: the concepts of the mini world and their hand-written entries in six languages.

Concepts are English keys; `languages/CODE.toml` holds the words, sentence patterns and instruction templates
of one language. A new language is one such file plus a class beside it.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = ("en", "es", "de", "fr", "sw", "zh")
PIVOT = "en"  # one side of every trained direction of translation
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
RULES = ("hungry", "thirsty", "tired", "cold", "win", "sad", "dirty", "late")
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


def han_words() -> list[str]:
    """The words of the Chinese lexicon, sorted: Chinese is written without spaces, so a tokenizer is told of them."""
    sections = [table for name, table in tables("zh").items() if name not in ("options", "templates")]
    strings = (re.sub(r"{.*?}", " ", text) for text in _strings(sections))
    return sorted({run for text in strings for run in re.findall(r"[\u4e00-\u9fff]+", text)})


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
