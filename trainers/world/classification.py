"""Trained tasks whose answer is chosen. Variants of a draw differ in the gold answer alone."""

from __future__ import annotations

import random

from trainers.world.item import (
    Item,
    Task,
    changed_fact,
    draw_fact,
    draw_pair,
    draw_rules,
    in_order,
    labels,
    options,
    relation_slots,
)
from trainers.world.languages import grammar
from trainers.world.lexicon import NAMES, OPINED, PLACES, ROLES, STYLES, TIMES, TOPICS

YES_NO = ("yes", "no")


def relation(code: str, rng: random.Random, variant: int) -> Item:
    """Does a claim follow from a fact: yes, no, maybe."""
    key, slots, target, choices = relation_slots(code, rng, variant)
    return Item(key, code, "relation", slots, target, choices)


def sentiment(code: str, rng: random.Random, variant: int) -> Item:
    """A positive or negative opinion; half the negated ones hold the opposite adjective."""
    language = grammar(code)
    name, thing, style = rng.choice(NAMES), rng.choice(OPINED), rng.choice(STYLES)
    choices = labels(language, ("positive", "negative"))
    slots = {"text": language.opinion(name, thing, variant == 0, style)} | options(language, "sentiment")
    return Item(f"{name}-{thing}-{style}", code, "sentiment", slots, choices[variant], choices)


def topic(code: str, rng: random.Random, variant: int) -> Item:
    """What two things that someone talks about have in common."""
    language = grammar(code)
    name, (first, second) = rng.choice(NAMES), rng.sample(range(4), 2)
    things = TOPICS[tuple(TOPICS)[variant]]
    choices = tuple(language.words["topics"][topic] for topic in TOPICS)
    slots = {"text": language.talk(name, things[first], things[second])} | options(language, "topic")
    return Item(f"{name}-{first}-{second}", code, "topic", slots, choices[variant], choices)


def paraphrase(code: str, rng: random.Random, variant: int) -> Item:
    """Two sentences, one with its place or time first: the same (yes), or someone or something else (no)."""
    language = grammar(code)
    fact = draw_fact(rng, adjective=0.0, adjuncts=PLACES + TIMES)
    stranger, swaps = changed_fact(fact, rng), rng.random() < 0.5
    second = fact if variant == 0 else stranger
    sentences = (language.sentence(fact), language.fronted(second))
    a, b = sentences[::-1] if swaps else sentences
    choices = labels(language, YES_NO)
    return Item(fact.key, code, "paraphrase", {"a": a, "b": b}, choices[variant], choices)


def continuation_choice(code: str, rng: random.Random, variant: int) -> Item:
    """Which of two effects a cause has; the siblings swap gold and distractor."""
    language = grammar(code)
    name, rules = rng.choice(NAMES), draw_rules(rng)
    causes, effects = zip(*(language.rule(name, rule) for rule in rules), strict=True)
    a, b = choices = in_order(rng, *effects)
    slots = {"text": causes[variant], "a": a, "b": b}
    key = f"{name}-{'-'.join(sorted(rules))}"
    return Item(key, code, "continuation_choice", slots, effects[variant], choices)


def role_choice(code: str, rng: random.Random, variant: int) -> Item:
    """The same with the two names to choose from; the siblings ask for agent and patient."""
    language = grammar(code)
    people, action = draw_pair(rng), rng.choice(ROLES)
    text, *phrases = language.role(action, *people)
    names = [language.name(person) for person in people]
    a, b = choices = in_order(rng, *names)
    slots = {"text": text, "question": language.who_does(phrases[variant]), "a": a, "b": b}
    return Item(f"{'-'.join(people)}-{action}", code, "role_choice", slots, names[variant], choices)


CLASSIFICATION = {
    task.name: task
    for task in (
        Task("relation", relation, 3, True),
        Task("sentiment", sentiment, 2, True),
        Task("topic", topic, 4, True),
        Task("paraphrase", paraphrase, 2, True),
        Task("continuation_choice", continuation_choice, 2, True),
        Task("role_choice", role_choice, 2, True),
    )
}
