"""Swahili: noun classes and their concords."""

from __future__ import annotations

from trainers.world.languages.english import Fact, Grammar, capitalised


class Swahili(Grammar):
    """No articles; adjectives and the verb of location agree with the noun's class."""

    concords = {"1": 0, "3": 0, "11": 0, "5": 1, "7": 2, "9": 3}
    location = {"1": "yuko", "3": "uko", "5": "liko", "7": "kiko", "9": "iko", "11": "uko"}

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        return self.bare(concept) + (f" {self.predicative(concept, adjective)}" if adjective else "")

    def dictionary_form(self, adjective: str) -> str:
        return self.words["adjectives"][adjective].split()[self.concords["9"]]

    def predicative(self, concept: str, adjective: str) -> str:
        return self.words["adjectives"][adjective].split()[self.concords[self.tag(concept)]]

    def verb(self, fact: Fact) -> str:
        return self.words["verbs"][fact.verb].split()[fact.negated]

    def what(self, fact: Fact) -> tuple[str, str]:
        return capitalised(f"{self.bare(fact.subject)} {self.verb(fact)} nini?"), self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        question = f"{self.bare(fact.subject)} {self.verb(fact)} {self.bare(fact.object)} wapi?"
        return capitalised(question), self.adjunct(fact).strip()

    def is_at(self, subject: str, concept: str | None = None) -> str:
        return f"{subject} {self.location[self.tag(concept) if concept else '1']}"

    def where_is(self, concept: str) -> str:
        at = self.location[self.tag(concept)]
        return capitalised(self.patterns["where_is"].format(np=self.bare(concept), at=at))

    def judgement(self, concept: str, adjective: str, style: str) -> str:
        is_ = self.patterns["is_not" if style == "not" else "is"]
        very = f" {self.patterns['very']}" if style == "very" else ""
        return f"{is_} {self.predicative(concept, adjective)}{very}"

    def counted(self, thing: str) -> dict[str, str]:
        things, how_many = self.words["plurals"][thing].split()
        return {"things": things, "how_many": how_many}
