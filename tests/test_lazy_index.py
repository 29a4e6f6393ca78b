"""lm-eval's own YAML files are read only when they are needed, and then nothing is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.tasks._index import TaskIndex
from lm_eval.tasks.manager import TaskManager
from small_files import write_file, write_mirror

from harness import registration
from harness.lazy_index import LazyIndex, names_of


def entry(name: str, kind: str = "TASK") -> Any:
    return SimpleNamespace(name=name, kind=SimpleNamespace(name=kind), yaml_path=Path(f"{name}.yaml"))


REST = {name: entry(name) for name in ("b", "stock")}
WHOLE: list[Callable[[dict], Any]] = [
    sorted, len, dict, lambda index: list(index.keys()), lambda index: list(index.values()),
    lambda index: list(index.items()), lambda index: "c" in index, lambda index: index.get("c"), lambda index: index["stock"],
]  # fmt: skip


@pytest.fixture
def lazy():
    """An index of a and b, whose rest has another b, and how often it was read."""
    reads = []

    def read() -> dict:
        reads.append(1)
        return dict(REST)

    return LazyIndex({"a": entry("a", "GROUP"), "b": entry("b")}, read), reads


def test_what_is_known_needs_no_reading(lazy):
    index, reads = lazy
    assert "a" in index and index["b"].name == "b" and index.get("a") is index["a"] and index.known() == ["a", "b"]
    index.update({"d": entry("d")})
    assert "d" in index and reads == [] and not index.whole


@pytest.mark.parametrize("ask", WHOLE)
def test_everything_else_reads_the_rest_once(lazy, ask, caplog):
    index, reads = lazy
    ours = index["b"]
    with caplog.at_level(logging.WARNING):
        ask(index)
        ask(index)
    assert reads == [1] and index.whole and list(index) == ["a", "b", "stock"]
    assert index["b"] is ours and caplog.messages == ["Task 'b' from b.yaml overrides lm-eval's own"]
    assert index.get("c", 7) == 7 and "c" not in index and names_of(index) == ["a", "b", "stock"]
    assert names_of(index, "GROUP") == ["a"] and names_of(index, "TASK", "PY_TASK") == ["b", "stock"]
    with pytest.raises(KeyError, match="c"):
        index["c"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folders that are indexed from now on; lm-eval's own tasks are a made-up folder of one task."""
    registration.extend_task_manager(TaskManager)
    own = tmp_path / "own"
    write_file(own, "stock.yaml", ["task: stock_task", "output_type: generate_until"])
    plain, seen = TaskIndex.build, []

    def build(paths, **options):
        paths = [own if path.name == "tasks" and path.parent.name == "lm_eval" else path for path in paths]
        seen.extend(paths)
        return plain(paths, **options)

    monkeypatch.setattr(TaskIndex, "build", staticmethod(build))
    return seen, own


def test_a_run_of_our_tasks_does_not_read_lm_evals(folders, tmp_path, monkeypatch):
    seen, own = folders
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path / "mirror")))
    mine = tmp_path / "mine"
    write_file(mine, "mine.yaml", ["task: my_task", "output_type: generate_until"])
    manager = TaskManager(include_path=str(mine))
    assert manager.match_tasks(["xp3_rte"]) == ["xp3_rte"] and manager.match_tasks(["my_task"]) == ["my_task"]
    assert "xp3_xnli_en" in manager.match_tasks(["xp3_xnli_*"])
    assert set(manager.load(["xp3_rte", "xp3_anli"])["tasks"]) == {
        "xp3_rte",
        "xp3_anli_r1",
        "xp3_anli_r2",
        "xp3_anli_r3",
    }
    assert own not in seen
    assert manager.match_tasks(["stock_*", "xp3_rte"]) == ["stock_task", "xp3_rte"] and seen.count(own) == 1
    assert "stock_task" in manager.all_subtasks and "xp3_anli" in manager.all_groups and seen.count(own) == 1


def test_without_the_defaults_they_are_never_read(folders):
    seen, own = folders
    manager = TaskManager(include_defaults=False)
    assert "stock_task" not in manager.all_tasks and manager.match_tasks(["no_such_task"]) == [] and own not in seen
