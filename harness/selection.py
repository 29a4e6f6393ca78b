"""Selection: the tasks that a command line means, and those of them that cannot be had here, each with its reason.

xp3_xnli_sw, xp3_xnli, 'xp3_xnli_*'    a task, a group (of ours: what a mirror holds of it), a pattern
all                                    every task of ours, one by one
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from harness.config import ConfigError
from harness.fewshot import check_examples
from harness.mirror import DataError
from harness.registration import explain_unknown_task, leaves_below, settings_in_group, tasks_known_here
from harness.sandbox import SandboxError
from harness.task_files import read_task
from harness.task_settings import check_given

EVERY = "all"


def asked_for(names: str) -> list[str]:
    """The comma-separated names of `--tasks`; `all` stands for every task of ours."""
    found = [task for name in names.split(",") if name.strip() for task in _every(name.strip())]
    return list(dict.fromkeys(found))


def _every(name: str) -> Iterator[str]:
    if name != EVERY:
        yield name
        return
    yield from (task for task, path in tasks_known_here().items() if read_task(path).get("task") == task)


def leaf_tasks(
    manager: Any, names: Iterable[str], left_out: dict[str, str] | None = None, num_fewshot: int | None = None
) -> tuple[list[str], dict[str, list[str]]]:
    """(tasks below `names` in order, {group: its tasks}); groups of ours are cut to what a mirror holds.

    Given `left_out`, a task whose documents or examples cannot be had (or whose answers could not be run) is put there
    with the reason, instead of ending the program; a group is then not cut, so that every task of it is either run or
    named.

    Raises:
        ConfigError: an unknown name (the nearest known ones are given), a group that sets up its tasks anew, or a setting
            of the user's that only a YAML may have or that no task uses.
        DataError: no task is left; or, without `left_out`, what a task lacks.
    """
    leaves: list[str] = []
    groups: dict[str, list[str]] = {}
    matched = [match for name in names for match in _matched(manager, name)]
    check_given(manager.task_index, matched, manager.metadata, whole_run=True)
    for match in matched:
        below = sorted(_to_be_had(manager, match, left_out, num_fewshot), key=_natural(manager, match))
        if match not in below and match not in (left_out or {}):
            groups[match] = below
        leaves += [leaf for leaf in below if leaf not in leaves]
    if not leaves:
        raise none_left(left_out or {})
    return leaves, groups


def _matched(manager: Any, name: str) -> list[str]:
    matched = manager.match_tasks([name])
    if not matched:
        raise ConfigError(explain_unknown_task(name, manager.all_tasks if len(manager.all_tasks) > 500 else ()))
    return matched


def none_left(left_out: dict[str, str]) -> DataError:
    """The error of a command line of which nothing can be run, with the first reason."""
    if not left_out:
        return DataError("the names of --tasks stand for no task at all.")
    (first, reason), *_ = left_out.items()
    return DataError(f"none of {len(left_out)} tasks can be run here. {first}: {reason}")


def _to_be_had(manager: Any, name: str, left_out: dict[str, str] | None, num_fewshot: int | None) -> list[str]:
    """The tasks of a name; each is loaded, so that what is wrong with its files is said before a network is loaded."""
    if changed := settings_in_group(manager.task_index, name):
        raise ConfigError(
            f"group {name} sets up {', '.join(changed)} anew, and tasks are run here as their own files have them: "
            "name the tasks, with --num_fewshot and the like, or use the lm_eval command."
        )
    if left_out is None:
        return _loaded(manager, name, num_fewshot)
    found: list[str] = []
    for leaf in leaves_below(manager.task_index, name):
        try:
            found += _loaded(manager, leaf, num_fewshot)
        except (DataError, SandboxError, OSError) as error:  # OSError: the hub's clients, for lm-eval's own tasks
            left_out[leaf] = " ".join(str(error).split())
    return found


def _loaded(manager: Any, name: str, num_fewshot: int | None) -> list[str]:
    """The tasks of a name, loaded, each with the examples of its first question."""
    tasks = manager.load(name)["tasks"]
    for task in tasks.values():
        check_examples(task, num_fewshot)
    return list(tasks)


def _natural(manager: Any, name: str):
    """Sort key: the order in which a group's YAML names its members, depth first."""
    order = list(leaves_below(manager.task_index, name))
    return lambda leaf: order.index(leaf) if leaf in order else len(order)


def left_out_lines(left_out: dict[str, str], total: int, why: str = "cannot be run here") -> str:
    """What is said of tasks that were left out: how many of how many, and why each."""
    rows = [f"  {task}: {reason}" for task, reason in left_out.items()]
    return "\n".join([f"left out {len(left_out)} of {total} tasks, which {why}:", *rows])
