"""The start-up hook, run the way an interpreter runs it: the line of the .pth file in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval  # noqa: F401
import pytest
from small_files import XNLI_LINES, write_corpus, write_file, write_manifest

from harness import _autoload

CHECKOUT = Path(__file__).resolve().parents[1]
LINE = (CHECKOUT / "harness" / "_autoload.pth").read_text()


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `code` after the start-up line, with the checkout on the path as an installation has it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANYORDER_")}
    clean.update(environment, PYTHONPATH=str(CHECKOUT), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    program = [sys.executable, "-c", LINE + code]
    return subprocess.run(program, env=clean, capture_output=True, text=True, timeout=900)


def test_pth_and_start_file_call_the_same_function():
    assert LINE == "import harness._autoload; harness._autoload.start()\n"
    assert (CHECKOUT / "harness" / "_autoload.start").read_text() == "harness._autoload:start\n"


def test_it_leaves_no_trace_and_loads_nothing_but_a_small_file():
    code = "import sys, os\nbefore = set(sys.modules)\n" + LINE + "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["__future__"], done  # it takes itself out again
    assert (CHECKOUT / "harness" / "_autoload.py").stat().st_size < 8_000 and not python("").stdout


def test_the_stock_command_runs_our_tasks_and_keeps_its_own(tmp_path):
    """The one test that lets lm-eval index all of its own tasks (5 s)."""
    code = (
        "import json, sys\n"
        "from lm_eval.api.registry import get_model, model_registry\n"
        "from lm_eval.tasks import TaskManager\n"
        "import lm_eval.evaluator\n"
        "manager = TaskManager()\n"
        "task = manager.load(['mini_nli'])\n"
        "result = lm_eval.evaluator.evaluate(get_model('dummy')(), task, bootstrap_iters=0)\n"
        "names = ('nar_xlmr', 'diffusion_xlmr', 'ar', 'encdec', 'hf', 'dummy')\n"
        "tasks = ('xp3_heldout', 'mini_heldin', 'hellaswag', 'mmlu')\n"
        "print(json.dumps({'models': [name in model_registry for name in names],\n"
        "                  'tasks': [name in manager.all_tasks for name in tasks],\n"
        "                  'items': result['n-samples']['mini_nli']['original']}))"
    )
    done = python(code, ANYORDER_CORPUS=str(write_corpus(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"models": [True] * 6, "tasks": [True] * 4, "items": 4}


def test_the_stock_command_takes_a_mirror_as_a_setting(tmp_path):
    """`lm_eval --metadata`: documents and groups follow it, as tasks in a folder of the user's do, and errors are one line."""
    command = (
        "import sys\nfrom lm_eval.__main__ import cli_evaluate\n"
        "sys.argv = ['lm_eval', '--model', 'dummy', *{}]\ncli_evaluate()"
    )
    mirror = tmp_path / "mirror"
    for name in ("en", "sw"):
        write_file(mirror, f"xnli/dev-{name}.tsv", XNLI_LINES)
    write_manifest(mirror)
    given = ["--tasks", "xp3_xnli", "--metadata", json.dumps({"data": str(mirror)})]
    done = python(
        command.format([*given, "--log_samples", "--output_path", str(tmp_path / "out")]), ANYORDER_DATA="/no/such"
    )
    assert done.returncode == 0, done.stderr
    assert f"xp3_xnli: data={mirror} holds 2 of 15 tasks" in done.stderr
    samples = {path.name.split("_2")[0]: path for path in tmp_path.glob("out/**/samples_*.jsonl")}
    assert set(samples) == {"samples_xp3_xnli_en", "samples_xp3_xnli_sw"}
    rows = [json.loads(line)["doc"] for line in samples["samples_xp3_xnli_sw"].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 3 * 5 and {row["source"] for row in rows} == {"mirror:xnli/dev-sw.tsv"}
    done = python(command.format([*given[:2], "--metadata", '{"data": "/no/such"}']), ANYORDER_DATA=str(mirror))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: data=/no/such is not a folder: name a mirror, or set data")


LIST = (
    "from lm_eval.tasks import TaskManager\n"
    "from lm_eval.api.registry import get_model, model_registry\n"
    "get_model('dummy')\n"
    "print('xp3_heldout' in TaskManager(include_defaults=False).all_tasks, 'nar_xlmr' in model_registry)"
)


def test_opt_out():
    assert python(LIST, ANYORDER_NO_AUTOLOAD="1").stdout == "False False\n"


@pytest.fixture
def no_hook(monkeypatch):
    """A process without the hook, whatever the environment that runs the tests has installed."""
    others = [finder for finder in sys.meta_path if not getattr(finder, "anyorder", False)]
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.delenv("ANYORDER_NO_AUTOLOAD", raising=False)


@pytest.mark.parametrize(("value", "hooks"), [("1", 0), ("yes", 0), ("0", 1), ("", 1)])
def test_values_of_the_opt_out(no_hook, monkeypatch, value, hooks):
    monkeypatch.setattr(_autoload, "ACTIONS", {})
    monkeypatch.setenv("ANYORDER_NO_AUTOLOAD", value)
    _autoload.install()
    _autoload.install()
    assert sum(isinstance(finder, _autoload.Hook) for finder in sys.meta_path) == hooks


def test_it_also_extends_what_is_already_imported(no_hook, monkeypatch):
    seen = []
    monkeypatch.setattr(_autoload, "ACTIONS", {"json": seen.append, "not_imported_yet": seen.append})
    _autoload.install()
    assert seen == [json]


def test_other_imports_pass_through(no_hook):
    _autoload.install()
    hook: Any = sys.meta_path[0]
    assert hook.find_spec("json") is None and hook.find_spec("lm_eval") is None
    spec = hook.find_spec("lm_eval.models", sys.modules["lm_eval"].__path__)
    assert spec is not None and spec.name == "lm_eval.models"


def test_without_lm_eval():
    code = (
        "import sys\nsys.modules['lm_eval'] = None\n"
        "try:\n    import lm_eval.models\nexcept ImportError:\n    print('absent')"
    )
    done = python(code)
    assert done.stdout == "absent\n" and done.stderr == ""


def test_another_package_called_harness_still_wins(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("name = 'theirs'")
    first = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport harness\nprint(harness.name)\n"
    done = python(first + LIST)
    assert done.stdout == "theirs\nFalse False\n"
    assert "anyorder is not registered with lm-eval (ImportError" in done.stderr


def test_a_failure_of_ours_is_said_and_goes_no_further(capsys):
    def broken(module):
        raise OSError("no tasks")

    _autoload._report(broken, None)
    said = capsys.readouterr().err
    assert said.startswith("anyorder is not registered with lm-eval (OSError: no tasks);")
