"""What each task needs: `python -m harness data` lists sources and licences, and checks a mirror against checksums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import mirror
from harness.benchmarks import Benchmark, files_of
from harness.catalogue import BENCHMARKS, REVISIONS
from harness.data import in_mirror
from harness.data_folder import VARIABLE, mirror_folder
from harness.mirror import DataError
from harness.origins import fetchable, origins_of
from harness.registration import tasks_known_here
from harness.task_files import included, read_task


@dataclass(frozen=True)
class Check:
    """One file of a mirror, its state there (see `mirror.Held`) and, if it is changed, the sentence about it."""

    benchmark: str
    path: str
    state: str
    fault: str = ""


def check_mirror(root: Path) -> Iterator[Check]:
    """Every file that the catalogue knows, with its state in the mirror `root`."""
    listing = mirror.manifest(root)
    for name, spec in BENCHMARKS.items():
        for path in files_of(spec):
            held = mirror.held(root, path, listing)
            yield Check(name, path, held.state, held.fault)


def tasks_by_benchmark() -> dict[str, list[str]]:
    """{benchmark: the tasks whose YAML names it}."""
    found: dict[str, list[str]] = {}
    for task, arguments in document_arguments().items():
        found.setdefault(arguments["benchmark"], []).append(task)
    return found


def document_arguments() -> dict[str, dict[str, str]]:
    """{task: benchmark, subset, split, …} of every task whose documents `harness.data` reads."""
    found = {task: _arguments_in(path) for task, path in tasks_known_here().items()}
    return {task: arguments for task, arguments in found.items() if "benchmark" in arguments}


def _arguments_in(path: Path) -> dict[str, str]:
    """The `dataset_kwargs` of a YAML file or, where it has none, of the files that it includes."""
    config = read_task(path)
    if "dataset_kwargs" in config:
        return config["dataset_kwargs"]
    return next((found for file in included(path) if (found := _arguments_in(file))), {})


def tasks_without_files(data: str | None = None) -> list[str]:
    """The tasks for which the mirror (see `mirror_folder`) has no file at all; none without a mirror."""
    root = mirror_folder(data)
    if root is None:
        return []
    return [
        task
        for task, of in document_arguments().items()
        if not in_mirror(BENCHMARKS[of["benchmark"]], root, of["subset"], of["split"])
    ]


def sources_table(data: str | None = None) -> str:
    """One block of lines per benchmark: tasks, licence, files on the hub and in the mirror, what is missing.

    `data` is the mirror or `hub`, by default what ANYORDER_DATA says.
    """
    root, tasks = mirror_folder(data), tasks_by_benchmark()
    without = set(tasks_without_files(data))
    if root is None:
        where = f"the hub ({f'{VARIABLE} is not set' if data is None else f'--data {data}'})"
    else:
        where = f"the mirror {root} ({VARIABLE if data is None else '--data'}), nothing else"
    lines = [f"documents come from {where}"]
    for name, spec in BENCHMARKS.items():
        first, split = spec.subsets[0], spec.splits[0]
        lines += [
            f"\n{spec.title}: {len(tasks.get(name, []))} tasks ({', '.join(tasks.get(name, ['none'])[:3])}, …)",
            f"  licence  {spec.licence}",
            f"  hub      {_hub_line(spec, first, split)}",
            f"  mirror   {spec.mirror_file(first, split)}{_held_line(spec, root)}",
            f"  fetch    {_fetch_line(name)}",
        ]
        if named := [task for task in tasks.get(name, []) if task in without]:
            lines.append(f"  no files for {' '.join(named)}")
    if root is not None:
        total = sum(map(len, tasks.values()))
        lines += [f"\nthe mirror has files for {total - len(without)} of {total} tasks"]
    return "\n".join(lines)


def _hub_line(spec: Benchmark, subset: str, split: str) -> str:
    if spec.hub_file is None:
        return "no copy that may be used: a mirror only"
    repository, path = spec.hub_file(subset, split)
    return f"{repository}@{REVISIONS[repository]}/{path}"


def _fetch_line(name: str) -> str:
    """What `--fetch` would copy, and from where."""
    paths = fetchable(name)
    total = len(files_of(BENCHMARKS[name]))
    if not paths:
        return "by hand: no public place is known"
    return f"{len(paths)} of {total} files from {', '.join(origins_of(paths))}"


def _held_line(spec: Benchmark, root: Path | None) -> str:
    if root is None:
        return ""
    missing = [
        f"{subset}/{split}" if len(spec.splits) > 1 else subset
        for split in spec.splits
        for subset in spec.subsets
        if not in_mirror(spec, root, subset, split)
    ]
    total = len(spec.subsets) * len(spec.splits)
    few = " ".join(missing[:6]) + (" …" if len(missing) > 6 else "")
    return f"  holds {total - len(missing)} of {total}" + (f", without {few}" if missing else "")


def check_report(root: Path) -> tuple[str, bool]:
    """(the report, whether nothing is changed) of a mirror.

    Raises:
        DataError: `root` is no folder, or holds no file of any benchmark.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: name a mirror.")
    checks = list(check_mirror(root))
    states: dict[str, dict[str, list[str]]] = {name: {} for name in BENCHMARKS}
    for check in checks:
        states[check.benchmark].setdefault(check.state, []).append(check.path)
    if all(set(found) == {"missing"} for found in states.values()):
        raise DataError(f"{root} holds no file of any benchmark (such as {checks[0].path}).")
    lines = []
    for name, found in states.items():
        counts = ", ".join(f"{len(found[state])} {state}" for state in ("ok", "subset", "unlisted", "changed", "missing") if state in found)  # fmt: skip
        lines.append(f"{name:24} {counts}")
    changed = {check.path: check.fault for check in checks if check.state == "changed"}
    lines += [f"changed: {path}: {fault}" for path, fault in changed.items()]
    return "\n".join(lines), not changed
