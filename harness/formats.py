"""Readers of the benchmarks' own file formats: CSV, JSON, JSON Lines, parallel text. See mirror.py for the rules.

Each `parse_…` turns (lines, path, subset) into documents with the columns that catalogue.py declares.
"""

from __future__ import annotations

import ast
import csv
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.mirror import DataError, Document, cells_of, json_object, lines_of

logger = logging.getLogger(__name__)

MMLU_HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


def csv_rows(lines: list[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of the row's last line, cells) of a CSV with standard quoting; cells may hold line breaks."""
    reader = csv.reader((line + "\n" for line in lines), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a CSV with standard quoting ({error}).") from error


def parse_mmlu(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """Question, four choices, answer: a letter (the original files) or, under a header, an index 0-3."""
    for number, row in csv_rows(lines, path):
        if row == MMLU_HEADER:
            continue
        if len(row) != 6:
            raise DataError(f"{path}, line {number}: expected {', '.join(MMLU_HEADER)}; got {len(row)} cells.")
        answer = row[5].strip()
        gold = "ABCD".find(answer) if answer.isalpha() else int(answer) if answer.isdigit() else -1
        if gold not in range(4) or not answer:
            raise DataError(f"{path}, line {number}: the answer should be A-D or 0-3, got {answer!r}.")
        yield {"question": row[0], "choices": row[1:5], "answer": gold, "subject": subset}


def mmlu_from_hub(row: Document, subset: str) -> Document | None:
    """A row of cais/mmlu, whose columns are the same."""
    return row if row.get("subject", subset) in (subset, "") else None


def json_value(lines: list[str], path: Path) -> Any:
    """A file that is one JSON value; DataError if it is damaged."""
    try:
        return json.loads("\n".join(lines))
    except ValueError as error:
        raise DataError(f"{path}: expected one JSON value ({error}); truncated?") from error


def parse_bbh(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """canary and examples[input, target]; the chain-of-thought prompt comes from ../cot-prompts/TASK.txt."""
    value = json_value(lines, path)
    examples = value.get("examples") if isinstance(value, dict) else None
    if not isinstance(examples, list):
        raise DataError(f"{path}: expected an object with a list `examples`, got {type(value).__name__}.")
    prompt = cot_prompt(path.parent.parent / "cot-prompts" / f"{subset}.txt")
    for example in examples:
        yield {**_mapping(example, path), "task": subset, "cot_prompt": prompt}


def cot_prompt(path: Path) -> str:
    """The text of a BBH chain-of-thought prompt below its canary line."""
    lines = lines_of(path)
    rule = next((index for index, line in enumerate(lines) if line.startswith("-----")), None)
    if rule is None:
        raise DataError(f"{path}: expected a canary line and a rule of dashes above the prompt.")
    return "\n".join(lines[rule + 1 :]).strip()


def direct_prompt(cot: str) -> str:
    """BBH's answer-only prompt: the same three examples, each answer cut down to what follows 'the answer is'.

    Raises:
        DataError: an example does not end in 'So the answer is X.'
    """
    head, *examples = re.split(r"^(?=Q: )", cot, flags=re.MULTILINE)
    made = [head.strip()]
    for example in examples:
        question, _, reasoning = example.partition("\nA: ")
        found = re.search(r"[Ss]o the answer is (.+?)\.?\s*$", reasoning.strip())
        if not found:
            raise DataError(f"a BBH prompt's example does not end in 'So the answer is …': {example[-80:]!r}.")
        made.append(f"{question.strip()}\nA: {found[1]}")
    return "\n\n".join(part for part in made if part)


def parse_mgsm(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """No header; question, answer (an integer, perhaps with thousands separators); exemplars.py has the worked examples."""
    if path.suffix == ".py":
        yield from mgsm_exemplars(lines, path, subset)
        return
    for number, line in enumerate(lines, start=1):
        question, answer = cells_of(line, ("question", "answer"), path, number)
        plain = answer.strip().replace(",", "")
        if not re.fullmatch(r"-?\d+(\.0+)?", plain):
            raise DataError(f"{path}, line {number}: the answer should be a whole number, got {answer!r}.")
        yield {"question": question, "answer": str(int(float(plain)))}


def mgsm_exemplars(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """MGSM_EXEMPLARS = {language: {"1": {"q": …, "a": …}, …}} of the authors' exemplars.py, in the order of the numbers.

    The file is Python; it is read as a literal and never run. Question and answer begin with the language's own words
    for them, as in the hub's `train` split.
    """
    found = _literal("MGSM_EXEMPLARS", lines, path)
    examples = found.get(subset) if isinstance(found, dict) else None
    if not isinstance(examples, dict) or not examples:
        held = ", ".join(found) if isinstance(found, dict) else "no languages"
        raise DataError(f"{path}: MGSM_EXEMPLARS has no examples in '{subset}'; it has {held}.")
    for number in sorted(examples, key=lambda name: (len(name), name)):
        example = examples[number]
        if not isinstance(example, dict) or not {"q", "a"} <= set(example):
            raise DataError(f"{path}: MGSM_EXEMPLARS['{subset}']['{number}'] should have q and a.")
        yield {"question": example["q"], "answer": example["a"]}


def _literal(name: str, lines: list[str], path: Path) -> Any:
    """The literal that a Python file assigns to `name`; DataError where there is none."""
    try:
        for statement in ast.parse("\n".join(lines)).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{path}: expected Python literals ({error}); truncated?") from error
    raise DataError(f"{path}: expected an assignment to {name}.")


def parse_squad(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """SQuAD 1.1's layout: data[paragraphs[context, qas[answers[text], question, id]]]; one document per question.

    Raises:
        DataError: another layout, or answers that are all empty (unlabelled copies are in circulation).
    """
    value = json_value(lines, path)
    try:
        for entry in value["data"]:
            for paragraph in entry["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [answer["text"] for answer in question["answers"] if answer["text"].strip()]
                    if not answers:
                        raise DataError(f"{path}: question {question['id']} has no answer: this copy is unlabelled.")
                    asked = {"context": paragraph["context"], "question": question["question"]}
                    yield {**asked, "answers": list(dict.fromkeys(answers)), "question_id": question["id"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: expected SQuAD 1.1's layout, data[paragraphs[qas]]; no {error}.") from error


def parse_json_lines(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """One JSON object a line, with the columns as they are."""
    return (json_object(line, path, number) for number, line in enumerate(lines, start=1))


SUPERGLUE_LABELS = {
    "rte": ("entailment", "not_entailment"),
    "cb": ("entailment", "contradiction", "neutral"),
}
ANLI_LABELS = {"e": 0, "n": 1, "c": 2}


def parse_superglue(task: str) -> Any:
    """A parser of SuperGLUE's val.jsonl of `task`, whose labels are words; on the hub they are indices."""
    labels = SUPERGLUE_LABELS[task]

    def parse(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
        for number, line in enumerate(lines, start=1):
            row = json_object(line, path, number)
            if row.get("label") not in labels:
                raise DataError(
                    f"{path}, line {number}: label should be one of {', '.join(labels)}, got {row.get('label')!r}."
                )
            yield {**row, "label": labels.index(row["label"])}

    return parse


def parse_anli(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """The release's dev.jsonl: context, hypothesis, label e, n or c."""
    for number, line in enumerate(lines, start=1):
        row = json_object(line, path, number)
        if row.get("label") not in ANLI_LABELS:
            raise DataError(f"{path}, line {number}: label should be e, n or c, got {row.get('label')!r}.")
        yield {"premise": row.get("context"), "hypothesis": row.get("hypothesis"), "label": ANLI_LABELS[row["label"]]}


def parse_z_bench(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """Prompt, task type and reference answer (which may be empty), then one column of replies per published model."""
    rows = csv_rows(lines, path)
    _, header = next(rows, (1, []))
    if header[:3] != ["Prompt", "任务类型", "参考回答"]:
        raise DataError(f"{path}, line 1: expected Prompt, 任务类型, 参考回答, …; got {', '.join(header[:3])}.")
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: expected {len(header)} cells, got {len(row)}.")
        yield {"question": row[0], "task_type": row[1].strip("` "), "reference": row[2]}


def parse_parallel(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """Line i of NAME.LANG.txt is the translation of line i of the other language's file beside it."""
    source, target = subset.split("-")
    other = lines_of(path.with_name(path.name.replace(f".{source}.txt", f".{target}.txt")))
    if len(lines) != len(other):
        raise DataError(f"{path}: {len(lines)} lines, but {len(other)} in the other language: not parallel.")
    return (translated({source: a, target: b}, subset) for a, b in zip(lines, other, strict=True))


def translation_from_hub(row: Document, subset: str) -> Document | None:
    """A WMT row {"translation": {"de": …, "en": …}} in the direction of `subset`."""
    return translated(row["translation"], subset)


def translated(pair: dict[str, str], direction: str) -> Document:
    """text and reference of a direction, and `translation` as on the hub, which promptsource's templates read."""
    source, target = direction.split("-")
    return {"text": pair[source], "reference": pair[target], "translation": pair}


def parse_prompted(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """DiffusionLLM's files: one object a line with `inputs` (the whole prompt) and `targets`.

    A quarter of the rows of one BBH-NLP task have no target as published: left out, counted and logged.
    """
    empty = 0
    for number, line in enumerate(lines, start=1):
        row = json_object(line, path, number)
        missing = {"inputs", "targets"} - set(row)
        if missing:
            raise DataError(f"{path}, line {number}: expected inputs and targets, got {', '.join(row) or 'nothing'}.")
        if not str(row["targets"]).strip():
            empty += 1
            continue
        yield {"inputs": row["inputs"], "targets": str(row["targets"]), "subset": subset}
    if empty:
        logger.warning("%s: %d of %d rows have no target and are left out.", path, empty, len(lines))


def tydiqa_from_hub(row: Document, subset: str) -> Document | None:
    """A row of TyDiQA's secondary task, whose one file holds all languages: told by the id's first word."""
    from harness.catalogue import TYDIQA_NAMES

    if not row["id"].startswith(f"{TYDIQA_NAMES[subset]}-"):
        return None
    answers = list(dict.fromkeys(row["answers"]["text"]))
    return {"context": row["context"], "question": row["question"], "answers": answers, "question_id": row["id"]}


def parse_articles(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """Gigaword as Rush et al. published it: article i in one file, its title in NAME.title.txt beside it."""
    titles = lines_of(path.with_name(path.name.replace(".article.", ".title.")))
    if len(lines) != len(titles):
        raise DataError(f"{path}: {len(lines)} articles, but {len(titles)} titles beside them.")
    return ({"text": article, "summary": title} for article, title in zip(lines, titles, strict=True))


def parse_p3(lines: list[str], path: Path, subset: str) -> Iterator[Document]:
    """P3 records: prompt, completion (which ends in <|endoftext|>)."""
    for number, line in enumerate(lines, start=1):
        row = json_object(line, path, number)
        if {"prompt", "completion"} - set(row):
            raise DataError(f"{path}, line {number}: expected prompt and completion, got {', '.join(row)}.")
        yield {"inputs": row["prompt"].strip(), "targets": row["completion"].removesuffix("<|endoftext|>").strip()}


def _mapping(value: Any, path: Path) -> Document:
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected objects, got {type(value).__name__}.")
    return value
