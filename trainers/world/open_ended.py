"""Trained tasks with long answers (retell) and with many right answers (describe)."""

from __future__ import annotations

import itertools
import random

from trainers.world.item import Item, Task, distinct_facts
from trainers.world.languages import grammar
from trainers.world.lexicon import ANIMALS, NOUNS, PEOPLE


def retell(code: str, rng: random.Random, variant: int) -> Item:
    """Several notes written out as sentences, in order: one right answer."""
    language = grammar(code)
    facts = distinct_facts(rng, rng.choice(language.words["retell_sentences"]))
    target = language.join([language.sentence(fact) for fact in facts])
    return Item("|".join(fact.key for fact in facts), code, "retell", {"notes": language.notes(facts)}, target)


def describe(code: str, rng: random.Random, variant: int) -> Item:
    """Any three fitting words of a list in any order, or either of two notes as a sentence."""
    return _describe_list(code, rng) if rng.random() < 0.8 else _describe_fact(code, rng)


def _describe_list(code: str, rng: random.Random) -> Item:
    language = grammar(code)
    topic, members = rng.choice((("animals", ANIMALS), ("people", PEOPLE)))
    fitting = rng.sample(members, 4)
    concepts = fitting + rng.sample([noun for noun in NOUNS if noun not in ANIMALS + PEOPLE], 2)
    rng.shuffle(concepts)
    words = [language.bare(concept) for concept in fitting]
    valid = tuple(language.listing(three) for three in itertools.permutations(words, 3))
    listed = language.listing([language.bare(concept) for concept in concepts])
    slots = {"topic": language.words["topics"][topic], "words": listed}
    return Item("-".join(sorted(concepts)), code, "describe_list", slots, rng.choice(valid), (), valid)


def _describe_fact(code: str, rng: random.Random) -> Item:
    language = grammar(code)
    facts = distinct_facts(rng, 2)
    valid = tuple(render(fact) for fact in facts for render in (language.sentence, language.fronted))
    key = "|".join(fact.key for fact in facts)
    return Item(key, code, "describe_fact", {"notes": language.notes(facts)}, rng.choice(valid), (), valid)


OPEN_ENDED = {"retell": Task("retell", retell), "describe": Task("describe", describe)}
