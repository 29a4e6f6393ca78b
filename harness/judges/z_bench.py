"""Z-Bench (github.com/zhenbench/z-bench, 1.0): three sets of Chinese prompts, graded by our own rubric.

Output, per set, in the shape of the multilingual instruction-tuning practice that the suite follows:
`chinese_eval_<set>_new.csv` (all columns and rows of the input in their order; one new column of answers per model, before
a closing pair 参考回答, 任务类型 where the file ends in one, else at the end) and `chinese_eval_<set>_scores.csv` (grades).
A grade is 1 to 5 by `rubrics.Z_BENCH`, with the reference where there is one; a grade of 4 or 5 counts as 正确 (right)
where it is set beside the published right/wrong judgments of people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.formats import csv_rows
from harness.judges import trust
from harness.judges.again import consistency_of
from harness.judges.answers import AnswerWriter, Contestant, Writing
from harness.judges.asking import Judged, counts, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask, Reply
from harness.judges.rubrics import Z_BENCH, Rubric
from harness.judges.verdicts import read_rating
from harness.mirror import DataError, lines_of
from harness.records import write_atomically

SETS = ("basic", "advanced", "domain")
PROMPT, REFERENCE, KIND = "Prompt", "参考回答", "任务类型"
LONGEST_ANSWER, LONGEST_JUDGMENT = 512, 512
RIGHT_FROM = 4


@dataclass(frozen=True)
class Sheet:
    """A set's CSV: its header and rows as they stand in the file."""

    name: str
    header: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def load_sheet(name: str, path: Path, answers: Sequence[str] = ()) -> Sheet:
    """A set in Z-Bench's form: UTF-8 (with or without a mark), commas, cells of several lines.

    answers: columns that it must have beside its own: answers of other tools.

    Raises:
        DataError: another encoding, a missing column, or a row of another width.
    """
    table = [row for _, row in csv_rows(lines_of(path), path)]
    header = tuple(table[0]) if table else ()
    for column in (PROMPT, REFERENCE, KIND, *answers):
        if header.count(column) != 1:
            raise DataError(f"{path}: expected one column '{column}', got the columns {', '.join(header) or 'none'}.")
    for number, row in enumerate(table[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, row {number}: {len(row)} cells, the header has {len(header)}.")
    return Sheet(name, header, tuple(dict(zip(header, row, strict=True)) for row in table[1:]))


def write_sheet(
    sheet: Sheet, contestants: Sequence[Contestant], out: Path, *, longest: int = LONGEST_ANSWER
) -> dict[str, list[str]]:
    """Every model's greedy answers, by name; chinese_eval_<set>_new.csv holds them."""
    dialogues = [[{"role": "user", "content": row[PROMPT]}] for row in sheet.rows]
    answers = {
        one.name: AnswerWriter(one, out / "answers.sqlite").answers(dialogues, [Writing(longest)] * len(dialogues))
        for one in contestants
    }
    twice = [name for name in answers if name in sheet.header]
    if twice:
        raise DataError(f"there is a column '{twice[0]}' already: give the model another name.")
    place = len(sheet.header) - 2 if sheet.header[-2:] == (REFERENCE, KIND) else len(sheet.header)
    header = [*sheet.header[:place], *answers, *sheet.header[place:]]
    rows = [
        [texts[number] if (texts := answers.get(column)) else row[column] for column in header]
        for number, row in enumerate(sheet.rows)
    ]
    _write_csv(out / f"chinese_eval_{sheet.name}_new.csv", header, rows)
    return answers


def judge_sheet(
    sheet: Sheet,
    answers: Mapping[str, Sequence[str]],
    client: JudgeClient,
    out: Path,
    language: str = "zh",
    repeat: int = 0,
) -> dict[str, Any]:
    """Grade the answers of one set; writes chinese_eval_<set>_scores.csv and returns a summary per model.

    repeat: grades that are asked for once more, for the judge's consistency.
    """
    rubric = Z_BENCH[language]
    asked = [(name, number) for name in answers for number in range(len(sheet.rows))]
    asks = [ask_of(rubric, sheet.rows[number], answers[name][number]) for name, number in asked]
    readers = [reader_of(rubric, answers[name][number]) for name, number in asked]
    every = verdicts(client, asks, readers, f"Z-Bench {sheet.name}")
    judged = dict(zip(asked, every, strict=True))
    consistency = consistency_of(client, asks, readers, every, repeat)
    header = ["编号", KIND, *(f"{name} 评分" for name in answers), "reference", "judge", "rubric"]
    rows = [
        [number + 1, row[KIND], *(_cell(judged[name, number]) for name in answers), "yes" if row[REFERENCE].strip() else "no",
         client.model, rubric.label]
        for number, row in enumerate(sheet.rows)
    ]  # fmt: skip
    _write_csv(out / f"chinese_eval_{sheet.name}_scores.csv", header, rows)
    summary = {}
    for name, texts in answers.items():
        mine = [judged[name, number] for number in range(len(sheet.rows))]
        graded = [(one.verdict, len(text)) for one, text in zip(mine, texts, strict=True) if one.verdict is not None]
        grades = [grade for grade, _ in graded]
        summary[name] = {
            "calls": counts(mine).as_dict(),
            "grade": _plain(trust.mean_of(grades)),
            "right": _plain(trust.share_of(sum(grade >= RIGHT_FROM for grade in grades), len(grades))),
            "length": _plain(trust.length_of_ratings(grades, [length for _, length in graded])),
        }
    return {
        "set": sheet.name, "judge": client.model, "rubric": rubric.label, "consistency": trust.plain(consistency),
        "models": summary,
    }  # fmt: skip


def ask_of(rubric: Rubric, row: Mapping[str, str], answer: str) -> Ask:
    """The question that grades one answer."""
    return Ask(rubric.messages(row[PROMPT], answer, row[REFERENCE].strip() or None), LONGEST_JUDGMENT)


def reader_of(rubric: Rubric, answer: str):
    """Reply → grade, or None where there is none in the rubric's range."""

    def read(reply: Reply) -> float | None:
        return read_rating(reply.text, [answer], rubric.lowest, rubric.highest)

    return read


def _cell(judged: Judged) -> str:
    return "" if judged.verdict is None else f"{judged.verdict:g}"


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, "\ufeff" + text.getvalue())


def _plain(estimate: trust.Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.as_dict()
