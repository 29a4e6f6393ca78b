"""`make plan`: every stage of the suites that were measured has a time, and what is not known is never a number."""

import subprocess

import pytest

from harness import make
from harness.suites import load_suite

RULES = ("corpus", "tokenizer", "contamination", "train", "evaluate", "analysis", "judge", "speed", "report")


def planned(monkeypatch, capsys, suite, jobs: dict[str, int]) -> str:
    """What is printed when snakemake would do these jobs."""
    lines = "\n".join(f"rule {rule}:" for rule, count in jobs.items() for _ in range(count))
    done = subprocess.CompletedProcess([], 0, stdout=lines, stderr="")
    monkeypatch.setattr(make.subprocess, "run", lambda *_, **__: done)
    assert make._plan(suite, suite.name, 2) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["smoke", "mini", "im_sweep"])
def test_every_stage_of_a_measured_suite_has_a_forecast(name, monkeypatch, capsys):
    suite = load_suite(name)
    sections = {"analysis": suite.analysis, "judge": suite.judge, "speed": suite.speed}
    text = planned(monkeypatch, capsys, suite, {rule: 4 for rule in RULES if sections.get(rule, True)})
    assert "?" not in text and "at least" not in text and f"disk about {suite.forecast['disk_mb']:.0f} MB" in text
    train = suite.forecast["train"]
    assert f"train            4{make._time(train):>12}{make._time(train * 2):>12}" in text


def test_what_was_not_measured_is_no_number(monkeypatch, capsys):
    suite = load_suite("mini").model_copy(update={"forecast": {"train": 100.0}})
    text = planned(monkeypatch, capsys, suite, {"train": 2, "report": 1})
    assert "forecast at least 100 s on 2 cores, disk ? (" in text
    nothing = load_suite("small")
    assert "forecast ? on 2 cores, disk ? (not measured)" in planned(monkeypatch, capsys, nothing, {"train": 2})
