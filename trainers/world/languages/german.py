"""German: case, gender, weak adjective endings and verb-second order."""

from __future__ import annotations

from trainers.world.languages.english import Fact, Grammar, capitalised
from trainers.world.lexicon import TIMES


class German(Grammar):
    """Three genders, nominative and accusative, weak adjective endings, verb second."""

    articles = {"m": ("der", "den"), "f": ("die", "die"), "n": ("das", "das")}

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        gender, *forms = self.words["nouns"][concept].split()
        noun = forms[-1] if accusative else forms[0]
        ending = "en" if accusative and gender == "m" else "e"
        between = f"{self.words['adjectives'][adjective]}{ending} " if adjective else ""
        return f"{self.articles[gender][accusative]} {between}{noun}"

    def verb(self, fact: Fact) -> str:
        return self.words["verbs"][fact.verb]

    def adjunct(self, fact: Fact) -> str:
        negation = " nicht" if fact.negated else ""
        adjunct = super().adjunct(fact)
        return adjunct + negation if fact.adjunct in TIMES else negation + adjunct

    def fronted(self, fact: Fact) -> str:
        first = self.words["adjuncts"][fact.adjunct]
        negation = " nicht" if fact.negated else ""
        clause = f"{first} {self.verb(fact)} {self.np(fact.subject)} {self.object(fact)}{negation}"
        return capitalised(clause) + self.stop

    def what(self, fact: Fact) -> tuple[str, str]:
        return f"Was {self.verb(fact)} {self.np(fact.subject)}?", self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        question = f"Wo {self.verb(fact)} {self.np(fact.subject)} {self.np(fact.object, accusative=True)}?"
        return question, self.adjunct(fact).strip()

    def is_at(self, subject: str, concept: str | None = None) -> str:
        return f"{subject} ist"
