"""`python -m harness run` on the suite: settings belong to a run's identity, Z-Bench's answers become spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from small_files import write_mirror

from harness import __main__ as command
from harness.evaluate import evaluate_model
from harness.mirror import DataError
from harness.records import read_run
from harness.z_bench_table import with_answers, write_answers


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(autouse=True)
def here(mirror, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(mirror))


def run(checkpoint: Path, out: Path, tasks: str, *more: str) -> None:
    line = [
        "run",
        "--model",
        "ar",
        "--model_args",
        f"pretrained={checkpoint}",
        "--tasks",
        tasks,
        "--output_path",
        str(out),
    ]
    evaluate_model(command.parser().parse_args([*line, "--gen_kwargs", "max_gen_toks=4", *more]))


def test_prompts_and_conventions_make_another_run(checkpoints, tmp_path, capsys):
    checkpoint, identities = checkpoints["decoder_it"], []
    for number, settings in enumerate([{}, {"convention": "plain"}, {"prompts": "can we infer"}, {}]):
        run(checkpoint, tmp_path / str(number), "xp3_xnli_en", "--metadata", json.dumps(settings))
        identities.append(read_run(tmp_path / str(number) / "xp3_xnli_en").run_id)
    assert len(set(identities)) == 3 and identities[0] == identities[3]
    record = read_run(tmp_path / "2" / "xp3_xnli_en")
    assert record.n_items == 3 and set(record.values) >= {"acc,none", "acc_median,none", "n_skipped,none"}
    assert "acc_median" in capsys.readouterr().out


def test_the_wording_of_a_promptsource_file_belongs_to_the_identity(tmp_path):
    from harness.promptsource import digest_of_prompts

    path = tmp_path / "templates.yaml"
    path.write_text("a")
    first = digest_of_prompts({"prompts": f"promptsource:{path}"})
    assert first == digest_of_prompts({"prompts": f"promptsource:{tmp_path}"}) and first is not None
    path.write_text("b")
    assert digest_of_prompts({"prompts": f"promptsource:{path}"}) != first
    assert digest_of_prompts({"prompts": "can we infer"}) is None is digest_of_prompts(None)


# -- Z-Bench


def test_z_bench_answers_as_a_spreadsheet(checkpoints, tmp_path, mirror, capsys):
    run(checkpoints["decoder_it"], tmp_path / "runs", "anyorder_z_bench_common")
    (path,) = write_answers({"tiny": tmp_path / "runs", "same": tmp_path / "runs"}, mirror, tmp_path / "out")
    assert path.name == "chinese_eval_basic_new.csv" and path.read_bytes().startswith(b"\xef\xbb\xbf")
    header, row = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    assert header == ["Prompt", "任务类型", "参考回答", "GPT4", "tiny", "same"]
    assert row[:4] == ["谁是\n蝙蝠侠", "`事实问答`", "", "蝙蝠侠"] and row[4] == row[5]
    with pytest.raises(DataError, match="no set of Z-Bench was answered"):
        write_answers({"tiny": tmp_path / "none"}, mirror, tmp_path / "out")


def test_new_columns_come_before_a_closing_pair():
    rows = [["编号", "Prompt", "参考回答", "任务类型"], ["1", "a", "r", "t"], ["2", "b", "", "t"]]
    assert with_answers(rows, {"m": ["x", "y"]}) == [
        ["编号", "Prompt", "m", "参考回答", "任务类型"],
        ["1", "a", "x", "r", "t"],
        ["2", "b", "y", "", "t"],
    ]
    with pytest.raises(DataError, match="m has 1 answers, expected 2: run the whole set"):
        with_answers(rows, {"m": ["x"]})
    with pytest.raises(DataError, match="there is a column 'Prompt' already"):
        with_answers(rows, {"Prompt": ["x", "y"]})


def test_the_identity_follows_includes(tmp_path):
    from harness.registration import task_manager
    from harness.runs import task_digest

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    base = tmp_path / "b" / "base.yaml"
    base.write_text("output_type: generate_until\n")
    (tmp_path / "a" / "middle.yaml").write_text("include: ../b/base.yaml  # far away\n")
    (tmp_path / "a" / "mine.yaml").write_text("include: [middle.yaml]\ntask: mine\n")
    manager = task_manager(["mini_nli"], [tmp_path])
    first = task_digest(manager, "mine")
    assert first == task_digest(manager, "mine")
    base.write_text("output_type: multiple_choice\n")
    assert task_digest(manager, "mine") != first
