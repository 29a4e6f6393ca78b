"""The smoke suite end to end through Snakemake: every stage, every file, a second call that does nothing, tampering."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records import read_checkpoint, read_run

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ROOT / "results" / "smoke"


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in os.environ.items() if key != "ANYORDER_CORPUS"}
    env = {**kept, **environment}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made():
    shutil.rmtree(SMOKE, ignore_errors=True)
    done = call("harness", "make", "--suite", "smoke", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def test_every_checkpoint_and_run_is_sealed(made):
    checkpoints = sorted((SMOKE / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["decoder_it-0", "diffusionllm-0", "instruct_xmlr-0", "mt0-0"]
    assert len({read_checkpoint(path, verify=True).tokens for path in checkpoints}) == 1
    runs = [read_run(path.parent) for path in SMOKE.glob("runs/*/*/*/run.json")]
    assert len(runs) == 4 * 12 + 2 * (3 + 4)
    assert all(run.n_unscored == 0 and run.suite == "smoke" for run in runs)
    assert {run.kind for run in runs if run.adapter == "ar" and "nli" in run.task} == {"exact"}
    assert {run.kind for run in runs if run.evaluation == "pll" and "copa" in run.task} == {"pseudo"}
    assert {run.oracle_length for run in runs if run.evaluation == "oracle_length"} == {True}


def test_tables_figures_and_report_are_there(made):
    for name in (
        "main",
        "main_detail",
        "language",
        "estimators",
        "lengths",
        "length_accuracy",
        "speed",
        "scoring",
        "judge",
    ):
        for ending in ("md", "csv", "tex"):
            assert (SMOKE / "tables" / f"{name}.{ending}").stat().st_size > 50, name
    for ending in ("png", "pdf"):
        assert (SMOKE / "figures" / f"main.{ending}").stat().st_size > 1000
        assert (SMOKE / "figures" / f"pareto.{ending}").stat().st_size > 1000
        assert (SMOKE / "figures" / f"scoring.{ending}").stat().st_size > 1000
    page = (SMOKE / "report" / "index.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000 and "Denoising traces" in page
    report = (SMOKE / "report.md").read_text(encoding="utf-8")
    assert "Main results" in report and "missing" not in report.split("## How")[0]
    assert "Main results" in made.stdout


def test_speed_rows_count_generated_tokens(made):
    rows = list(csv.DictReader((SMOKE / "speed" / "decoding.csv").open(encoding="utf-8")))
    assert len(rows) == 3 * 2
    for row in rows:  # a network of 30 steps may write nothing at all: then its rate is 0, and only then
        assert (float(row["tokens_per_second_median"]) > 0) == (int(row["generated_tokens"]) > 0)
    passes = {row["mode"]: float(row["forward_passes_per_item"]) for row in rows if row["batch_size"] == "1"}
    assert passes["xmlr_4"] <= 4 and passes["diffusion_10"] <= 10


def test_the_scripted_judge_read_every_verdict(made):
    rows = list(csv.DictReader((SMOKE / "judge" / "shapes.csv").open(encoding="utf-8")))
    assert len(rows) == 4 and all(row["mt_judged"] == "4" and row["mt_unscored"] == "0" for row in rows)
    assert [row["ae_total"] for row in rows] == ["", "4", "4", "4"]
    assert "no language model" in (SMOKE / "report.md").read_text(encoding="utf-8")


def test_a_cell_of_measured_lengths_names_its_file(made):
    done = call("reports", "explain", "length_accuracy/instruct_xmlr:all/exact", "--suite", "smoke")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "speed/lengths.csv, instruct_xmlr, all" in done.stdout and "speed/lengths.csv sha256" in done.stdout


def test_traces_end_with_the_answer(made):
    lines = [json.loads(line) for line in (SMOKE / "speed" / "traces.jsonl").open(encoding="utf-8")]
    assert [line["mode"] for line in lines] == ["xmlr_4", "xmlr_4", "diffusion_10", "diffusion_10"]
    for line in lines:
        last = line["passes"][-1]
        assert {place["state"] for place in last} <= {"written", "held"}
        assert line["answer"] in "".join(place["token"] for place in last)


def test_the_scoring_benchmark_counts_rows_and_errors(made):
    rows = list(csv.DictReader((SMOKE / "speed" / "scoring.csv").open(encoding="utf-8")))
    by = {(row["group"], row["method"]): row for row in rows}
    assert set(by) == {(g, m) for g in ("short", "long") for m in ("ours_16", "ours_32", "published")}
    assert float(by["short", "ours_32"]["rmse"]) == 0 and float(by["short", "published"]["rmse"]) > 0
    assert float(by["long", "published"]["rows_per_request"]) == 32 > float(by["long", "ours_32"]["rows_per_request"])
    record = json.loads((SMOKE / "speed" / "scoring.json").read_text(encoding="utf-8"))
    same = record["autoregressive"]
    assert same["largest_difference"] < 1e-4 and same["equal_greedy"] and record["memory"]["ours_mib"] > 0
    assert len(list(SMOKE.glob("runs/*/answers.sqlite"))) == 4
    for path in SMOKE.glob("runs/*/main/*/run.json"):
        run = read_run(path.parent)
        sampled = run.estimate is not None and run.estimate["stderr_rms"] > 0
        assert ("scores.jsonl" in run.files) == sampled


def test_a_second_call_does_nothing(made):
    before = {path: path.stat().st_mtime_ns for path in SMOKE.rglob("*") if path.is_file() and path.name != ".lock"}
    again = call("harness", "make", "--suite", "smoke")
    assert again.returncode == 0, again.stderr[-2000:]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    plan = call("harness", "make", "--suite", "smoke", "--plan")
    assert "nothing to do" in plan.stdout


def test_a_judged_summary_asks_for_another_report(made):
    summary = SMOKE / "judge" / "mt_bench" / "summary_j_single.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text("{}")
    try:
        plan = call("harness", "make", "--suite", "smoke", "--plan").stdout
    finally:
        shutil.rmtree(summary.parent)
    jobs = [line.split()[:2] for line in plan.splitlines() if line.split()[1:2] == ["1"]]
    assert jobs == [["report", "1"]], plan
    assert "nothing to do" in call("harness", "make", "--suite", "smoke", "--plan").stdout


def test_a_finished_run_is_not_done_again_and_a_changed_one_is(made):
    folder = SMOKE / "runs" / "mt0-0" / "main" / "mini_retell"
    other = SMOKE / "runs" / "mt0-0" / "main" / "mini_nli" / "run.json"
    untouched = other.stat().st_mtime_ns
    record = json.loads((folder / "run.json").read_text())
    with open(folder / "samples.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    done = call("harness", "run", "--suite", "smoke", "--system", "mt0", "--seed", "0")
    assert done.returncode == 0, done.stderr[-2000:]
    samples = read_run(folder).files["samples.jsonl"]
    assert samples == record["files"]["samples.jsonl"]  # the same bytes as before; results.json holds times
    assert other.stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["make", "--suite", "smoke2"], "Did you mean 'smoke'"),
        (["run", "--suite", "smoke", "--system", "mt1", "--seed", "0"], "Did you mean 'mt0'"),
        (["run", "--suite", "smoke", "--system", "mt0", "--seed", "7"], "not one of suite"),
        (["run", "--model", "nar_xlmr"], "needs --model and --tasks"),
        (["run", "--model", "nar_xlm", "--tasks", "mini_nli"], "Did you mean 'nar_xlmr'"),
        (["run", "--model", "nar_xlmr", "--tasks", "mini_nil"], "mini_nli"),
        (
            ["run", "--model", "nar_xlmr", "--model_args", "pretrained=nowhere/at/all", "--tasks", "mini_nli"],
            "does not exist",
        ),
        (["run", "--model", "nar_xlmr", "--tasks", "mini_nli", "--output_path", "Makefile/x"], "cannot write results"),
    ],
)
def test_bad_commands_get_one_line(made, arguments, sentence):
    done = call("harness", *arguments, ANYORDER_CORPUS=str(SMOKE / "corpus"))
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr[-1500:]


def test_the_stock_command_finds_model_tasks_and_newest_checkpoint(made):
    """`lm_eval --model nar_xlmr --tasks mini_heldout` as typed, where the package is installed."""
    import importlib.metadata

    try:
        importlib.metadata.distribution("anyorder")
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("install the package first: pip install -e .")
    environment = {**os.environ, "ANYORDER_RESULTS": str(ROOT / "results"), "ANYORDER_CORPUS": str(SMOKE / "corpus")}
    command = [sys.executable, "-m", "lm_eval", "--model", "nar_xlmr", "--tasks", "mini_nli", "--limit", "4"]
    done = subprocess.run(command, cwd=SMOKE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "using the newest local checkpoint" in done.stdout and "mini_nli" in done.stdout
