"""lm-eval's own result folders become runs, tables and a page; what is half-written or double is refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.records import read_run
from reports.__main__ import main
from reports.importing import ImportingError, find, import_folders


def write_lm_eval(folder: Path, model: str, tasks: dict[str, float], time: str = "2026-01-01T00-00-00") -> Path:
    """A folder as `lm_eval --output_path --log_samples` leaves it (0.4.13), each task right on a share of 24 items."""
    place = folder / model.replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    for task, share in tasks.items():
        lines = synthetic.samples(task, share, 4, random.Random(model + task))
        for line in lines:
            line["doc"] = {"question": "q", "n": line["doc_id"]}  # no fields of ours
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (place / f"samples_{task}_{time}.jsonl").write_text(text, encoding="utf-8")
    data = {
        "results": {task: {"alias": task, "acc,none": share, "acc_stderr,none": "N/A"} for task, share in tasks.items()},
        "configs": {task: {"output_type": "multiple_choice"} for task in tasks},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {"acc": True} for task in tasks},
        "n-samples": {task: {"original": 24, "effective": 24} for task in tasks},
        "config": {"model": "hf", "model_args": {"pretrained": model}, "limit": None, "random_seed": 0, "device": "cpu"},
        "git_hash": "c0ffee", "date": 1.7e9, "transformers_version": "5.0", "lm_eval_version": "0.4.13",
        "model_name": model, "total_evaluation_time_seconds": "12.5",
    }  # fmt: skip
    (place / f"results_{time}.json").write_text(json.dumps(data), encoding="utf-8")
    return place


def test_import_makes_tables_a_page_and_an_export(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(synthetic.CHOICES, "my_task", 3)
    write_lm_eval(tmp_path / "lm", "org/good", {"mini_copa": 0.95, "my_task": 0.9})
    write_lm_eval(tmp_path / "lm", "org/bad", {"mini_copa": 0.1, "my_task": 0.2})
    results = tmp_path / "results"
    assert main(["import", str(tmp_path / "lm"), "--name", "mine", "--results", str(results)]) == 0
    suite = results / "mine/suite.yaml"
    more = ["--results", str(results)]
    assert main(["build", "--suite", str(suite), *more, "--export", str(tmp_path / "items.parquet")]) == 0
    assert main(["explain", "other_tasks/org_good/my_task", "--suite", str(suite), *more]) == 0
    out = capsys.readouterr().out
    assert "org/good" in out and "c0ffee" in out and "lm_eval 0.4.13" in out
    cells = pd.read_csv(results / "mine/tables/other_tasks.csv").set_index(["row", "column"])
    assert cells.loc[("org_good", "my_task"), "mark"] == "best"
    assert (results / "mine/report/index.html").stat().st_size > 10_000
    items = pd.read_parquet(tmp_path / "items.parquet")
    assert set(items["system"]) == {"org_good", "org_bad"} and items["value"].between(0, 1).all()
    run = read_run(results / "mine/runs/org_good-0/main/my_task")
    assert (run.adapter, run.kind, run.commit, run.n_items) == ("hf", "exact", "c0ffee", 24)


def test_half_written_results_are_refused(tmp_path):
    place = write_lm_eval(tmp_path, "m", {"mini_copa": 0.5})
    samples = next(place.glob("samples_*"))
    text = samples.read_text()
    samples.write_text("\n".join(text.splitlines()[:20]) + "\n")
    with pytest.raises(ImportingError, match="has 20 documents, its results file says 24"):
        import_folders([tmp_path], "x", tmp_path / "out")
    assert not (tmp_path / "out/x/suite.yaml").exists()
    samples.unlink()
    with pytest.raises(ImportingError, match="--log_samples"):
        list(find(tmp_path))
    (place / "results_2026-01-01T00-00-00.json").write_text("{")
    with pytest.raises(ImportingError, match="not one of lm-eval's results files"):
        list(find(tmp_path))
    with pytest.raises(ImportingError, match="no results_"):
        import_folders([tmp_path / "nothing"], "x", tmp_path / "out")


def test_two_runs_of_the_same_are_both_named(tmp_path):
    write_lm_eval(tmp_path, "m", {"mini_copa": 0.5})
    write_lm_eval(tmp_path, "m", {"mini_copa": 0.5}, time="2026-02-02T00-00-00")
    with pytest.raises(ImportingError, match=r"2 runs claim m/mini_copa: .*2026-01-01.*2026-02-02"):
        import_folders([tmp_path], "x", tmp_path / "out")
