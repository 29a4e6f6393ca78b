"""`python -m harness data`: what each task needs, and mirrors held against checksums."""

from __future__ import annotations

import subprocess
import sys

import pytest
from shared_files import REAL, needs_real
from small_files import XNLI_LINES, write_file, write_manifest, write_mirror

from harness.catalogue import BENCHMARKS
from harness.data_report import check_mirror, check_report, document_arguments, sources_table, tasks_by_benchmark
from harness.mirror import DataError, OfficialFile
from harness.registration import arguments_of_task, task_manager, tasks_known_here


def test_every_benchmark_has_a_task_and_a_line(monkeypatch):
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    assert set(tasks_by_benchmark()) == set(BENCHMARKS)
    table = sources_table()
    assert table.startswith("documents come from the hub (ANYORDER_DATA is not set)")
    assert all(f"\n{spec.title}: " in table and f"licence  {spec.licence}" in table for spec in BENCHMARKS.values())
    assert "juletxara/mgsm@f52417ca77bd71e9888ddc29f92587660725d2b4/mgsm_bn.tsv" in table


def test_what_the_yaml_files_say_is_what_lm_eval_reads():
    """`document_arguments` reads the files without lm-eval, which takes seconds to import; `arguments_of_task` asks its index."""
    index, ours = task_manager(tasks_known_here()).task_index, document_arguments()
    found = {name: arguments_of_task(index, name) for name in tasks_known_here()}
    read = {name: arguments for name, arguments in found.items() if arguments is not None}
    assert read.keys() == ours.keys()
    assert {name: {key: read[name][key] for key in arguments} for name, arguments in ours.items()} == ours


def test_a_mirror_s_gaps_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    (tmp_path / "xnli/dev-sw.tsv").unlink()
    table = sources_table()
    assert "xnli/dev-ar.tsv  holds 29 of 30, without sw/validation" in table
    assert "holds 6 of 6" in table


def test_states_of_files(monkeypatch, tmp_path):
    for name in ("en", "de", "fr"):
        write_file(tmp_path, f"xnli/dev-{name}.tsv", XNLI_LINES)
    write_manifest(tmp_path)
    write_file(tmp_path, "xnli/dev-de.tsv", XNLI_LINES[:2])
    write_file(tmp_path, "xnli/dev-ru.tsv", XNLI_LINES)
    official = {"xnli/dev-fr.tsv": OfficialFile(9, "0" * 64)}
    monkeypatch.setattr("harness.mirror.official_files", lambda: official)
    states = {check.path: check.state for check in check_mirror(tmp_path) if check.benchmark == "xnli"}
    wanted = {"en": "ok", "de": "changed", "fr": "subset", "ru": "unlisted", "sw": "missing"}
    assert {name: states[f"xnli/dev-{name}.tsv"] for name in wanted} == wanted
    report, whole = check_report(tmp_path)
    assert (
        not whole
        and "changed: xnli/dev-de.tsv" in report
        and "1 ok, 1 subset, 1 unlisted, 1 changed, 26 missing" in report
    )


def test_no_mirror_at_all(tmp_path):
    with pytest.raises(DataError, match="holds no file of any benchmark"):
        check_report(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        check_report(tmp_path / "none")


def test_the_command(tmp_path):
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES)
    write_manifest(tmp_path)
    call = [sys.executable, "-m", "harness", "data", "--check", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0 and "xnli" in done.stdout
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES[:1])
    assert subprocess.run(call, capture_output=True, text=True).returncode == 1


@needs_real
def test_the_real_mirror_is_as_listed():
    report, whole = check_report(REAL)
    assert whole and "changed" not in report and "subset" not in report and "unlisted" not in report
