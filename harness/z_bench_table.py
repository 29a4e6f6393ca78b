"""Z-Bench's answers as a spreadsheet: the set's own rows and columns, and one column of answers per model.

The shape is that of the multilingual instruction-tuning practice that the suite follows: all input columns in order, new
columns before a closing pair 参考回答, 任务类型 where the file ends in one, else at the end; nothing is scored here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.formats import csv_rows
from harness.mirror import DataError, lines_of
from harness.records import read_run

FILES = {
    "common": "chinese_eval_basic_new.csv",
    "emergent": "chinese_eval_advanced_new.csv",
    "specialized": "chinese_eval_domain_new.csv",
}
CLOSING = ["参考回答", "任务类型"]


def with_answers(rows: Sequence[Sequence[str]], answers: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Rows (header first) with one column per model.

    Raises:
        DataError: a model has more or fewer answers than there are rows, or is called as a column that is there.
    """
    header, *body = [list(row) for row in rows]
    place = len(header) - 2 if header[-2:] == CLOSING else len(header)
    for model, column in answers.items():
        if len(column) != len(body):
            raise DataError(f"{model} has {len(column)} answers, expected {len(body)}: run the whole set (no --limit).")
        if model in header:
            raise DataError(f"there is a column '{model}' already: give the model another name.")
    made = [[*header[:place], *answers, *header[place:]]]
    for row, mine in zip(body, zip(*answers.values(), strict=True), strict=True):
        made.append([*row[:place], *mine, *row[place:]])
    return made


def write_answers(runs: Mapping[str, Path], root: Path, out: Path) -> list[Path]:
    """Files for every set that all of `runs` (model → folder of its runs) answered; `root` is the mirror.

    Raises:
        DataError: no set has been answered by all.
        RecordError: a run is not sealed or was changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, file in FILES.items():
        folders = {model: folder / f"anyorder_z_bench_{name}" for model, folder in runs.items()}
        if not all((folder / "run.json").is_file() for folder in folders.values()):
            continue
        source = root / "z_bench" / f"{name}.samples.csv"
        rows = [row for _, row in csv_rows(lines_of(source), source)]
        table = with_answers(rows, {model: answers_of(folder) for model, folder in folders.items()})
        with open(out / file, "w", encoding="utf-8-sig", newline="") as target:
            csv.writer(target).writerows(table)
        written.append(out / file)
    if not written:
        raise DataError(
            f"no set of Z-Bench was answered in {', '.join(map(str, runs.values()))}: run anyorder_z_bench."
        )
    return written


def answers_of(folder: Path) -> list[str]:
    """The answers of a sealed run, in the order of the documents."""
    read_run(folder)
    lines = [json.loads(line) for line in lines_of(folder / "samples.jsonl")]
    return [line["filtered_resps"][0].strip() for line in sorted(lines, key=lambda line: line["doc_id"])]
