"""The held-out task clusters: trained skills under guises that training never shows.

nli re-phrases relation, copa and story re-phrase continuation and reason, winograd re-phrases role.
"""

from __future__ import annotations

import random

from trainers.world.item import Item, Task, draw_pair, draw_rules, in_order, relation_slots
from trainers.world.languages import grammar
from trainers.world.lexicon import NAMES, PLACES, ROLES


def nli(code: str, rng: random.Random, variant: int) -> Item:
    """Premise and hypothesis: yes, no, maybe."""
    key, slots, target, choices = relation_slots(code, rng, variant)
    return Item(key, code, "nli", slots, target, choices)


def copa(code: str, rng: random.Random, variant: int) -> Item:
    """The more plausible effect or cause of two; the siblings swap gold and distractor."""
    language = grammar(code)
    name, rules, asked = rng.choice(NAMES), draw_rules(rng), rng.choice(("effect", "cause"))
    causes, effects = zip(*(language.rule(name, rule) for rule in rules), strict=True)
    texts, answers = (causes, effects) if asked == "effect" else (effects, causes)
    a, b = choices = in_order(rng, *answers)
    slots = {"text": texts[variant], "a": a, "b": b}
    return Item(f"{name}-{asked}-{'-'.join(rules)}", code, f"copa_{asked}", slots, answers[variant], choices)


def story(code: str, rng: random.Random, variant: int) -> Item:
    """A story of two sentences and two endings, which the prompt shows or does not show."""
    language = grammar(code)
    name, rules, place = rng.choice(NAMES), draw_rules(rng), rng.choice(PLACES)
    causes, effects = zip(*(language.rule(name, rule) for rule in rules), strict=True)
    a, b = choices = in_order(rng, *effects)
    text = language.join((language.person_located(name, place), causes[variant]))
    wording = rng.choice(("story_shown", "story_hidden"))
    key = f"{name}-{place}-{'-'.join(rules)}"
    return Item(key, code, wording, {"text": text, "a": a, "b": b}, effects[variant], choices)


def winograd(code: str, rng: random.Random, variant: int) -> Item:
    """Which of two people of one gender a pronoun means; the siblings are a pair of twin sentences."""
    language = grammar(code)
    people, action = draw_pair(rng), rng.choice(ROLES)
    text, *phrases = language.role(action, *people)
    names = [language.name(person) for person in people]
    a, b = choices = in_order(rng, *names)
    pronoun = language.pronoun(people[0])
    slots = {
        "text": text,
        "claim": language.says(pronoun, phrases[variant]),
        "pronoun": pronoun,
        "a": a,
        "b": b,
    }
    return Item(f"{'-'.join(people)}-{action}", code, "winograd", slots, names[variant], choices)


HELDOUT_TASKS = {
    task.name: task
    for task in (
        Task("nli", nli, 3, True),
        Task("copa", copa, 2, True),
        Task("story", story, 2, True),
        Task("winograd", winograd, 2, True),
    )
}
