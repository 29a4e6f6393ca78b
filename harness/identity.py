"""What a task's numbers depend on besides the model and its settings: the task's own files and its documents.

Both stand in a run's identity: a run is made again when a YAML, a mirror's file or a pinned commit has changed, and only then.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data_folder import SETTING, data_setting, mirror_folder
from harness.promptsource import digest_of_prompts
from harness.records import digest_of, sha256_file
from harness.task_files import included

FILES_BY_NAME = 4  # a task over more files than these has one digest over all of them


def task_digest(manager, task: str) -> str:
    """Digest of the YAML and Python files beside a task's own YAML and beside the files that it includes."""
    entry = manager.task_index.get(task)
    path = getattr(entry, "yaml_path", None)
    if path is None:
        return "no file"
    folders = {file.parent for file in _with_included(Path(path).resolve())}
    files = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in (".yaml", ".py"))
    return digest_of({f"{file.parent.name}/{file.name}": sha256_file(file) for file in files})


def _with_included(path: Path) -> set[Path]:
    """A YAML file and all that it includes, by themselves or by others."""
    return {path}.union(*map(_with_included, included(path)))


def data_identity(
    manager, task: str, num_fewshot: int | None = None, metadata: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """{file of the mirror: sha256}, or {what: repository@commit/path of the hub}, of a task's documents.

    Tasks of lm-eval's own load their documents themselves: {"source": "hub"}, with repository and commit where their YAML
    pins one.

    `num_fewshot` and `metadata` are the user's; without them, those of the task's YAML count.

    Raises:
        DataError: no embedded corpus, no such mirror, or no commit of the hub's copy.
    """
    from harness import corpus, data
    from harness.registration import arguments_of_task

    if task.startswith("mini_"):
        return {"corpus": sha256_file(corpus.corpus_folder() / "manifest.json")}
    arguments = arguments_of_task(manager.task_index, task, metadata)
    if arguments is None:
        return {"source": _stock_source(manager.task_index.get(task))}
    setting, revisions = data_setting(arguments), arguments.get("data_revisions")
    root = mirror_folder(setting)
    places = list(_places(arguments, arguments["num_fewshot"] if num_fewshot is None else num_fewshot))
    if root is None:
        return _few({"/".join(place): data.source_of(*place, revisions, setting) for place in places})
    return _few(dict(_mirror_files(root, places)))


def _stock_source(entry: Any) -> str:
    """Where one of lm-eval's own tasks reads: `hub`, or `hub:REPOSITORY@COMMIT` of one that our YAML starts from."""
    config = getattr(entry, "cfg", None) or {}
    commit = (config.get("dataset_kwargs") or {}).get("revision")
    if not commit:
        return "hub"
    from harness.stock_tasks import stock_config

    return f"hub:{stock_config(config)['dataset_path']}@{commit}"


def options_identity(manager, task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that can change its numbers.

    Of a task of ours, neither settings that it has no use for nor where its documents lie (the setting `data`):
    `data_identity` has their bytes, so that one mirror gives the same run under any name, by the setting and by ANYORDER_DATA.
    """
    from harness.registration import PREFIXES, arguments_of_task
    from harness.task_settings import unused

    found = {key: value for key, value in options.items() if value is not None}
    metadata = found.get("metadata", {})
    idle = unused(manager.task_index, task, metadata)
    if task.startswith(PREFIXES) or arguments_of_task(manager.task_index, task):
        idle |= {SETTING}
    if not idle & metadata.keys():
        return found
    found["metadata"] = {key: value for key, value in metadata.items() if key not in idle}
    return found if found["metadata"] else {key: value for key, value in found.items() if key != "metadata"}


def prompts_identity(manager, task: str, metadata: Mapping[str, Any] | None = None) -> str | None:
    """Digest of the promptsource files that the task's or the user's setting `prompts` names; None without one."""
    from harness.registration import arguments_of_task

    return digest_of_prompts({**(arguments_of_task(manager.task_index, task) or {}), **(metadata or {})})


def _places(arguments: Mapping[str, Any], num_fewshot: int | None) -> Iterator[tuple[str, str, str]]:
    """(benchmark, one subset, split) of everything that a run of the task reads; examples only where it shows some."""
    from harness.benchmarks import benchmark_of
    from harness.data import subsets_of

    benchmark, split = arguments["benchmark"], arguments["split"]
    spec = benchmark_of(benchmark, arguments["subset"], split)
    shown = ["train"] if num_fewshot and "train" in spec.splits else []
    for part in dict.fromkeys([split, *filter(None, [arguments.get("examples")]), *shown]):
        for subset in subsets_of(spec, arguments["subset"], part, data_setting(arguments)):
            yield benchmark, subset, part


def _mirror_files(root: Path, places: list[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    """(path below the mirror, sha256); a missing file has no digest: loading it will say what is missing."""
    from harness.benchmarks import benchmark_of

    for benchmark, subset, split in places:
        spec = benchmark_of(benchmark, subset, split)
        for name in (spec.mirror_file(subset, split), *spec.beside(subset, split)):
            path = root / name
            if path.is_file():
                state = path.stat()
                yield name, _digest(path, state.st_mtime_ns, state.st_size)


@functools.cache  # once a process, unless the file changes
def _digest(path: Path, changed: int, size: int) -> str:
    return sha256_file(path)


def _few(found: dict[str, str]) -> dict[str, str]:
    """The same, or one entry for all where there are many."""
    if len(found) <= FILES_BY_NAME:
        return found
    return {f"{next(iter(found))} and {len(found) - 1} more": digest_of(found)}
