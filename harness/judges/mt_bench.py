"""MT-Bench (Zheng et al. 2023, arXiv 2306.05685): two-turn answers of any adapter, judged alone or in pairs.

1. Both turns are answered by the model itself, at fschat's temperature of the question's category.
2. fschat's functions make the matches and prompts; math, reasoning and coding are judged with a reference; pairs are
   judged in both orders.
3. Its three kinds of file are written, each row once: `show_result` reads them unchanged. A verdict that cannot be read
   is -1 (or "error") in these files, as fschat has it, and counted in the summary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ConfigError, unknown
from harness.judges import fastchat, trust
from harness.judges.again import consistency_of
from harness.judges.answers import AnswerWriter, Contestant, Writing
from harness.judges.asking import Judged, counts, verdicts
from harness.judges.client import JudgeClient
from harness.judges.endpoint import Reply
from harness.judges.files import PUBLISHED, file_name, json_lines, write_json_lines
from harness.judges.mt_summary import summary_of_pairs, summary_of_ratings
from harness.judges.verdicts import read_choice, read_rating
from harness.mirror import DataError, digest
from harness.records import digest_of

MODES = ("single", "pairwise-baseline", "pairwise-all")
PROMPTS = {
    "single": ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"),
    "pairwise": ("pair-v2", "pair-math-v1", "pair-v2-multi-turn", "pair-math-v1-multi-turn"),
}
LONGEST_ANSWER = 1024


@dataclass(frozen=True)
class Bench:
    """Questions in fschat's format, its judge prompts, and references by question id; `published` = the well-known set."""

    questions: list[dict[str, Any]]
    prompts: dict[str, dict[str, Any]]
    references: dict[int, dict[str, Any]]
    published: bool


def load_bench(questions: Path, prompts: Path, references: Path | None) -> Bench:
    """The three files, read by fschat after their form was checked.

    Raises:
        DataError: a file of another format; it names line and key.
    """
    rows = json_lines(questions, ("question_id", "category", "turns"))
    ids = [row["question_id"] for row in rows]
    if len(set(ids)) < len(ids):
        raise DataError(f"{questions}: question_id {next(i for i in ids if ids.count(i) > 1)} stands there twice.")
    for row in rows:
        turns = row["turns"]
        if not isinstance(turns, list) or len(turns) not in (1, 2) or not all(isinstance(t, str) for t in turns):
            raise DataError(f"{questions}: question {row['question_id']}: expected `turns` to be one or two texts.")
    json_lines(prompts, ("name", "type", "system_prompt", "prompt_template", "output_format"))
    known = (
        {} if references is None else {r["question_id"]: r for r in json_lines(references, ("question_id", "choices"))}
    )
    needed = [row["question_id"] for row in rows if row["category"] in fastchat.common().NEED_REF_CATS]
    missing = [one for one in needed if one not in known]
    if missing:
        raise DataError(
            f"{references or 'no references'}: {len(missing)} of {len(needed)} questions of math, reasoning and coding have "
            f"no reference answer (first: {missing[0]})."
        )
    published = references is not None and digest(references) == PUBLISHED["mt_bench_references"].sha256
    return Bench(rows, fastchat.common().load_judge_prompts(str(prompts)), known, published)


def write_model_answers(
    bench: Bench,
    contestants: Sequence[Contestant],
    out: Path,
    *,
    longest: int = LONGEST_ANSWER,
    greedy: bool = False,
    seed: int = 0,
) -> None:
    """model_answer/<name>.jsonl of every contestant: turn one of all questions, then turn two on top of it.

    Temperatures are fschat's by category (0.7 for writing, roleplay and unknown ones); greedy=True writes all greedily.
    """
    temperatures = fastchat.common().temperature_config
    for contestant in contestants:
        writer = AnswerWriter(contestant, out / "answers.sqlite")
        dialogues: list[list[dict[str, str]]] = [[] for _ in bench.questions]
        for turn in range(2):
            asked = [i for i, question in enumerate(bench.questions) if len(question["turns"]) > turn]
            for i in asked:
                dialogues[i].append({"role": "user", "content": bench.questions[i]["turns"][turn]})
            writings = [
                Writing(longest, 0.0 if greedy else temperatures.get(bench.questions[i]["category"], 0.7), seed)
                for i in asked
            ]
            for i, text in zip(asked, writer.answers([list(dialogues[i]) for i in asked], writings), strict=True):
                dialogues[i].append({"role": "assistant", "content": text})
        turns = [[m["content"] for m in dialogue if m["role"] == "assistant"] for dialogue in dialogues]
        _save_answers(bench, contestant.name, turns, out / "model_answer" / f"{contestant.name}.jsonl")


def _save_answers(bench: Bench, name: str, turns: Sequence[list[str]], path: Path) -> None:
    """fschat's answer file; left alone, with its time stamps, where nothing changed."""
    rows = []
    for question, said in zip(bench.questions, turns, strict=True):
        identity = digest_of([question["question_id"], name, said], 22)
        rows.append(
            {"question_id": question["question_id"], "answer_id": identity, "model_id": name,
             "choices": [{"index": 0, "turns": said}], "tstamp": round(time.time(), 3)}
        )  # fmt: skip
    before = json_lines(path, ("answer_id",)) if path.is_file() else []
    if [row["answer_id"] for row in before] != [row["answer_id"] for row in rows]:
        write_json_lines(path, rows)


def answer_files(places: Sequence[Path]) -> dict[str, Path]:
    """Answer files of other tools by their models' names (fschat: the file's name); a folder stands for all in it.

    Raises:
        DataError: nothing there, or two files of one name.
    """
    found: dict[str, Path] = {}
    for place in places:
        files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
        if not files or not files[0].is_file():
            raise DataError(f"--answers: {place} is neither a file nor a folder with .jsonl files.")
        for path in files:
            if found.setdefault(path.stem, path) != path:
                raise DataError(f"--answers: {path} and {found[path.stem]} have one name: rename one of them.")
    return found


def check_answers(bench: Bench, files: Mapping[str, Path]) -> dict[str, dict[int, dict[str, Any]]]:
    """Answers in fschat's form, by name and question.

    Raises:
        DataError: not in that form, or a question (or its second turn) without an answer.
    """
    answers = {}
    for name, path in files.items():
        rows = json_lines(path, ("question_id", "choices"))
        answers[name] = {row["question_id"]: row for row in rows}  # as fschat has it, the last of a question counts
        missing = [q["question_id"] for q in bench.questions if not _whole(q, answers[name].get(q["question_id"]))]
        if missing:
            raise DataError(
                f"{path} answers {len(bench.questions) - len(missing)} of {len(bench.questions)} questions in full "
                f"(first without: {missing[0]}): write the missing answers, or name a question file of those that are there."
            )
    return answers


def load_answers(
    bench: Bench, folder: Path, names: Sequence[str], given: Mapping[str, Path] | None = None
) -> dict[str, dict[int, dict[str, Any]]]:
    """Answers of `names`: from the files `given` for them, else from `folder`.

    Raises:
        DataError: no such file, or see `check_answers`.
    """
    files = {path.stem: path for path in folder.glob("*.jsonl")} | dict(given or {})
    for name in names:
        if name not in files:
            raise DataError(unknown("answer file", name, sorted(files)) + f" (in {folder})")
    return check_answers(bench, {name: files[name] for name in names})


def _whole(question: dict[str, Any], answer: dict[str, Any] | None) -> bool:
    choices = answer["choices"] if answer else None
    first = choices[0] if isinstance(choices, list) and choices else None
    turns = first.get("turns") if isinstance(first, dict) else None
    return (
        isinstance(turns, list)
        and len(turns) >= len(question["turns"])
        and all(isinstance(turn, str) for turn in turns)
    )


def judge_answers(
    bench: Bench,
    names: Sequence[str],
    client: JudgeClient,
    out: Path,
    *,
    mode: str = "single",
    baseline: str | None = None,
    given: Mapping[str, Path] | None = None,
    repeat: int = 0,
) -> dict[str, Any]:
    """Judge the answers of `names`, write fschat's judgment file, and return a summary of it.

    given: answer files of other tools, by name; all others lie in out/model_answer. repeat: questions that are asked once
    more, for the judge's consistency.

    Raises:
        ConfigError, DataError: wrong mode or baseline, missing prompts or answers.
        JudgeError: see the client; the same call goes on where it stopped.
    """
    if mode not in MODES:
        raise ConfigError(unknown("mode", mode, list(MODES)))
    kind = "single" if mode == "single" else "pairwise"
    players = list(names)
    if mode == "pairwise-baseline":
        if baseline is None:
            raise ConfigError("--mode pairwise-baseline needs --baseline NAME.")
        players = [*dict.fromkeys([*names, baseline])]
    missing = [name for name in PROMPTS[kind] if name not in bench.prompts]
    if missing:
        raise DataError(f"the judge prompts lack '{missing[0]}' (needed: {', '.join(PROMPTS[kind])}).")
    said = load_answers(bench, out / "model_answer", players, given)
    matches = _matches(bench, said, list(names), client.model, mode, baseline)
    judged, consistency = _judge(matches, client, kind, repeat)
    path = out / "model_judgment" / f"{file_name(client.model)}_{'single' if kind == 'single' else 'pair'}.jsonl"
    fresh = _rows(matches, judged, kind)
    _merge(path, fresh)
    summarise = summary_of_ratings if kind == "single" else summary_of_pairs
    flat = [one for group in judged for one in group]
    return {
        "mode": mode, "judge": client.model, "file": str(path.name), "calls": counts(flat).as_dict(),
        "consistency": trust.plain(consistency), **summarise(bench, fresh, said),
    }  # fmt: skip


def _matches(
    bench: Bench, said: Mapping[str, Any], names: list[str], judge: str, mode: str, baseline: str | None
) -> list[Any]:
    """fschat's matches: general and reference-based questions, first and second turns, as its own program makes them."""
    module = fastchat.gen_judgment()
    make = {
        "single": module.make_match_single,
        "pairwise-baseline": module.make_match,
        "pairwise-all": module.make_match_all_pairs,
    }[mode]
    judges = (module.make_judge_single if mode == "single" else module.make_judge_pairwise)(judge, bench.prompts)
    with_reference = [q for q in bench.questions if q["category"] in module.NEED_REF_CATS]
    general = [q for q in bench.questions if q["category"] not in module.NEED_REF_CATS]
    references = {judge: bench.references}
    matches = []
    for turns, suffix in ((False, ""), (True, "-mt")):
        matches += make(general, names, said, judges["default" + suffix], baseline, multi_turn=turns)
        matches += make(with_reference, names, said, judges["math" + suffix], baseline, references, multi_turn=turns)
    return matches


def _judge(
    matches: Sequence[Any], client: JudgeClient, kind: str, repeat: int
) -> tuple[list[list[Judged]], dict[str, trust.Estimate | None]]:
    """What was judged, by match, and the judge's consistency over `repeat` of the questions."""
    asked = fastchat.questions_asked(matches)
    readers = [_reader(match, kind) for match, asks in zip(matches, asked, strict=True) for _ in asks]
    flat = [ask for asks in asked for ask in asks]
    judged = verdicts(client, flat, readers, "MT-Bench")
    consistency = consistency_of(client, flat, readers, judged, repeat)
    each = iter(judged)
    return [[next(each) for _ in asks] for asks in asked], consistency


def _reader(match: Any, kind: str) -> Callable[[Reply], Any]:
    answers = [match.answer] if kind == "single" else [match.answer_1, match.answer_2]
    graded = [turn for answer in answers for turn in answer["choices"][0]["turns"]]
    if kind == "single":
        return lambda reply: read_rating(reply.text, graded)
    return lambda reply: read_choice(reply.text, "ABC", graded)


def _rows(matches: Sequence[Any], judged: Sequence[list[Judged]], kind: str) -> list[dict[str, Any]]:
    """fschat's records with our reading of the verdicts, and the time at which the judge answered."""
    rows = fastchat.records(matches, [[one.reply.text for one in group] for group in judged])
    for row, group in zip(rows, judged, strict=True):
        row["tstamp"] = max(one.reply.created for one in group)
        if kind == "single":
            row["score"] = -1 if group[0].verdict is None else group[0].verdict
        else:
            sides = ({"A": "model_1", "B": "model_2", "C": "tie"}, {"A": "model_2", "B": "model_1", "C": "tie"})
            for game, side, one in zip(("g1_winner", "g2_winner"), sides, group, strict=True):
                row[game] = side.get(str(one.verdict), "error")
        row["judge"] = list(row["judge"])
    return rows


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    players = (row["model"],) if "model" in row else (row["model_1"], row["model_2"])
    return (players, row["judge"][1], row["question_id"], row["turn"])


def _merge(path: Path, fresh: list[dict[str, Any]]) -> None:
    """Write a judgment file: rows of other models (or pairs) stay, those of this run replace their own; every key once."""
    rows = {_key(row): row for row in fresh}
    judged = {players for players, *_ in rows}
    if path.is_file():
        before = [(_key(row), row) for row in json_lines(path, ("question_id", "judge", "turn"))]
        rows = {**{key: row for key, row in before if key[0] not in judged}, **rows}
    write_json_lines(path, [rows[key] for key in sorted(rows, key=lambda key: (key[0], key[3], str(key[2])))])
