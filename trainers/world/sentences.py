"""Every kind of sentence of the mini world, as what can be translated."""

from __future__ import annotations

import random
from collections.abc import Callable

from trainers.world.item import draw_fact, draw_pair, draw_sum
from trainers.world.languages import Grammar
from trainers.world.lexicon import (
    ANIMALS,
    COUNTED,
    NAMES,
    OBJECTS,
    OPINED,
    PLACES,
    ROLES,
    RULES,
    STYLES,
    TOPICS,
)

Sentence = tuple[str, Callable[[Grammar], str]]  # what it is about, and how to say it in a language


def any_sentence(rng: random.Random) -> Sentence:
    """A key and a function that renders one sentence in a given grammar."""
    kind = rng.choices(
        ("fact", "located", "rule", "role", "question", "opinion", "talk", "counting"),
        (50, 10, 16, 12, 3, 3, 3, 3),
    )[0]
    return _KINDS[kind](rng)


def _fact_sentence(rng: random.Random) -> Sentence:
    fact = draw_fact(rng, negated=0.3)
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


def _question_sentence(rng: random.Random) -> Sentence:
    fact, kind = draw_fact(rng, adjective=0.0, adjuncts=PLACES), rng.choice(("who", "what", "where"))
    return f"{fact.key}-{kind}", lambda language: getattr(language, kind)(fact)[0]


def _opinion_sentence(rng: random.Random) -> Sentence:
    name, thing, positive = rng.choice(NAMES), rng.choice(OPINED), rng.random() < 0.5
    style = rng.choice(STYLES[:-1])
    return f"{name}-{thing}-{positive}-{style}", lambda language: language.opinion(name, thing, positive, style)


def _talk_sentence(rng: random.Random) -> Sentence:
    name, things = rng.choice(NAMES), rng.sample(rng.choice(tuple(TOPICS.values())), 2)
    return f"{name}-{things}", lambda language: language.talk(name, *things)


def _counting_sentence(rng: random.Random) -> Sentence:
    name, thing, side = rng.choice(NAMES), rng.choice(COUNTED), rng.randrange(2)
    start, change = draw_sum(rng)
    key = f"{name}-{thing}-{start}-{change}-{side}"
    return key, lambda language: language.counting(name, thing, start, change)[side]


_KINDS = {
    "fact": _fact_sentence,
    "located": _located_sentence,
    "rule": _rule_sentence,
    "role": _role_sentence,
    "question": _question_sentence,
    "opinion": _opinion_sentence,
    "talk": _talk_sentence,
    "counting": _counting_sentence,
}
