"""promptsource's template files: the published wording of xMTF's prompts, rendered as promptsource renders it.

Format (Bach et al. 2022): YAML with tags `!Template` and `!TemplateMetadata`; `jinja` holds question and target,
separated by `|||`; `answer_choices` holds the options, separated by ` ||| `, and is itself Jinja. As there: fields
are cut at 2,048 characters, question and target are stripped, `|||` inside a field does not split, and a template
may render to nothing for some documents.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import mirror
from harness.mirror import DataError, Document
from harness.prompts import render

FIELD_LENGTH = 2048  # promptsource's TEXT_VAR_LENGTH
PREFIX = "promptsource:"
BAR = "|||"
_SAFE_BAR = "\ue000\ue001\ue000"  # private use: stands for a bar inside a field while a template is split


class _Loader(yaml.SafeLoader):
    """YAML with promptsource's two tags as plain mappings; nothing else is constructed."""


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, lambda loader, node: yaml.SafeLoader.construct_mapping(loader, node, deep=True))  # type: ignore[arg-type]


@dataclass(frozen=True)
class PublishedTemplate:
    """One template of a promptsource file; the same calls as `harness.prompts.Template`."""

    name: str
    jinja: str
    answer_choices: str | None
    letters: bool = False

    def options_of(self, document: Document) -> list[str]:
        """The answer choices in the file's order; none for an open question."""
        if self.answer_choices is None:
            return []
        return [_restored(part).strip() for part in render(self.answer_choices, _fields(document)).split(BAR)]

    def _parts(self, document: Document) -> list[str]:
        return rendered_parts(self.jinja, self.answer_choices, document)

    def question_of(self, document: Document, shown: list[str]) -> str:
        """The question; empty where the template renders to nothing. `shown` cannot be changed here."""
        parts = self._parts(document)
        return parts[0] if len(parts) == 2 and parts[1] else ""

    def answer_of(self, document: Document) -> str:
        """The rendered target; empty where the template renders to nothing."""
        parts = self._parts(document)
        return parts[1] if len(parts) == 2 else ""

    def gold_of(self, document: Document) -> int:
        """Index of the option that is the rendered target; 0 where the template renders to nothing.

        Raises:
            DataError: the target is none of the options.
        """
        parts, options = self._parts(document), self.options_of(document)
        if len(parts) != 2 or not all(parts):
            return 0
        if parts[1] not in options:
            raise DataError(f"promptsource template '{self.name}': target {parts[1]!r} is none of {options}.")
        return options.index(parts[1])


def rendered_parts(jinja: str, answer_choices: str | None, document: Document, strip: bool = True) -> list[str]:
    """What stands between the bars of a rendered template: question and target, if it applies to this document."""
    fields = _fields(document)
    choices = [part.strip() for part in render(answer_choices or "", fields).split(BAR)]
    parts = [_restored(part) for part in render(jinja, {**fields, "answer_choices": choices}).split(BAR)]
    return [part.strip() for part in parts] if strip else parts


def _fields(document: Document) -> Document:
    return {
        name: value[:FIELD_LENGTH].replace(BAR, _SAFE_BAR) if isinstance(value, str) else value
        for name, value in document.items()
    }


def _restored(text: str) -> str:
    return text.replace(_SAFE_BAR, BAR)


def read_templates(
    where: str, spec: Any, names: list[str], language: str, suffix: str, options: bool = True
) -> list[PublishedTemplate]:
    """The templates called `names` + `suffix` of a file, or of promptsource's folder for a benchmark and language.

    Raises:
        DataError: no such file, not promptsource's format, or a name is missing (the names there are listed); a folder
            where a file must be named; a template without options, where the task asks for them.
    """
    path = Path(where)
    if path.is_dir():
        path = path / _file_of(spec, language, path)
    found = (
        read_file(path)
        if options
        else {name: {**entry, "answer_choices": None} for name, entry in read_all(path).items()}
    )
    chosen = []
    for name in names:
        spellings = [name + suffix, name.split(",")[0] + suffix]  # translated files cut "…, so/because…" at the comma
        match = next((found[one] for one in spellings if one in found), None)
        if match is None:
            raise DataError(
                f"{path} has no template '{name + suffix}'; it has {', '.join(sorted(found))}. Translated files need "
                f'--metadata \'{{"prompts_suffix": "_frht"}}\' or the like.'
            )
        chosen.append(PublishedTemplate(name, match["jinja"], match["answer_choices"]))
    return chosen


def _file_of(spec: Any, language: str, folder: Path) -> str:
    """The file of a benchmark below promptsource's folder of templates."""
    if not spec.promptsource:
        raise DataError(
            f"{spec.title}: which file of {folder} is meant? Name it: "
            '--metadata \'{"prompts": "promptsource:FOLDER/…/templates.yaml"}\'.'
        )
    return (
        f"{spec.promptsource}/{language}/templates.yaml"
        if spec.promptsource_by_language
        else (f"{spec.promptsource}/templates.yaml")
    )


def digest_of_prompts(metadata: Mapping[str, Any] | None) -> str | None:
    """sha256 over the templates.yaml that the setting `prompts` names (a folder: all of its files); None without one.

    It belongs to the identity of a run: another wording is another measurement.
    """
    where = str((metadata or {}).get("prompts") or "")
    if not where.startswith(PREFIX):
        return None
    path = Path(where.removeprefix(PREFIX))
    files = sorted(path.rglob("templates.yaml")) if path.is_dir() else [path]
    return hashlib.sha256("".join(mirror.digest(file) for file in files).encode()).hexdigest()


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """{name: template} of those templates of a templates.yaml that offer options; errors as `read_all`'s."""
    return {name: entry for name, entry in read_all(path).items() if entry["answer_choices"]}


@functools.lru_cache(maxsize=64)
def read_all(path: Path) -> dict[str, dict[str, Any]]:
    """{name: template} of one templates.yaml, with `answer_choices` None where a template has none.

    Raises:
        DataError: it cannot be read, is not promptsource's format, or a template lacks its texts.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        templates = {entry["name"]: entry for entry in content["templates"].values()}
    except OSError as error:
        raise DataError(f"cannot read the promptsource file {path}: {error.strerror}.") from error
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is not a promptsource file (templates: id: !Template …): {reason}.") from error
    for name, entry in templates.items():
        if not isinstance(entry.get("jinja"), str) or not isinstance(entry.get("answer_choices"), (str, type(None))):
            raise DataError(f"{path}: template '{name}' has no jinja text, or answer_choices that are no text.")
    return templates
