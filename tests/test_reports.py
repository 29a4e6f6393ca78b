"""The command line: build, show, explain on made-up results; one sentence and exit 2 on mendable errors."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_results as synthetic
import yaml

from harness.records import read_measurements, read_run, seal, seal_measurements, sha256_file
from harness.suites import load_suite
from reports.__main__ import main
from reports.provenance import explain
from reports.published import load_published_specs
from reports.rerun import RerunError, rerun
from reports.terminal import display_width, render

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("decoder_it", "decoder_im", "instruct_xmlr")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A suite file and a results folder with a finished report."""
    base = tmp_path_factory.mktemp("reports")
    suite = synthetic.make_suite(systems=SYSTEMS)
    file = base / "toy.yaml"
    file.write_text(yaml.safe_dump(suite.model_dump(mode="json")), encoding="utf-8")
    synthetic.write_results(base / "results" / suite.name, suite, per_language=2)
    assert run("build", base) == 0
    return base


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def run(command: str, base: Path, *more: str) -> int:
    return main([command, *more, "--suite", str(base / "toy.yaml"), "--results", str(base / "results")])


def test_build_writes_every_file_and_prints_the_report(made, capsys):
    root = made / "results/toy"
    before = {path: path.read_bytes() for folder in ("tables", "figures") for path in (root / folder).iterdir()}
    names = {path.relative_to(root).as_posix() for path in before}
    tables = (
        "main",
        "main_detail",
        "language",
        "ablation",
        "estimators",
        "lengths",
        "speed",
        "variance",
        "corpus",
        "claims",
    )
    tables += tuple(load_published_specs())
    figures = {f"figures/{name}.{kind}" for name in ("main", "pareto") for kind in ("png", "pdf")}
    assert names == {f"tables/{name}.{kind}" for name in tables for kind in ("md", "csv", "tex")} | figures
    assert run("build", made) == 0
    out = capsys.readouterr().out
    assert "Main results" in out and "Quality and speed of decoding" in out and "Report:" in out
    assert before == {path: path.read_bytes() for path in before}


def test_report_says_what_was_run_and_where_it_comes_from(made):
    text = (made / "results/toy/report.md").read_text(encoding="utf-8")
    for expected in (
        "3 systems, seeds 0, 1, 94 of 94 runs",
        "training 5 min 48 s",
        "cpu (made up)",
        "torch 2.13.0",
        "c0ffee",
        "![Scores by group](figures/main.png)",
        "mean over 2 training seeds",
    ):
        assert expected in text
    assert sha256_file(made / "results/toy/corpus/manifest.json") in text
    for link in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (made / "results/toy" / link).is_file()


def test_show_prints_the_same_without_heavy_imports(made):
    code = (
        "import sys; from reports.__main__ import main; status = main(sys.argv[1:]);"
        "heavy = {'pandas', 'numpy', 'scipy', 'matplotlib', 'torch', 'lm_eval'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy)); sys.exit(status)"
    )
    arguments = ["show", "--suite", str(made / "toy.yaml"), "--results", str(made / "results")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Main results" in done.stdout and "HEAVY []" in done.stdout


def test_building_imports_neither_torch_nor_lm_eval(made):
    code = "import sys, reports.report, reports.provenance; print({'torch', 'lm_eval'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_explain_walks_from_cell_to_corpus(made, capsys):
    assert run("explain", made, "main/decoder_im/nli") == 0
    out = capsys.readouterr().out
    root = made / "results/toy"
    for seed in (0, 1):
        folder = root / f"runs/decoder_im-{seed}/main/mini_nli"
        assert f"runs/decoder_im-{seed}/main/mini_nli" in out and sha256_file(folder / "samples.jsonl") in out
        assert sha256_file(root / f"checkpoints/decoder_im-{seed}/model.safetensors") in out
    assert "recipe id" in out and sha256_file(root / "corpus/manifest.json") in out and "the one trained on" in out
    assert all(re.match(r" *[^:]+: ", line) for line in out.splitlines())


@pytest.mark.parametrize(
    "cell",
    [
        "main/decoder_it/tokens",
        "speed/xmlr_4:32/ratio",
        "main/chance/nli",
        "main_detail/decoder_it:nli/interval",
    ],
)
def test_every_kind_of_cell_can_be_explained(made, capsys, cell):
    assert run("explain", made, cell) == 0
    assert cell in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("main/decoder_it", "write TABLE/ROW/COLUMN"),
        ("mian/decoder_it/nli", "Did you mean 'main'?"),
        ("main/decoder_lt/nli", "Did you mean 'decoder_it'?"),
        ("main/decoder_it/nlii", "Did you mean 'nli'?"),
    ],
)
def test_a_wrong_address_names_the_nearest(made, capsys, cell, message):
    assert run("explain", made, cell) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_explain_names_a_tampered_checkpoint(copied, capsys):
    (copied / "results/toy/checkpoints/decoder_im-1/model.safetensors").write_bytes(b"other")
    assert run("explain", copied, "main/decoder_im/nli") == 2
    assert "decoder_im-1/model.safetensors was changed after it was sealed" in capsys.readouterr().err


def test_explain_says_when_a_run_is_gone(copied, capsys):
    shutil.rmtree(copied / "results/toy/runs/decoder_im-1/main/mini_nli")
    assert run("explain", copied, "main/decoder_im/nli") == 2
    assert "rebuild the tables" in capsys.readouterr().err


def test_explain_says_when_a_run_was_made_again(copied, capsys):
    folder = copied / "results/toy/runs/decoder_im-1/main/mini_nli"
    seal(read_run(folder).model_copy(update={"run_id": "0" * 16}), folder)
    assert run("explain", copied, "main/decoder_im/nli") == 2
    assert "decoder_im-1/main/mini_nli was made again after this table" in capsys.readouterr().err


def test_build_refuses_a_tampered_run_and_leaves_the_old_report(copied, capsys):
    report = copied / "results/toy/report.md"
    before = report.read_bytes()
    path = copied / "results/toy/runs/decoder_im-1/main/mini_nli/samples.jsonl"
    path.write_text(path.read_text() + "\n")
    assert run("build", copied) == 2
    error = capsys.readouterr().err
    assert "decoder_im-1/main/mini_nli/samples.jsonl was changed" in error and "Traceback" not in error
    assert report.read_bytes() == before


def test_an_incomplete_suite_says_what_fills_it(copied, capsys):
    shutil.rmtree(copied / "results/toy/runs/instruct_xmlr-0")
    assert run("build", copied) == 0
    text = (copied / "results/toy/report.md").read_text()
    assert "23 runs are missing" in text.replace("**", "") and "`make tables SUITE=toy`" in text
    row = next(line for line in text.split("## Main results")[1].splitlines() if line.startswith("| Instruct-XMLR"))
    assert row.count("—") == 12 and " 0.0" not in row
    capsys.readouterr()
    assert run("explain", copied, "main/instruct_xmlr/nli") == 0
    assert "make tables SUITE=toy" in capsys.readouterr().out


def test_nothing_there_yet(tmp_path, capsys):
    assert main(["show", "--suite", "mini", "--results", str(tmp_path)]) == 2
    assert "make tables SUITE=mini" in capsys.readouterr().err
    assert main(["build", "--suite", "mini", "--results", str(tmp_path)]) == 2
    assert "make tables SUITE=mini" in capsys.readouterr().err
    assert main(["explain", "main/a/b", "--suite", "mini", "--results", str(tmp_path)]) == 2
    assert "reports build --suite mini" in capsys.readouterr().err
    assert main(["build", "--suite", "mimi"]) == 2
    assert "Did you mean 'mini'?" in capsys.readouterr().err


def test_a_read_only_folder_is_one_sentence(copied, capsys):
    shutil.rmtree(copied / "results/toy/tables")
    (copied / "results/toy/tables").write_text("in the way")
    assert run("build", copied) == 2
    error = capsys.readouterr().err
    assert "cannot write" in error and "Traceback" not in error


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0 and "explain main/decoder_it/nli" in capsys.readouterr().out


def test_terminal_panels_fit_and_lose_nothing():
    header = "| System | " + " | ".join(f"column {i}" for i in range(12)) + " |"
    rule = "| --- | " + " | ".join("---:" for _ in range(12)) + " |"
    row = "| 机器 A | " + " | ".join(f"{i}.5 \\| \\*" for i in range(12)) + " |"
    text = render("\n".join(["# Title", "", header, rule, row]), 60)
    assert max(display_width(line) for line in text.splitlines()) <= 60
    assert all(f"column {i}" in text and f"{i}.5 | *" in text for i in range(12))
    assert text.count("机器 A") == text.count("System") >= 2


def test_terminal_shows_no_control_characters():
    assert "\x1b" not in render("| a |\n| --- |\n| \x1b[31mred |\n\nprose \x1b[0m\n", 80)


def test_every_cell_of_every_table_resolves(made):
    """All cells of the suite's own tables, and every tenth one of the papers'."""
    root = made / "results/toy"
    suite = load_suite(str(made / "toy.yaml"))
    cells = []
    for path in sorted((root / "tables").glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            own = [f"{path.stem}/{line['row']}/{line['column']}" for line in csv.DictReader(file)]
        cells += own if path.stem not in load_published_specs() else own[:: max(1, len(own) // 3)]
    assert len(cells) > 300
    for cell in cells:
        assert len(list(explain(suite, root, cell))) > 1, cell


def test_diff_names_the_inputs_that_differ_and_no_other(made, capsys):
    assert run("explain", made, "--diff", "main/decoder_im/nli", "main/decoder_it/nli") == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.partition(": ")[0] for line in lines}
    assert "checkpoint 1 weights sha256" in names and "run 1 samples.jsonl sha256" in names
    assert any("recipe name" in name for name in names) and not any(
        "packages" in name or "task" in name for name in names
    )
    assert run("explain", made, "--diff", "main/decoder_im/nli", "main/decoder_im/nli") == 0
    assert "the same inputs" in capsys.readouterr().out
    assert run("explain", made) == 2 and "name a cell" in capsys.readouterr().err


def test_a_tampered_corpus_is_named(copied, capsys):
    root = copied / "results/toy"
    (root / "corpus/train.jsonl").write_text("{}")
    manifest = {"files": {"train.jsonl": "0" * 64}}
    (root / "corpus/manifest.json").write_text(json.dumps(manifest))
    assert run("explain", copied, "main/decoder_im/nli") == 2
    assert "corpus/train.jsonl was changed after it was made" in capsys.readouterr().err


def test_rerun_makes_just_that_cell_again_and_says_whether_it_is_the_same(copied):
    root, suite = copied / "results/toy", load_suite(str(copied / "toy.yaml"))
    place = "decoder_im-1/main/mini_nli"
    kept = {p: p.read_bytes() for p in (root / "runs").rglob("*") if p.is_file() and "mini_nli" not in p.parts}
    before = (root / "runs" / place / "samples.jsonl").read_bytes()
    asked = []

    def again(name: str, system: str, seed: int, results: Path) -> None:
        asked.append((name, system, seed, results))
        assert not (root / "runs" / f"{system}-{seed}/main/mini_nli").exists()
        accuracy = 0.5 if seed else 0.0
        lines = synthetic.samples("mini_nli", accuracy, 2, random.Random(seed))
        if seed == 1:
            lines = [json.loads(line) for line in before.decode().splitlines()]
        synthetic.write_run(root, suite, system, seed, "main", "mini_nli", lines)

    redone = list(rerun(suite, root, "main/decoder_im/nli", "toy.yaml", again))
    assert asked == [("toy.yaml", "decoder_im", seed, root.parent) for seed in (0, 1)]
    assert [r.same for r in redone] == [False, True] and "byte for byte" in str(redone[1]) and "→ 0.0" in str(redone[0])
    assert kept == {p: p.read_bytes() for p in kept}


def test_a_failed_rerun_changes_nothing(copied):
    root, suite = copied / "results/toy", load_suite(str(copied / "toy.yaml"))
    before = {p: p.read_bytes() for p in (root / "runs").rglob("*") if p.is_file()}

    def fails(name: str, system: str, seed: int, results: Path) -> None:
        raise RerunError("no network")

    with pytest.raises(RerunError, match="no network"):
        list(rerun(suite, root, "main/decoder_im/nli", "toy", fails))
    assert before == {p: p.read_bytes() for p in (root / "runs").rglob("*") if p.is_file()}
    with pytest.raises(RerunError, match="rests on no run"):
        list(rerun(suite, root, "main/decoder_im/tokens", "toy", fails))


def test_measurements_are_sealed_and_a_changed_one_is_named(copied, capsys):
    root = copied / "results/toy"
    weights = {"checkpoints/mt0-0": "aa11"}
    (root / "speed" / "traces.jsonl").write_text("")
    seal_measurements(root / "speed", ["decoding.csv"], {}, "before")
    seal_measurements(root / "speed", ["traces.jsonl"], weights, "cpu")
    seal_measurements(root / "speed", ["decoding.csv"], weights, "cpu")
    sealed = read_measurements(root / "speed")
    assert set(sealed) == {"decoding.csv", "traces.jsonl"} and sealed["decoding.csv"].device == "cpu"
    assert run("explain", copied, "speed/xmlr_4:32/ratio") == 0
    out = capsys.readouterr().out
    assert (
        f"{sha256_file(root / 'speed/decoding.csv')} (checked)" in out
        and "checkpoints/mt0-0 weights sha256: aa11" in out
    )
    (root / "speed" / "traces.jsonl").write_text("changed")
    assert run("build", copied) == 2
    assert "traces.jsonl was changed after it was sealed" in capsys.readouterr().err


def test_a_measurement_that_is_gone_hides_no_other(copied):
    root = copied / "results/toy"
    (root / "speed" / "traces.jsonl").write_text("")
    seal_measurements(root / "speed", ["decoding.csv", "traces.jsonl"], {}, "cpu")
    (root / "speed" / "traces.jsonl").unlink()
    assert set(read_measurements(root / "speed")) == {"decoding.csv"}
    assert run("build", copied) == 0 and run("explain", copied, "speed/xmlr_4:32/ratio") == 0
