"""The Python files beside the YAML of tasks/, which is no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

TASKS = Path(__file__).resolve().parents[1] / "tasks"


def task_utils(folder: str) -> ModuleType:
    """tasks/FOLDER/utils.py as a module."""
    spec = importlib.util.spec_from_file_location(f"{folder}_utils", TASKS / folder / "utils.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
