"""Documents of a benchmark, from the hub or a local mirror. Torch-free.

By default: the hub, at pinned commits (hub.py; loading scripts never run). With the setting `data: DIR` or
`ANYORDER_DATA=DIR` (data_folder.py): only DIR, in the benchmarks' own file formats (mirror_documents.py). There is no fallback from
one to the other: what is missing is an error that names it. Both ways end in the same columns, those of
the hub's copy, plus `id` and `source`, so that every logged sample says which file or revision it came
from.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from harness import hub, sandbox
from harness.benchmarks import ALL, Benchmark, benchmark_of, checked, how_to_fetch, hub_place
from harness.catalogue import REVISIONS
from harness.data_folder import as_given, mirror_folder, mirror_setting
from harness.documents import Documents
from harness.mirror import DataError, Document
from harness.mirror_documents import from_mirror, in_mirror, refuse_dummy_labels, say_once
from harness.prompts import Prompted, Template, check_settings, templates_for, with_prompts


def load(
    *,
    benchmark: str,
    subset: str,
    split: str,
    templates: Mapping[str, Any] | None = None,
    prompts: str | None = None,
    gold: str = "label",
    convention: str = "decoder",
    contrast: str | None = None,
    prompts_language: str = "en",
    prompts_suffix: str = "",
    data: str | None = None,
    data_revisions: Mapping[str, str] | None = None,
    examples: str | None = None,
    samples: int = 1,
    runs_code: bool = False,
    **configuration: Any,
) -> dict[str, Documents]:
    """lm-eval's `custom_dataset`: the documents of one benchmark, subset and split, as {split: Documents}.

    Args:
        benchmark, subset, split: see catalogue.py; subset `all` takes every subset that can be had.
        templates: prompts of the task (see prompts.py); without them documents stay as they are.
        prompts, convention, contrast, prompts_language, prompts_suffix: which prompts, and how; see prompts.py.
        gold: column or Jinja with the index of the right option.
        data: the folder of a mirror, or `hub`; without it, as ANYORDER_DATA says (see data_folder.py).
        data_revisions: {hub repository: full commit} instead of the pinned ones.
        examples: a split whose documents are few-shot examples; they come with `role: example` (see fewshot.py).
        samples: answers asked for per document (pass@k): so many copies, each with an id of its own.
        runs_code: answers will be executed, so that there must be a sandbox before anything is generated.
        configuration: the task's other metadata and the model's arguments, which lm-eval passes as well; not used.

    Raises:
        DataError: unknown name, hub out of reach, or a file that is missing, damaged or not as published.
        SandboxError: `runs_code`, and there is no sandbox here.
    """
    if runs_code:
        sandbox.require()
    _check_types(prompts, samples, data_revisions, configuration)
    check_settings(convention, contrast, prompts)
    spec = benchmark_of(benchmark, subset, split)
    documents = documents_of(benchmark, subset, split, data_revisions, data)
    if templates is not None:
        chosen = templates_for(spec, templates, gold, prompts, prompts_language, prompts_suffix)
        settings: dict[str, Any] = {"convention": convention, "contrast": contrast, "hidden": spec.hidden}
        if documents and examples is None and not runs_code and _always_apply(chosen, spec, contrast):
            rows = Prompted(documents, chosen, **settings)
            first, *_ = rows[: len(chosen)]  # every template once: an unknown column is said before a network is loaded
            return {split: Documents(rows, columns=list(first), data=data)}
        documents = with_prompts(documents, chosen, **settings)
        if examples is not None:
            shots = documents_of(benchmark, subset, examples, data_revisions, data)
            shown = with_prompts(shots, chosen[:1], convention=convention)
            documents = [*({**d, "role": "question"} for d in documents), *({**d, "role": "example"} for d in shown)]
    if runs_code:
        documents = [{**d, "id": f"{d['id']}#{n}", "samples": samples} for d in documents for n in range(samples)]
    return {split: Documents(documents, data=data)}


def _always_apply(templates: list[Any], spec: Benchmark, contrast: str | None) -> bool:
    """Whether each template of ours asks something of every document, so that their number is known beforehand."""
    if contrast == "permuted" and any(template.letters or not template.shows_options for template in templates):
        return False  # some options have no other order, or none that is shown
    texts = {column for column, allowed in spec.columns.items() if allowed is str}
    return all(isinstance(template, Template) and template.always_applies(texts) for template in templates)


SETTINGS = (
    "prompts", "prompts_language", "prompts_suffix", "convention", "contrast", "data", "data_revisions", "samples",
)  # fmt: skip


def _check_types(prompts: Any, samples: Any, revisions: Any, others: Mapping[str, Any]) -> None:
    """DataError for settings of another type, and for a key that is nearly one of ours (lm-eval passes many others)."""
    if not isinstance(prompts, (str, type(None))):
        raise DataError(f"prompts should be a text (names separated by commas, or promptsource:PATH), got {prompts!r}.")
    if not isinstance(samples, int) or samples < 1:
        raise DataError(f"samples should be a whole number from 1 on, got {samples!r}.")
    _check_revisions(revisions)
    for key in others:
        near = difflib.get_close_matches(key, SETTINGS, n=1, cutoff=0.8)
        if near:
            raise DataError(f"unknown setting '{key}' of the tasks. Did you mean '{near[0]}'?")


def _check_revisions(revisions: Any) -> None:
    """DataError unless these are full commits of repositories that a benchmark is read from: a branch's name moves."""
    if not isinstance(revisions, (Mapping, type(None))):
        raise DataError(f"data_revisions should be an object {{repository: commit}}, got {revisions!r}.")
    from harness.config import unknown

    for repository, commit in (revisions or {}).items():
        if repository not in REVISIONS:
            raise DataError(unknown("data_revisions: repository", repository, list(REVISIONS)))
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise DataError(
                f"data_revisions: {repository} should be a full commit (40 hexadecimal digits), got {commit!r}."
            )


def documents_of(
    benchmark: str, subset: str, split: str, revisions: Mapping[str, str] | None = None, data: str | None = None
) -> list[Document]:
    """Documents with the benchmark's columns, `id`, `source`, `source_id` and `language` (the subset); see `load`."""
    spec, root = benchmark_of(benchmark, subset, split), mirror_folder(data)
    found: list[Document] = []
    names = subsets_of(spec, subset, split, data)
    for name in names:
        place = source_of(benchmark, name, split, revisions, data)
        if root is None:
            documents = _from_hub(spec, name, split, hub_place(spec, name, split, revisions, data), data)
        else:
            documents = from_mirror(spec, root, name, split, data)
        for number, document in enumerate(documents):
            document.update(id=f"{benchmark}/{name}/{split}/{number}", source=place, language=name)
            document["source_id"] = (
                f"{split}/{number}"  # one question: in all languages of a parallel benchmark, all prompts
            )
        found += documents
    if root is not None:
        _warn_of_subset(spec, subset, [spec.rows(name, split) for name in names], len(found))
    return found


def _warn_of_subset(spec: Benchmark, subset: str, published: list[int | None], count: int) -> None:
    """Says once that the mirror's items are fewer than were published, where that number is known."""
    total = sum(rows for rows in published if rows is not None)
    if None not in published and count != total:
        which = f" ({subset})" if spec.file_rows else ""
        say_once(
            f"{spec.title}{which}: the mirror has {count} of the published {total} items; "
            "scores are not comparable with published ones."
        )


def subsets_of(spec: Benchmark, subset: str, split: str, data: str | None = None) -> list[str]:
    """The subset itself (or several, joined by `+`); for `all`, those that the mirror holds (one warning names the others), on the hub all.

    Raises:
        DataError: the mirror holds none.
    """
    root = mirror_folder(data)
    if subset != ALL:
        return subset.split("+")
    if root is None:
        return list(spec.subsets)
    held = [name for name in spec.subsets if in_mirror(spec, root, name, split)]
    if not held:
        first = spec.mirror_file(spec.subsets[0], split)
        raise DataError(f"{spec.title}: {as_given(data)} holds none of its files (such as {first}).")
    if len(held) < len(spec.subsets):
        missing = " ".join(name for name in spec.subsets if name not in held)
        say_once(f"{spec.title}: {as_given(data)} holds {len(held)} of {len(spec.subsets)}; without {missing}.")
    return held


def source_of(
    benchmark: str, subset: str, split: str, revisions: Mapping[str, str] | None = None, data: str | None = None
) -> str:
    """Where `load` reads from: `mirror:PATH` (below the mirror's folder) or `hub:REPOSITORY@REVISION/PATH`."""
    spec = benchmark_of(benchmark, subset, split)
    if mirror_folder(data) is not None:
        return f"mirror:{spec.mirror_file(subset, split)}"
    repository, revision, path = hub_place(spec, subset, split, revisions, data)
    return f"hub:{repository}@{revision}/{path}"


def revision_of(source: str) -> dict[str, str]:
    """{hub repository: commit} of a document's `source`; empty for a mirror."""
    place, _, name = source.partition(":")
    repository, _, rest = name.partition("@")
    return {repository: rest.partition("/")[0]} if place == "hub" else {}


def _from_hub(
    spec: Benchmark, subset: str, split: str, place: tuple[str, str, str], data: str | None
) -> list[Document]:
    where = f"{spec.title} ({subset}) at {place[0]}@{place[1][:12]}/{place[2]}"
    rows = hub.rows_of(
        spec, subset, place, where, f"Set {mirror_setting(data)} to read a local mirror{how_to_fetch(spec)}."
    )
    documents = [checked(row, spec, f"{where}, item {number}") for number, row in enumerate(rows, start=1)]
    published = spec.rows(subset, split)
    if published is not None and len(documents) != published:
        raise DataError(f"{where}: {len(documents)} rows, expected {published}.")
    refuse_dummy_labels(spec, documents, where)
    return documents
