"""Spanish and French: gender, agreement, contraction and elision."""

from __future__ import annotations

from trainers.world.languages.english import Fact, Grammar, capitalised


class Spanish(Grammar):
    """Gender and number of the article, adjectives after the noun, the contraction del."""

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        article = "la" if self.tag(concept) == "f" else "el"
        after = f" {self.predicative(concept, adjective)}" if adjective else ""
        return f"{article} {self.bare(concept)}{after}"

    def dictionary_form(self, adjective: str) -> str:
        return self.words["adjectives"][adjective].split()[0]

    def predicative(self, concept: str, adjective: str) -> str:
        masculine, feminine = self.words["adjectives"][adjective].split()
        return feminine if self.tag(concept) == "f" else masculine

    def verb(self, fact: Fact) -> str:
        return ("no " if fact.negated else "") + self.words["verbs"][fact.verb]

    def headline(self, fact: Fact) -> str:
        return f"{self.np(fact.subject)} {self.verb(fact)} {self.np(fact.object)}"

    def what(self, fact: Fact) -> tuple[str, str]:
        return f"¿Qué {self.verb(fact)} {self.np(fact.subject)}?", self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        question = f"¿Dónde {self.verb(fact)} {self.np(fact.subject)} {self.np(fact.object)}?"
        return question, self.adjunct(fact).strip()

    def is_at(self, subject: str, concept: str | None = None) -> str:
        return f"{subject} está"

    def of(self, concept: str) -> str:
        """de with the article: del or de la."""
        return ("de " + self.np(concept)).replace("de el ", "del ")

    def talk(self, name: str, first: str, second: str) -> str:
        slots = {"name": self.name(name), "of_a": self.of(first), "of_b": self.of(second)}
        return self.patterns["talks"].format(**slots)

    def counted(self, thing: str) -> dict[str, str]:
        how_many = "Cuántas" if self.tag(thing) == "f" else "Cuántos"
        return {"things": self.words["plurals"][thing], "how_many": how_many}


class French(Spanish):
    """Elision, adjectives before or after the noun, ne … pas, du, and a space before tall punctuation."""

    note_head = " : "
    note_end = " ; "

    def elides(self, word: str) -> bool:
        """Whether an article or particle loses its vowel before this word (all our h are silent)."""
        return word[0].lower() in "aeiouhéèêàâîôœ"

    def np(self, concept: str, adjective: str | None = None, accusative: bool = False) -> str:
        words = self.bare(concept)
        if adjective:
            before = self.words["adjectives"][adjective].startswith("pre")
            form = self.predicative(concept, adjective, words if before else "")
            words = f"{form} {words}" if before else f"{words} {form}"
        if self.elides(words):
            return f"l'{words}"
        return f"{'la' if self.tag(concept) == 'f' else 'le'} {words}"

    def dictionary_form(self, adjective: str) -> str:
        return self.words["adjectives"][adjective].split()[1]

    def predicative(self, concept: str, adjective: str, before: str = "") -> str:
        _, masculine, feminine, *liaison = self.words["adjectives"][adjective].split()
        if self.tag(concept) == "f":
            return feminine
        return liaison[0] if liaison and before and self.elides(before) else masculine

    def verb(self, fact: Fact) -> str:
        verb = self.words["verbs"][fact.verb]
        return f"{self.particle('n', verb)}{verb} pas" if fact.negated else verb

    def particle(self, letter: str, word: str) -> str:
        """ne or de before a word, elided where the word asks for it."""
        return f"{letter}'" if self.elides(word) else f"{letter}e "

    def fronted(self, fact: Fact) -> str:
        clause = f"{self.adjunct(fact).strip()}, {self.np(fact.subject)} {self.verb(fact)} {self.object(fact)}"
        return capitalised(clause) + self.stop

    def what(self, fact: Fact) -> tuple[str, str]:
        return f"Qu'est-ce que {self.np(fact.subject)} {self.verb(fact)} ?", self.object(fact)

    def where(self, fact: Fact) -> tuple[str, str]:
        question = f"Où est-ce que {self.np(fact.subject)} {self.verb(fact)} {self.np(fact.object)} ?"
        return question, self.adjunct(fact).strip()

    def is_at(self, subject: str, concept: str | None = None) -> str:
        return f"{subject} est"

    def of(self, concept: str) -> str:
        return ("de " + self.np(concept)).replace("de le ", "du ")

    def counted(self, thing: str) -> dict[str, str]:
        plural = self.words["plurals"][thing]
        return {"things": plural, "of_things": self.particle("d", plural) + plural}
