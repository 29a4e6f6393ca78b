"""Every kind of sentence of the mini world, as what can be translated."""

from __future__ import annotations

import random
from collections.abc import Callable

from trainers.world.item import draw_fact, draw_pair
from trainers.world.languages import Grammar
from trainers.world.lexicon import ANIMALS, NAMES, OBJECTS, PLACES, ROLES, RULES, TIMES

Sentence = tuple[str, Callable[[Grammar], str]]  # what it is about, and how to say it in a language


def any_sentence(rng: random.Random) -> Sentence:
    """A key and a function that renders one sentence in a given grammar."""
    kind = rng.choices(
        ("fact", "located", "rule", "role"),
        (50, 14, 20, 16),
    )[0]
    return _KINDS[kind](rng)


def _fact_sentence(rng: random.Random) -> Sentence:
    fact = draw_fact(rng, 0.1, (*[None] * 14, *PLACES, *TIMES), negated=0.15)
    return fact.key, lambda language: language.sentence(fact)


def _located_sentence(rng: random.Random) -> Sentence:
    thing, place = rng.choice(OBJECTS + ANIMALS), rng.choice(PLACES)
    return f"{thing}@{place}", lambda language: language.located(thing, place)


def _rule_sentence(rng: random.Random) -> Sentence:
    name, rule, side = rng.choice(NAMES), rng.choice(RULES), rng.randrange(2)
    return f"{name}-{rule}-{side}", lambda language: language.rule(name, rule)[side]


def _role_sentence(rng: random.Random) -> Sentence:
    (agent, patient), action, side = draw_pair(rng), rng.choice(ROLES), rng.randrange(3)

    def render(language: Grammar) -> str:
        parts = language.role(action, agent, patient)
        return parts[0] if side == 0 else language.says(language.name(agent), parts[side])

    return f"{agent}-{action}-{patient}-{side}", render


_KINDS = {
    "fact": _fact_sentence,
    "located": _located_sentence,
    "rule": _rule_sentence,
    "role": _role_sentence,
}
