"""Imports point one way; importing the packages is nearly free; every table of names leads somewhere."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = ("harness", "trainers", "reports")
ALLOWED = {
    "harness": {"harness"},
    "trainers": {"trainers"} | {f"harness.{m}" for m in ("canvas", "backbones", "templates", "noise", "records", "lengths", "suites", "progress", "mirror", "promptsource", "locks", "windows", "command_line", "config", "loading", "environment")},
    "reports": {"reports", "harness.records", "harness.suites", "harness.config", "harness.command_line"},
}  # fmt: skip
BARRED = {"harness": (), "trainers": ("lm_eval",), "reports": ("torch", "lm_eval", "transformers", "datasets")}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", OWN)
def test_imports_point_one_way(package):
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for name in imports(path):
            own = name.split(".")[0] in OWN and not any(name == a or name.startswith(a + ".") for a in ALLOWED[package])
            barred = name.split(".")[0] in BARRED[package]
            if own or barred:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong


def test_importing_the_packages_loads_nothing_heavy():
    code = (
        "import sys, harness, trainers, reports, harness.records, harness.suites, harness.config, harness.registration;"
        "print([m for m in ('torch', 'transformers', 'lm_eval', 'datasets', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_in_a_table_leads_to_something():
    from harness.decoders import DECODERS
    from harness.registration import MODELS
    from harness.scorers import SCORERS
    from trainers.objectives import OBJECTIVES

    for target in [*DECODERS.values(), *MODELS.values(), *SCORERS.values(), *(o.target for o in OBJECTIVES.values())]:
        module, _, attribute = target.partition(":")
        assert hasattr(importlib.import_module(module), attribute), target


@pytest.mark.parametrize("name", ["types.py", "datasets.py", "tokenizers.py"])
def test_no_module_shadows_a_library(name):
    assert not [path for package in OWN for path in (ROOT / package).rglob(name)]
