"""Groups of tasks cut to what a mirror holds, for one load: what is left out is said in a warning. Torch-free."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from harness.benchmarks import ALL, benchmark_of
from harness.catalogue import BENCHMARKS
from harness.data_folder import as_given, data_setting, mirror_folder, to_the_hub
from harness.mirror import DataError
from harness.mirror_documents import in_mirror
from harness.registration import arguments_of_task, below, tasks_below

logger = logging.getLogger(__name__)
Place = tuple[str, str, str]  # benchmark, subset, split


def groups_in_mirror(
    index: dict[str, Any], names: Iterable[str], metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """For the groups among `names`: index entries that hold only tasks whose files their mirror has.

    Says in one warning what was left out. Without a mirror (the setting `data` of `metadata` or of a task, else
    ANYORDER_DATA), or for other groups, there is nothing to do.

    Raises:
        DataError: the mirror is no folder, or holds no file of a group; a setting is given twice.
    """
    narrowed: dict[str, Any] = {}
    for name in names:
        leaves = list(tasks_below(index, name))
        by_setting = _by_setting(index, leaves, metadata)
        if leaves == [name]:
            continue
        missing = {data: out for data, wanted in by_setting.items() if (out := _not_held(wanted, data))}
        everything = set().union(*missing.values())
        if missing and everything == set(leaves):
            raise _nothing_held(name, *next(iter(by_setting.items())))
        for data, left_out in missing.items():
            logger.warning("%s", _left_out(name, data, by_setting[data], left_out))
        if missing:
            narrowed.update(_without(index, name, everything))
    return narrowed


def _by_setting(
    index: dict[str, Any], leaves: list[str], metadata: Mapping[str, Any] | None
) -> dict[str | None, dict[str, Place]]:
    """{setting `data`: {task: its documents}} of those tasks whose documents `harness.data` loads."""
    found: dict[str | None, dict[str, Place]] = {}
    for leaf in leaves:
        if arguments := arguments_of_task(index, leaf, metadata):
            place = arguments["benchmark"], arguments["subset"], arguments["split"]
            found.setdefault(data_setting(arguments), {})[leaf] = place
    return found


def _not_held(wanted: dict[str, Place], data: str | None) -> set[str]:
    """The tasks whose files the mirror has not; none on the hub."""
    root = mirror_folder(data)
    if root is None:
        return set()
    return {leaf for leaf, place in wanted.items() if not in_mirror(benchmark_of(*place), root, *place[1:])}


def _nothing_held(name: str, data: str | None, wanted: dict[str, Place]) -> DataError:
    files = sorted({_file_of(*place) for place in wanted.values()})
    return DataError(
        f"{name}: {as_given(data)} holds none of its {len(files)} files (such as {files[0]}); name another mirror, or "
        f"{to_the_hub(data)}."
    )


def _file_of(benchmark: str, subset: str, split: str) -> str:
    """The mirror file of a task's documents; of a task over all subsets, that of the first."""
    spec = benchmark_of(benchmark, subset, split)
    return spec.mirror_file(spec.subsets[0] if subset == ALL else subset.split("+")[0], split)


def _left_out(name: str, data: str | None, wanted: dict[str, Place], missing: set[str]) -> str:
    counts = []
    for benchmark in dict.fromkeys(arguments[0] for arguments in wanted.values()):
        own = [leaf for leaf, arguments in wanted.items() if arguments[0] == benchmark]
        out = [leaf if wanted[leaf][1] == ALL else wanted[leaf][1] for leaf in own if leaf in missing]
        without = f" (without {' '.join(out)})" if out else ""
        counts.append(f"{BENCHMARKS[benchmark].title} {len(own) - len(out)} of {len(own)}{without}")
    held = len(wanted) - len(missing)
    return f"{name}: {as_given(data)} holds {held} of {len(wanted)} tasks; left out: " + "; ".join(counts) + "."


def _without(index: dict[str, Any], name: str, missing: set[str]) -> dict[str, Any]:
    """Entries of the group `name` and its groups, without `missing` tasks and without emptied groups."""
    narrowed: dict[str, Any] = {}
    kept = []
    for member in index[name].cfg["task"]:
        if set(below(index, member)) <= missing:
            continue
        kept.append(member)
        if isinstance(member, str) and isinstance((index[member].cfg or {}).get("task"), list):
            narrowed.update(_without(index, member, missing))
    config = {**index[name].cfg, "task": kept}
    narrowed[name] = dataclasses.replace(index[name], yaml_path=None, cfg=config)
    return narrowed
