"""Which runs a suite asks for: systems × seeds × evaluations × tasks, group names replaced by their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.suites import Suite
from reports.locations import ReportsError


@dataclass(frozen=True)
class RunKey:
    """Where a run lies: runs/<system>-<seed>/<evaluation>/<task>."""

    system: str
    seed: int
    evaluation: str
    task: str

    @property
    def folder(self) -> str:
        """Path below the suite's results folder."""
        return f"runs/{self.system}-{self.seed}/{self.evaluation}/{self.task}"


def tasks_folder() -> Path:
    """tasks/ of the checkout (or of the wheel); its group files say what a group name stands for."""
    root = Path(__file__).resolve().parents[1]
    return root / "tasks" if (root / "tasks").is_dir() else root / "harness" / "_tasks"


class _TaskLoader(yaml.SafeLoader):
    """lm-eval's task YAML without importing anything: `!function x.y` reads as the text x.y."""


_TaskLoader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]


def task_groups(folder: Path) -> dict[str, tuple[str, ...]]:
    """Group name → its members (tasks or groups), from every group YAML below `folder`."""
    groups: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if not text.lstrip().startswith("group:") and "\ngroup:" not in text:
            continue
        try:
            data = yaml.load(text, Loader=_TaskLoader)
        except yaml.YAMLError as error:
            raise ReportsError(f"{path} is not valid YAML: {error}") from error
        members = data.get("task") or []
        members = [members] if isinstance(members, str) else members
        groups[str(data["group"])] = tuple(_member_name(member) for member in members)
    return groups


def _member_name(member: Any) -> str:
    return str(member if isinstance(member, str) else member.get("task") or member.get("group"))


def expand(names: Iterable[str], groups: dict[str, tuple[str, ...]]) -> list[str]:
    """Task names with groups replaced by their tasks, in order and without repeats."""
    found: dict[str, None] = {}
    for name in names:
        inner = expand(groups[name], {k: v for k, v in groups.items() if k != name}) if name in groups else [name]
        found.update(dict.fromkeys(inner))
    return list(found)


def expected_runs(suite: Suite, groups: dict[str, tuple[str, ...]]) -> tuple[RunKey, ...]:
    """Every run the suite asks for: systems × seeds × evaluations × tasks."""
    return tuple(
        RunKey(system.name, seed, evaluation.name, task)
        for system in suite.systems
        for seed in suite.seeds
        for evaluation in suite.evaluations_of(system.name)
        for task in expand(evaluation.tasks, groups)
    )
