"""Languages of the mini world: `CODE.toml` holds words, patterns and templates, a class the grammar."""

from __future__ import annotations

import functools

from trainers.world.languages.chinese import Chinese
from trainers.world.languages.english import Fact, Grammar
from trainers.world.languages.german import German
from trainers.world.languages.romance import French, Spanish
from trainers.world.languages.swahili import Swahili
from trainers.world.lexicon import tables

__all__ = ["Fact", "Grammar", "grammar"]

CLASSES = {"en": Grammar, "es": Spanish, "de": German, "fr": French, "sw": Swahili, "zh": Chinese}


@functools.cache
def grammar(code: str) -> Grammar:
    """The grammar of a language. Raises ValueError for an unknown language."""
    tables(code)
    return CLASSES[code](code)
