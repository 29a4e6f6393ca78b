"""The grammar of English, the shape that the other languages share, and the facts to be said."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainers.world.lexicon import FEMALE_NAMES, tables


@dataclass(frozen=True)
class Fact:
    """Who does what to which thing, perhaps with one place or time; `negated`: it does not happen."""

    subject: str
    verb: str
    object: str
    adjective: str | None = None
    adjunct: str | None = None
    negated: bool = False

    @property
    def key(self) -> str:
        """A name for what the fact is about, the same in every language and polarity."""
        return "-".join((self.subject, self.verb, self.object, self.adjective or "", self.adjunct or ""))


def capitalised(text: str) -> str:
    """`text` with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


class Grammar:
    """English, and what the other languages share. All methods take concept keys and return text."""

    space = " "
    stop = "."
    comma = ", "
    note_parts = " "
    note_head = ": "
    note_end = "; "

    def __init__(self, code: str) -> None:
        self.code = code
        self.words = tables(code)
        self.patterns: dict[str, str] = self.words["patterns"]

    # Nouns and adjectives

    def tag(self, concept: str) -> str:
        """Gender or noun class of a noun."""
        return self.words["nouns"][concept].split()[0]

    def bare(self, concept: str) -> str:
        """The noun without article."""
        return self.words["nouns"][concept].split()[1]

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        """The noun with its definite article and, if given, an agreeing adjective."""
        return "the " + (f"{self.words['adjectives'][adjective]} " if adjective else "") + self.bare(concept)

    def name(self, name: str) -> str:
        """A person's name as this language writes it."""
        return self.words.get("names", {}).get(name, name)

    def dictionary_form(self, adjective: str) -> str:
        """The adjective as a dictionary lists it."""
        return self.words["adjectives"][adjective]

    def predicative(self, concept: str, adjective: str) -> str:
        """The adjective as it stands after the verb "to be" with this noun as subject."""
        return self.dictionary_form(adjective)

    # Facts

    def adjunct(self, fact: Fact) -> str:
        """The place or time with a space before it, or nothing."""
        return f" {self.words['adjuncts'][fact.adjunct]}" if fact.adjunct else ""

    def verb(self, fact: Fact) -> str:
        """The finite verb with its negation."""
        third_person, infinitive = self.words["verbs"][fact.verb].split()
        return f"does not {infinitive}" if fact.negated else third_person

    def object(self, fact: Fact) -> str:
        """The object with article and adjective."""
        return self.np(fact.object, fact.adjective, accusative=True)

    def sentence(self, fact: Fact) -> str:
        """The fact in neutral word order."""
        clause = f"{self.np(fact.subject)} {self.verb(fact)} {self.object(fact)}{self.adjunct(fact)}"
        return capitalised(clause) + self.stop

    def fronted(self, fact: Fact) -> str:
        """The same fact with its place or time first."""
        clause = f"{self.adjunct(fact).strip()} {self.np(fact.subject)} {self.verb(fact)} {self.object(fact)}"
        return capitalised(clause) + self.stop

    def headline(self, fact: Fact) -> str:
        """Who does what, without adjective, place and time, as a newspaper would put it."""
        return f"{self.bare(fact.subject)} {self.verb(fact)} {self.bare(fact.object)}"

    def note(self, fact: Fact) -> str:
        """The fact as a telegraphic note: place or time, then bare words."""
        words = self.note_parts.join((self.bare(fact.subject), self.verb(fact), self.bare(fact.object)))
        return self.adjunct(fact).strip() + self.note_head + words

    def notes(self, facts: tuple[Fact, ...]) -> str:
        """Several notes in one line."""
        return self.note_end.join(self.note(fact) for fact in facts)

    # Questions: each returns question and answer

    def who(self, fact: Fact) -> tuple[str, str]:
        """Who acts."""
        return self.who_does(f"{self.verb(fact)} {self.np(fact.object, accusative=True)}"), self.np(fact.subject)

    def what(self, fact: Fact) -> tuple[str, str]:
        """Which thing is acted on."""
        infinitive = self.words["verbs"][fact.verb].split()[1]
        return f"What does {self.np(fact.subject)} {infinitive}?", self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        """At which place."""
        infinitive = self.words["verbs"][fact.verb].split()[1]
        question = f"Where does {self.np(fact.subject)} {infinitive} {self.np(fact.object, accusative=True)}?"
        return question, self.adjunct(fact).strip()

    def who_does(self, rest: str) -> str:
        """The question for the subject of a verb phrase."""
        return self.patterns["who"].format(rest=rest)

    # Other sentences

    def is_at(self, subject: str, concept: str | None = None) -> str:
        """Subject and the verb of location ("is"); `concept` is its noun, None for a person's name."""
        return f"{subject} is"

    def located(self, concept: str, place: str) -> str:
        """Where an animal or thing is."""
        at = self.is_at(self.np(concept), concept)
        return capitalised(f"{at}{self.space}{self.words['adjuncts'][place]}") + self.stop

    def person_located(self, name: str, place: str) -> str:
        """Where a person with a name is."""
        return f"{self.is_at(self.name(name))}{self.space}{self.words['adjuncts'][place]}{self.stop}"

    def where_is(self, concept: str) -> str:
        """The question for the place of an animal or thing."""
        return self.patterns["where_is"].format(np=self.np(concept))

    def opinion(self, name: str, concept: str, positive: bool, style: str) -> str:
        """What a person says of a thing; style: plain, very, not (negated opposite), likes, both."""
        likes = self.patterns["likes" if positive else "dislikes"]
        liking = likes.format(name=self.name(name), np=self.np(concept, accusative=True))
        if style == "likes":
            return liking
        adjective = "good" if positive != (style == "not") else "bad"
        judgement = capitalised(f"{self.np(concept)} {self.judgement(concept, adjective, style)}") + self.stop
        said = self.patterns["opinion"].format(name=self.name(name), sentence=judgement)
        return self.join((said, liking)) if style == "both" else said

    def judgement(self, concept: str, adjective: str, style: str) -> str:
        """The predicate of an opinion."""
        is_ = self.patterns["is_not" if style == "not" else "is"]
        very = f"{self.patterns['very']} " if style == "very" else ""
        return f"{is_} {very}{self.predicative(concept, adjective)}"

    def talk(self, name: str, first: str, second: str) -> str:
        """A person talks about two things."""
        things = {"a": self.np(first, accusative=True), "b": self.np(second, accusative=True)}
        return self.patterns["talks"].format(name=self.name(name), **things)

    def counting(self, name: str, thing: str, start: int, change: int) -> tuple[str, str]:
        """A word problem (change > 0 is bought, < 0 sold) and its question."""
        slots = {"name": self.name(name), "a": start, "b": abs(change)} | self.counted(thing)
        return (
            self.patterns["adds" if change > 0 else "takes"].format(**slots),
            self.patterns["how_many"].format(**slots),
        )

    def counted(self, thing: str) -> dict[str, str]:
        """Pattern slots of a counted thing."""
        return {"things": self.words["plurals"][thing]}

    def rule(self, name: str, rule: str) -> tuple[str, str]:
        """Cause and effect of a causal rule, about one person."""
        cause, effect = (self.agree(text, name).format(n=self.name(name)) for text in self.words["rules"][rule])
        return cause, effect

    def agree(self, text: str, name: str) -> str:
        """Resolve [masculine|feminine] for a person."""
        return re.sub(r"\[(.*?)\|(.*?)\]", r"\2" if name in FEMALE_NAMES else r"\1", text)

    def role(self, action: str, agent: str, patient: str) -> tuple[str, str, str]:
        """What one person does to another, then a verb phrase true of the agent and one of the patient."""
        sentence, of_agent, of_patient = self.words["roles"][action]
        return sentence.format(a=self.name(agent), b=self.name(patient)), of_agent, of_patient

    def pronoun(self, name: str) -> str:
        """he or she."""
        return self.words["pronouns"]["f" if name in FEMALE_NAMES else "m"]

    def says(self, subject: str, verb_phrase: str) -> str:
        """A full sentence of a subject and a verb phrase."""
        return capitalised(f"{subject}{self.space}{verb_phrase}") + self.stop

    # Text

    def join(self, sentences: tuple[str, ...] | list[str]) -> str:
        """Sentences in a row."""
        return self.space.join(sentences)

    def listing(self, words: list[str] | tuple[str, ...]) -> str:
        """Words in a list."""
        return self.comma.join(words)
