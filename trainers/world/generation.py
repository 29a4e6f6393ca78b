"""Trained tasks whose answer is written: translating, reading, counting, word order, what comes next, why."""

from __future__ import annotations

import random

from trainers.world.item import Item, Task, draw_fact, draw_pair, draw_source, draw_sum, other
from trainers.world.languages import Fact, Grammar, grammar
from trainers.world.lexicon import (
    ANIMALS,
    COLOURS_AND_SIZES,
    COUNTED,
    NAMES,
    NOUNS,
    OBJECTS,
    PEOPLE,
    PLACES,
    ROLES,
    RULES,
    TIMES,
    WORDS,
    tables,
)
from trainers.world.sentences import any_sentence


def translation(code: str, rng: random.Random, variant: int) -> Item:
    """A sentence of any kind, from another language."""
    source = draw_source(code, rng)
    key, render = any_sentence(rng)
    slots = {"text": render(grammar(source)), "lang": tables(source)["languages"][code], "to": code}
    return Item(f"{source}>{code}|{key}", source, "translation", slots, render(grammar(code)))


def word(code: str, rng: random.Random, variant: int) -> Item:
    """A word of the dictionary, which everybody must know, or a noun with article and perhaps adjective."""
    source, concept = draw_source(code, rng), rng.choice(WORDS)
    phrase = concept in NOUNS and rng.random() < 0.5
    adjective = rng.choice(COLOURS_AND_SIZES) if phrase and rng.random() < 0.5 else None
    from_text, target = (_word(grammar(which), concept, phrase, adjective) for which in (source, code))
    slots = {"word": from_text, "lang": tables(source)["languages"][code], "to": code}
    key = f"{source}>{code}|{adjective}-{concept}" if phrase else ""
    return Item(key, source, "word", slots, target)


def _word(language: Grammar, concept: str, phrase: bool, adjective: str | None) -> str:
    if concept in NOUNS:
        return language.np(concept, adjective) if phrase else language.bare(concept)
    if concept in COLOURS_AND_SIZES:
        return language.dictionary_form(concept)
    group = next(name for name in ("labels", "topics") if concept in language.words[name])
    return language.words[group][concept]


def qa(code: str, rng: random.Random, variant: int) -> Item:
    """Who, what or where, from one or two sentences; the answer is copied from them."""
    language = grammar(code)
    if rng.random() < 0.2:
        return _where_is(code, rng)
    kind = rng.choice(("who", "what", "where"))
    asked = draw_fact(rng, adjuncts=PLACES if kind == "where" else (None, None, *PLACES, *TIMES))
    texts = [language.sentence(asked)]
    if rng.random() < 0.3:
        second = Fact(other(rng, PEOPLE, asked.subject), asked.verb, other(rng, OBJECTS, asked.object))
        texts.insert(rng.randrange(2), language.sentence(second))
    question, answer = getattr(language, kind)(asked)
    slots = {"text": language.join(texts), "question": question}
    return Item(f"{kind}-{asked.key}", code, "reading", slots, answer)


def _where_is(code: str, rng: random.Random) -> Item:
    language = grammar(code)
    things, places = rng.sample(OBJECTS + ANIMALS, 2), rng.sample(PLACES, 2)
    texts = [language.located(thing, place) for thing, place in zip(things, places, strict=True)]
    slots = {"text": language.join(texts), "question": language.where_is(things[0])}
    if rng.random() < 0.5:
        slots["text"] = language.join(texts[::-1])
    return Item(f"{things[0]}@{places[0]}|{things[1]}", code, "reading", slots, tables(code)["adjuncts"][places[0]])


def arithmetic(code: str, rng: random.Random, variant: int) -> Item:
    """A small addition or subtraction in words."""
    (start, change), name, thing = draw_sum(rng), rng.choice(NAMES), rng.choice(COUNTED)
    text, question = grammar(code).counting(name, thing, start, change)
    slots = {"text": text, "question": question}
    return Item(f"{name}-{thing}-{start}{change:+d}", code, "reading", slots, str(start + change))


def headline(code: str, rng: random.Random, variant: int) -> Item:
    """The main thing of a sentence and, half the time, a second one about where something is."""
    language = grammar(code)
    fact = draw_fact(rng, adjective=0.5, adjuncts=PLACES + TIMES)
    texts = [language.sentence(fact)]
    if rng.random() < 0.5:
        texts.append(language.located(rng.choice(ANIMALS), rng.choice(PLACES)))
    return Item(fact.key, code, "headline", {"text": language.join(texts)}, language.headline(fact))


def _listed(code: str, rng: random.Random, wording: str, backwards: bool) -> Item:
    language = grammar(code)
    concepts = rng.sample(NOUNS, rng.choice((2, 3)))
    words = [language.bare(concept) for concept in concepts]
    target = language.listing(words[::-1] if backwards else words)
    return Item("-".join(concepts), code, wording, {"words": language.listing(words)}, target)


def copy(code: str, rng: random.Random, variant: int) -> Item:
    """Two or three words again."""
    return _listed(code, rng, "copy", backwards=False)


def reverse(code: str, rng: random.Random, variant: int) -> Item:
    """Two or three words from last to first."""
    return _listed(code, rng, "reverse", backwards=True)


def continuation(code: str, rng: random.Random, variant: int) -> Item:
    """The effect of a cause."""
    name, rule = rng.choice(NAMES), rng.choice(RULES)
    cause, effect = grammar(code).rule(name, rule)
    return Item(f"{name}-{rule}", code, "continuation", {"text": cause}, effect)


def reason(code: str, rng: random.Random, variant: int) -> Item:
    """The cause of an effect."""
    name, rule = rng.choice(NAMES), rng.choice(RULES)
    cause, effect = grammar(code).rule(name, rule)
    return Item(f"{name}-{rule}", code, "reason", {"text": effect}, cause)


def role(code: str, rng: random.Random, variant: int) -> Item:
    """Who of two people something holds of, after what one did to the other."""
    language = grammar(code)
    people, action = draw_pair(rng), rng.choice(ROLES)
    text, *phrases = language.role(action, *people)
    side = rng.randrange(2)
    slots = {"text": text, "question": language.who_does(phrases[side])}
    return Item(f"{'-'.join(people)}-{action}", code, "reading", slots, language.name(people[side]))


GENERATION = {
    draw.__name__: Task(draw.__name__, draw)
    for draw in (translation, word, qa, arithmetic, headline, copy, reverse, continuation, reason, role)
}
