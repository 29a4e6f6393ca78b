"""Prompts: a document under each of several templates → question, and options with gold, or the right answer of an
open question. Ours, or promptsource's. Torch-free.

A task's YAML names its templates under `metadata: templates:`; `--metadata '{"prompts": …}'` chooses among them:

    (nothing)             all of them
    "NAME,NAME"           some of them
    "promptsource:PATH"   the published wording: a templates.yaml, or the folder of all of promptsource's templates

`convention` says how an option is attached (xMTF scores decoders and encoder-decoders differently), `contrast` asks
what a score is worth: options shown in another order, or the question without its premise.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from harness.mirror import DataError, Document

CONVENTIONS = {  # (before the option, after the option)
    "decoder": (" ", ""),  # xMTF for BLOOM(Z): a space, no end-of-sequence token
    "encoder_decoder": ("", "</s>"),  # xMTF for mT0: no space, the end-of-sequence token is scored
    "plain": ("", ""),  # for chat templates, which bring their own delimiters
}
CONTRASTS = ("permuted", "ablated")
HIDDEN = "(not shown)"
_COLUMN = re.compile(r"{{ ?(\w+) ?}}")
# Options that mean something else in another order: "All of the above", "B and C", "both a and b"; as whole options also
# "a and b", "a, b or c only", "a. and c. above" (within other text, a lower-case letter is mostly a name or an article).
_LETTER = r"\(?[a-d]\)?\.?"
_PLACES = re.compile(
    r"\b(?:all|none|any|both|neither|either|each|some|most|two)\s+(?:\w+\s+){0,5}(?:above|below)\b"
    r"|\bof (?:the )?above\b|(?:^|\s)\([a-d]\)(?=[\s.,;]|$)"
    r"|\b(?:both|neither|either)\s+\(?[a-d]\)?\s+(?:and|or|nor|&)\s+\(?[a-d]\b"
    r"|(?-i:\b[A-D]\)?(?:,\s*\(?[A-D]\)?)*,?\s+(?:and|or|nor|&)\s+\(?[A-D]\b)"
    rf"|^{_LETTER}(?:,\s*{_LETTER})*,?\s+(?:and|or|nor|&)\s+{_LETTER}(?:\s+(?:only|alone|above|below))*\.?$",
    re.IGNORECASE,
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Template:
    """One prompt. `ask` and each of `options` are Jinja; `gold` is the column with the index of the right option, or
    Jinja that computes it. An open question has an `answer` (Jinja) instead of options and gold.

    In `ask`, `options` is the list of rendered options in the order in which they are shown. With `letters`, what is
    scored is the letter of an option, A for the first one shown, not its text.
    """

    name: str
    ask: str
    options: tuple[str, ...]
    gold: str
    letters: bool = False
    answer: str = ""

    def answer_of(self, document: Document) -> str:
        """The right answer of an open question; nothing for a question with options."""
        return render(self.answer, document).strip()

    def options_of(self, document: Document) -> list[str]:
        """The options in the order of the label, without white space around them."""
        return [render(option, document).strip() for option in self.options]

    def question_of(self, document: Document, shown: Sequence[str]) -> str:
        """The question; `shown` are the options as the reader sees them."""
        return render(self.ask, {**document, "options": list(shown)}).strip()

    def gold_of(self, document: Document) -> int:
        """Index of the right option."""
        return int(document[self.gold] if self.gold in document else render(self.gold, document))

    @property
    def shows_options(self) -> bool:
        """Whether the question shows the options; a question that does not is the same in every order of them."""
        return _reads_options(self.ask)

    def always_applies(self, texts: Collection[str]) -> bool:
        """Whether it can render to nothing for no document whose columns `texts` are not empty."""
        return all(_never_empty(part, texts) for part in (self.ask, *(self.options or (self.answer,))))


def listed(options: Sequence[str], last: str = "or") -> str:
    """'Yes, Maybe or No'."""
    return f"{', '.join(options[:-1])} {last} {options[-1]}" if len(options) > 1 else options[0]


@functools.cache
def environment() -> SandboxedEnvironment:
    """Jinja as our templates see it: a sandbox, undefined columns are errors, the filter `listed`."""
    from jinja2 import StrictUndefined

    made = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    made.filters["listed"] = listed
    return made


@functools.lru_cache(maxsize=1024)
def _reads_options(template: str) -> bool:
    from jinja2 import meta

    return "options" in meta.find_undeclared_variables(environment().parse(template))


def _never_empty(template: str, texts: Collection[str]) -> bool:
    """Whether words, or a column that is never empty, stand in it outside all conditions and loops."""
    from jinja2 import nodes

    outputs = (node for node in environment().parse(template).body if isinstance(node, nodes.Output))
    parts = [part for output in outputs for part in output.nodes]
    words = any(isinstance(part, nodes.TemplateData) and part.data.strip() for part in parts)
    return words or any(isinstance(part, nodes.Name) and part.name in texts for part in parts)


@functools.lru_cache(maxsize=4096)
def _compiled(template: str) -> Any:
    return environment().from_string(template)


def render(template: str, document: Mapping[str, Any]) -> str:
    """A template filled in; DataError naming template and fault."""
    if "{" not in template:
        return template
    column = _COLUMN.fullmatch(template)
    if column and column[1] in document:  # most options are one column: no need to ask Jinja
        return str(document[column[1]])
    try:
        return _compiled(template).render(**document)
    except TemplateError as error:
        raise DataError(f"the prompt {template[:60]!r} cannot be filled in: {error}.") from error


def named_templates(templates: Mapping[str, Mapping[str, Any]], gold: str, chosen: str | None) -> list[Template]:
    """Templates of a task's YAML, all of them or those in the comma-separated `chosen`.

    Raises:
        DataError: an unknown name (the nearest known one is given), or other keys than `ask` with `options` or `answer`.
    """
    from harness.config import unknown

    names = list(templates) if chosen is None else [name.strip() for name in chosen.split(",")]
    made = []
    for name in names:
        if name not in templates:
            raise DataError(unknown("prompt", name, list(templates)))
        spec = templates[name]
        keys = set(spec)
        if keys != {"ask", "answer"} and not {"ask", "options"} <= keys <= {"ask", "options", "letters"}:
            given = ", ".join(spec) or "none"
            raise DataError(f"prompt '{name}': expected the keys ask and options, or ask and answer; got {given}.")
        options, letters = tuple(spec.get("options", ())), bool(spec.get("letters"))
        made.append(Template(name, spec["ask"], options, gold, letters, spec.get("answer", "")))
    return made


def is_open(templates: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a task's templates ask open questions: they have an `answer` and no options."""
    return all("answer" in spec for spec in templates.values())


def check_settings(convention: str, contrast: str | None, prompts: str | None) -> None:
    """DataError for an unknown convention or contrast, and for a contrast that the prompts cannot show."""
    from harness.config import unknown
    from harness.promptsource import PREFIX

    if convention not in CONVENTIONS:
        raise DataError(unknown("convention", convention, list(CONVENTIONS)))
    if contrast not in (None, *CONTRASTS):
        raise DataError(unknown("contrast", str(contrast), list(CONTRASTS)))
    if contrast == "permuted" and prompts is not None and prompts.startswith(PREFIX):
        raise DataError(
            f"prompts {prompts}: promptsource's templates have their options inside their text, where they cannot be "
            "re-ordered (contrast permuted); leave prompts out to use ours."
        )


def prompted(
    document: Document,
    template: Any,
    *,
    convention: str = "decoder",
    contrast: str | None = None,
    hidden: Sequence[str] = (),
) -> Document | None:
    """The document with `template`, `inputs`, `choices` (option with convention), `options` and `gold`.

    `permuted` shows and scores the options in another order, fixed by the document's id; `ablated` replaces the
    columns `hidden`. An open question has `targets` instead of choices. None where the template renders to nothing
    (promptsource's conditional templates); where `permuted` would change nothing, because the question does not show the
    options; and where options with letters have no other order (see `has_other_order`).

    Raises:
        DataError: options in another order were asked for, and there are none.
    """
    before, after = CONVENTIONS[convention]
    seen = {**document, **dict.fromkeys(hidden, HIDDEN)} if contrast == "ablated" else document
    options = template.options_of(document)
    if not options:
        return _open_question(document, seen, template, contrast)
    gold = template.gold_of(document)
    if contrast == "permuted":
        if not template.shows_options or (template.letters and not has_other_order(options)):
            return None
        order = permutation(len(options), f"{document['id']}/{template.name}")
        options, gold = [options[index] for index in order], order.index(gold)
    question = template.question_of(seen, options)
    if not question or not all(options):
        return None
    scored = [LETTERS[index] for index in range(len(options))] if template.letters else options
    return {
        **document,
        "id": f"{document['id']}/{template.name}",
        "template": template.name,
        "inputs": question,
        "options": scored,
        "choices": [f"{before}{option}{after}" for option in scored],
        "gold": gold,
    }


def _open_question(document: Document, seen: Document, template: Any, contrast: str | None) -> Document | None:
    if contrast == "permuted":
        raise DataError(f"prompt '{template.name}' shows no options: contrast permuted has nothing to move.")
    question, answer = template.question_of(seen, []), template.answer_of(document)
    if not question or not answer:
        return None
    named = {"id": f"{document['id']}/{template.name}", "template": template.name}
    return {**document, **named, "inputs": question, "targets": answer}


def permutation(count: int, key: str) -> list[int]:
    """A rotation of range(count) other than the identity, drawn by `key`: every option moves, the same way always."""
    if count < 2:
        return list(range(count))
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    shift = 1 + draw % (count - 1)
    return [(index + shift) % count for index in range(count)]


def has_other_order(options: Sequence[str]) -> bool:
    """Whether lettered options can be shown in another order: not where one speaks of the others' places ("All of the
    above", "Both A and B": it would mean something else), nor where nothing moves (one option, or all the same)."""
    return len(set(options)) > 1 and not any(_PLACES.search(option) for option in options)


class Prompted(Sequence[Document]):
    """Every document under every template, document by document, for templates that always apply (`n_skipped` is 0).

    A row is made when it is first read, and kept: lm-eval reads the rows of a `--limit` several times, and no others.
    """

    def __init__(self, documents: Sequence[Document], templates: Sequence[Template], **settings: Any):
        self._documents, self._templates, self._settings = documents, templates, settings
        self._made: dict[int, Document] = {}

    def __len__(self) -> int:
        return len(self._documents) * len(self._templates)

    @overload
    def __getitem__(self, key: int) -> Document: ...
    @overload
    def __getitem__(self, key: slice) -> list[Document]: ...
    def __getitem__(self, key: int | slice) -> Document | list[Document]:
        """A row, or the rows of a slice."""
        if isinstance(key, slice):
            return [self[index] for index in range(len(self))[key]]
        index = range(len(self))[key]
        if index not in self._made:
            document, template = divmod(index, len(self._templates))
            (self._made[index],) = with_prompts(
                [self._documents[document]], [self._templates[template]], **self._settings
            )
        return self._made[index]


def with_prompts(documents: Sequence[Document], templates: Sequence[Any], **settings: Any) -> list[Document]:
    """Every document under every template, document by document, without those that render to nothing, or have no other
    order where one is asked for; `n_skipped` counts these (see `without_skipped`).

    Raises:
        DataError: nothing at all was rendered.
    """
    kept = without_skipped(
        [prompted(document, template, **settings) for document in documents for template in templates]
    )
    if not kept:
        names = ", ".join(template.name for template in templates)
        why = "show no options in another order" if settings.get("contrast") == "permuted" else "render to nothing"
        raise DataError(f"the prompts {names} {why} for all {len(documents)} documents.")
    return kept


def without_skipped(rows: Sequence[Document | None]) -> list[Document]:
    """The rows that there are. `n_skipped` of each says how many are missing between the row before and it (the last one:
    behind it, too), so that its sum over the first N rows is what was skipped on the way to them (`--limit N`)."""
    kept: list[Document] = []
    skipped = 0
    for row in rows:
        if row is None:
            skipped += 1
        else:
            row["n_skipped"], skipped = skipped, 0
            kept.append(row)
    if kept:
        kept[-1]["n_skipped"] += skipped
    return kept


def templates_for(
    spec: Any, templates: Mapping[str, Any], gold: str, prompts: str | None, language: str, suffix: str
) -> list[Any]:
    """The templates that the setting `prompts` asks for (see the module's text)."""
    from harness.promptsource import PREFIX, read_templates

    if prompts is not None and prompts.startswith(PREFIX):
        where = prompts.removeprefix(PREFIX)
        return read_templates(where, spec, list(templates), language, suffix, options=not is_open(templates))
    return list(named_templates(templates, gold, prompts))
