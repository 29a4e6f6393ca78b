"""One example before an instruction is put around it, and the draws that all tasks share.

A task is a function of a language, a generator and a variant. Variants are the balanced siblings of one draw:
with an equal generator, variant v differs only in what makes gold answer number v right. So a whole unit of
variants gives no answer away by its frequency, position or length.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from trainers.world.languages import Fact, Grammar, grammar
from trainers.world.lexicon import (
    COLOURS_AND_SIZES,
    FEMALE_NAMES,
    LANGUAGES,
    MALE_NAMES,
    OBJECTS,
    PEOPLE,
    PIVOT,
    PLACES,
    RELATIONS,
    RULES,
    TIMES,
    VERBS,
)


@dataclass(frozen=True)
class Item:
    """Slots for a template and the right answer.

    `key` names the underlying fact in all languages (what must not be shared between train and test; empty: all train);
    `source` is the language of the prompt, `wording` the list of templates, `choices` empty for generation,
    `valid` holds every right answer where there are several.
    """

    key: str
    source: str
    wording: str
    slots: dict[str, str]
    target: str
    choices: tuple[str, ...] = ()
    valid: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Task:
    """A way to draw items; `variants` is the number of balanced siblings of one draw."""

    name: str
    draw: Callable[[str, random.Random, int], Item]
    variants: int = 1
    classification: bool = False


def draw_fact(
    rng: random.Random,
    adjective: float = 0.2,
    adjuncts: tuple[str | None, ...] = (None, None, None, *PLACES, *TIMES),
    negated: float = 0.0,
) -> Fact:
    """A random fact; `adjective` and `negated` are probabilities, `adjuncts` what to choose from."""
    adjunct = rng.choice(adjuncts)
    return Fact(
        subject=rng.choice(PEOPLE),
        verb=rng.choice(VERBS),
        object=rng.choice(OBJECTS),
        adjective=rng.choice(COLOURS_AND_SIZES) if rng.random() < adjective else None,
        adjunct=adjunct,
        negated=rng.random() < negated,
    )


def distinct_facts(rng: random.Random, count: int) -> tuple[Fact, ...]:
    """Facts without adjective that share neither subject nor object, each with a place or time."""
    subjects, objects = rng.sample(PEOPLE, count), rng.sample(OBJECTS, count)
    adjuncts = PLACES + TIMES
    return tuple(
        Fact(subject, rng.choice(VERBS), object_, adjunct=rng.choice(adjuncts))
        for subject, object_ in zip(subjects, objects, strict=True)
    )


def other(rng: random.Random, options: tuple[str, ...], *taken: str) -> str:
    """A random option that is not taken."""
    return rng.choice([option for option in options if option not in taken])


def draw_pair(rng: random.Random) -> tuple[str, str]:
    """Two different people of one gender, so that a pronoun could mean either."""
    first, second = rng.sample(rng.choice((FEMALE_NAMES, MALE_NAMES)), 2)
    return first, second


def draw_sum(rng: random.Random) -> tuple[int, int]:
    """Start and change of a word problem; both are at least 2, the result at least 1."""
    start = rng.randint(2, 7)
    if start == 2 or rng.random() < 0.6:
        return start, rng.randint(2, 6)
    return start, -rng.randint(2, start - 1)


def draw_rules(rng: random.Random) -> tuple[str, str]:
    """Two different rules."""
    first, second = rng.sample(RULES, 2)
    return first, second


def in_order(rng: random.Random, first: str, second: str) -> tuple[str, str]:
    """The two in random order."""
    return (first, second) if rng.random() < 0.5 else (second, first)


def labels(language: Grammar, names: tuple[str, ...]) -> tuple[str, ...]:
    """Answer words of a language."""
    return tuple(language.words["labels"][name] for name in names)


def options(language: Grammar, task: str) -> dict[str, str]:
    """Template slots that spell the possible answers out."""
    text = language.words["options"][task]
    return {"options": text, "Options": text[:1].upper() + text[1:]}


def relation_slots(code: str, rng: random.Random, variant: int) -> tuple[str, dict[str, str], str, tuple[str, ...]]:
    """Key, slots, answer, choices of a fact and a claim: the same (yes), its opposite (no), another (maybe).

    Fact and claim are negated equally often under every answer: neither of them alone gives it away.
    """
    language = grammar(code)
    fact = draw_fact(rng, adjective=0.0, adjuncts=(None,))
    fact_negated, claim_negated = rng.random() < 0.5, rng.random() < 0.5
    stranger = changed_fact(fact, rng)
    gold = RELATIONS[variant]
    fact = replace(fact, negated=fact_negated)
    claim = fact
    if gold == "no":
        claim = replace(fact, negated=not fact_negated)
    elif gold == "maybe":
        claim = replace(stranger, negated=claim_negated)
    choices = labels(language, RELATIONS)
    slots = {"text": language.sentence(fact), "claim": language.sentence(claim)} | options(language, "relation")
    return fact.key, slots, choices[variant], choices


def changed_fact(fact: Fact, rng: random.Random) -> Fact:
    """The fact with another subject, another object or both."""
    subject, object_ = other(rng, PEOPLE, fact.subject), other(rng, OBJECTS, fact.object)
    both = {"subject": subject, "object": object_}
    return replace(fact, **rng.choice(({"subject": subject}, {"object": object_}, both, both)))


def draw_source(code: str, rng: random.Random) -> str:
    """A language to translate from: English half the time, or any other."""
    others = tuple(source for source in LANGUAGES if source != code)
    return PIVOT if code != PIVOT and rng.random() < 0.5 else rng.choice(others)
