"""Overhead: parts of a whole run add up, for every kind of adapter, and its files say what was measured."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
import synthetic_results as synthetic
from small_files import nli_lines, write_corpus, write_file, write_manifest

from harness import __main__ as command
from harness.config import ConfigError
from harness.overhead import COLUMNS, measure_overhead
from harness.records import read_checkpoint, read_measurements, weights_digest
from harness.speed import Clock
from harness.suites import OverheadPlan, Suite

SYSTEMS = ("decoder_it", "mt0", "instruct_xmlr", "diffusionllm")


def suite_with(**overhead: Any) -> Suite:
    plan = {"systems": SYSTEMS, "tasks": ["mini_nli", "mini_story"], "questions": 6, "repeats": 2, **overhead}
    made = synthetic.make_suite(seeds=(0,), systems=SYSTEMS)
    return Suite.model_validate({**made.model_dump(), "overhead": plan})


@pytest.fixture
def results(tmp_path, monkeypatch, checkpoints):
    """A results folder with the toy suite's checkpoints."""
    monkeypatch.setenv("ANYORDER_CORPUS", str(write_corpus(tmp_path / "corpus")))
    folder = tmp_path / "results" / "toy" / "checkpoints"
    folder.mkdir(parents=True)
    for name in SYSTEMS:
        (folder / f"{name}-0").symlink_to(checkpoints[name])
    return tmp_path / "results"


def test_the_parts_of_a_run_add_up(results):
    suite = suite_with()
    text = measure_overhead(suite, results)
    folder = results / "toy" / "speed"
    assert text == (folder / "overhead.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == list(COLUMNS) and [row["system"] for row in rows] == list(SYSTEMS)
    record = json.loads((folder / "overhead.json").read_text())
    assert record["plan"]["questions"] == 6 and len(record["rows"]) == 4
    for row in rows:
        assert (row["tasks"], row["questions"], row["requests"], row["repeats"]) == (
            "mini_nli+mini_story",
            "6",
            "12",
            "2",
        )
        for run in record["runs"][row["system"]]:
            parts = [run[f"{part}_seconds"] for part in ("network", "adapter", "around")]
            assert min(parts) > 0 and sum(parts) == pytest.approx(run["seconds"])
            assert run["overhead"] == pytest.approx((parts[1] + parts[2]) / parts[0])
            assert run["overhead_around"] == pytest.approx(parts[2] / parts[0])


def test_what_cannot_be_measured_is_said(results):
    with pytest.raises(ConfigError, match="overhead.tasks: mini_retell is no multiple-choice task"):
        measure_overhead(suite_with(tasks=["mini_retell"], systems=["diffusionllm"]), results)
    with pytest.raises(ConfigError, match="suite toy has no overhead section: nothing to measure"):
        measure_overhead(synthetic.make_suite(), results)
    with pytest.raises(ValueError, match="overhead.systems: unknown system 'mt1'; known: "):
        suite_with(systems=["mt1"])
    assert OverheadPlan(systems=("a",), tasks=("b",)).questions == 2000


def test_a_clock_counts_calls_inside_calls_once_and_takes_itself_off():
    class Network:
        def outer(self):
            return self.inner() + 1

        def inner(self):
            return 1

        def fail(self):
            raise ValueError("no")

    now = iter(range(100))
    network = Network()
    with Clock(network, ("outer", "inner", "fail"), lambda: float(next(now))) as clock:
        assert network.outer() == 2 and network.inner() == 1
        assert clock.seconds == 2.0  # two calls of one tick each: the inner call of the first is not timed
        with pytest.raises(ValueError, match="no"):
            network.fail()
        assert clock.seconds == 3.0
    assert network.outer() == 2 and clock.seconds == 3.0


def test_a_clock_puts_back_what_was_the_objects_own():
    class Network:
        def forward(self):
            return "plain"

    network: Any = Network()
    network.forward = hooked = lambda: "hooked"  # as accelerate's hooks do it
    with Clock(network, ("forward",)):
        assert network.forward() == "hooked" and network.forward is not hooked
    assert network.forward is hooked


def test_any_checkpoint_is_measured_without_a_suite(results, tmp_path, monkeypatch, capsys):
    out, checkpoint = tmp_path / "out", results / "toy/checkpoints/diffusionllm-0"
    line = ["harness", "speed", "--model", "diffusion_xlmr", "--model_args", f"pretrained={checkpoint}", "--tasks",
            "mini_story", "--questions", "3", "--repeats", "1", "--results", str(out)]  # fmt: skip
    monkeypatch.setattr("sys.argv", line)
    assert command.main() == 0
    (row,) = csv.DictReader(capsys.readouterr().out.strip().splitlines())
    facts = {"suite": "", "system": "diffusionllm-0", "adapter": "diffusion_xlmr", "tasks": "mini_story"}
    assert facts.items() <= row.items() and (row["questions"], row["requests"]) == ("3", "6")
    (written,) = (out / "speed").glob("overhead-diffusion_xlmr-*.json")
    assert len(json.loads(written.read_text())["runs"]["diffusionllm-0"]) == 1
    measured = read_measurements(out / "speed")
    assert {name.partition(".")[2] for name in measured} == {"csv", "json"} and written.name in measured
    weights = weights_digest(read_checkpoint(checkpoint).files)
    assert weights and all(file.checkpoints == {str(checkpoint): weights} for file in measured.values())
    assert all("lm_eval" in file.packages for file in measured.values())
    for wrong in (line[:2], [*line, "--suite", "mini"], [*line, "--only", "scoring"]):
        monkeypatch.setattr("sys.argv", wrong)
        assert command.main() == 2
        assert "speed needs --suite, or --model and --tasks" in capsys.readouterr().err


def test_the_questions_may_come_from_a_mirror(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANYORDER_DATA", "/no/such")
    write_file(tmp_path / "mirror", "super_glue/RTE/val.jsonl", nli_lines(("entailment", "not_entailment")))
    write_manifest(tmp_path / "mirror")
    checkpoint = results / "toy/checkpoints/diffusionllm-0"
    line = ["harness", "speed", "--model", "diffusion_xlmr", "--model_args", f"pretrained={checkpoint}", "--tasks", "xp3_rte",
            "--data", str(tmp_path / "mirror"), "--repeats", "1", "--results", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr("sys.argv", line)
    assert command.main() == 0
    (row,) = csv.DictReader(capsys.readouterr().out.strip().splitlines())
    assert (row["tasks"], row["questions"]) == ("xp3_rte", "10")
    monkeypatch.setattr("sys.argv", ["harness", "speed", "--suite", "mini", "--data", str(tmp_path / "mirror")])
    assert command.main() == 2 and "error: --data goes with --model and --tasks." in capsys.readouterr().err
