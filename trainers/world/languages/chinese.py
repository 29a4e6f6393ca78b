"""Chinese: word order, measure words, no spaces."""

from __future__ import annotations

from trainers.world.languages.english import Fact, Grammar
from trainers.world.lexicon import PLACES, TIMES


class Chinese(Grammar):
    """No spaces; place and time stand before the verb, the negation before the place."""

    space = ""
    stop = "。"
    comma = "、"
    note_parts = "、"
    note_head = "："
    note_end = "；"

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        return (self.words["adjectives"][adjective] if adjective else "") + self.bare(concept)

    def verb(self, fact: Fact) -> str:
        return self.words["verbs"][fact.verb].split()[0]

    def predicate(self, fact: Fact, adjunct: str, object_: str) -> str:
        """Time, negation, place, verb, object."""
        negation = self.words["verbs"][fact.verb].split()[1] if fact.negated else ""
        time, place = (adjunct, "") if fact.adjunct in TIMES else ("", adjunct)
        return f"{time}{negation}{place}{self.verb(fact)}{object_}"

    def sentence(self, fact: Fact) -> str:
        predicate = self.predicate(fact, self.adjunct(fact).strip(), self.object(fact))
        return self.np(fact.subject) + predicate + self.stop

    def fronted(self, fact: Fact) -> str:
        pause = "，" if fact.adjunct in PLACES else ""
        clause = self.np(fact.subject) + self.predicate(fact, "", self.object(fact))
        return f"{self.adjunct(fact).strip()}{pause}{clause}{self.stop}"

    def headline(self, fact: Fact) -> str:
        return self.np(fact.subject) + self.predicate(fact, "", self.np(fact.object))

    def who(self, fact: Fact) -> tuple[str, str]:
        return self.who_does(self.predicate(fact, "", self.np(fact.object))), self.np(fact.subject)

    def what(self, fact: Fact) -> tuple[str, str]:
        return f"{self.np(fact.subject)}{self.predicate(fact, '', '什么')}？", self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        question = f"{self.np(fact.subject)}在哪里{self.verb(fact)}{self.np(fact.object)}？"
        return question, self.adjunct(fact).strip()

    def is_at(self, subject: str, concept: str | None = None) -> str:
        return subject  # the place itself begins with 在

    def judgement(self, concept: str, adjective: str, style: str) -> str:
        degree = {"not": self.patterns["is_not"], "very": self.patterns["very"]}
        return degree.get(style, self.patterns["is"]) + self.predicative(concept, adjective)

    def opinion(self, name: str, concept: str, positive: bool, style: str) -> str:
        return super().opinion(name, concept, positive, style).replace(" ", "")

    def counted(self, thing: str) -> dict[str, str]:
        measure, things = self.words["plurals"][thing].split()
        return {"measure": measure, "things": things}
