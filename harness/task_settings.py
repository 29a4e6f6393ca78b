"""Settings that a user gives to tasks (`--metadata`, a suite's `metadata:`): which of them a task takes. Torch-free.

lm-eval lays a user's metadata over that of the task's YAML and hands both, as one, to the function that loads its documents
(data.py): what came from whom is known only before, where the user's stands alone. A YAML may set everything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.catalogue import BENCHMARKS
from harness.config import ConfigError
from harness.data_folder import data_setting, mirror_folder
from harness.prompts import is_open
from harness.promptsource import PREFIX
from harness.registration import PREFIXES, arguments_of_task, leaves_below, task_paths

logger = logging.getLogger(__name__)

_NAME_A_TASK = "name the task that has it, or write a YAML of your own (--include_path)"
ONLY_A_YAML_SAYS = {  # what a task is: another value would be another task under the same name
    "benchmark": _NAME_A_TASK,
    "subset": _NAME_A_TASK,
    "split": _NAME_A_TASK,
    "examples": _NAME_A_TASK,
    "gold": "it says which option is right; write a YAML of your own (--include_path)",
    "templates": "choose among them with 'prompts', or write a YAML of your own (--include_path)",
    "contrast": "name the task that ends in _permuted or _ablated",
    "hidden": "name the task that ends in _ablated",
    "runs_code": _NAME_A_TASK,
}
MAY_HAVE_NO_USE = ("prompts", "convention", "prompts_language", "prompts_suffix", "samples", "data_revisions")
_said: set[tuple[str, str]] = set()  # (setting, benchmark) that a warning has named


def check_given(
    index: dict[str, Any], names: Iterable[str], metadata: Mapping[str, Any] | None, whole_run: bool = False
) -> None:
    """Hold a user's settings against the tasks below `names`; a warning says, once, which benchmarks have no use for one.

    Raises:
        ConfigError: a setting that only a task's YAML says, with what to do instead; given that these are the tasks of the
            `whole_run`, a setting that none of them uses.
    """
    fixed, loose = ([key for key in metadata or {} if key in known] for known in (ONLY_A_YAML_SAYS, MAY_HAVE_NO_USE))
    if metadata is None or not (fixed or loose):
        return
    tasks = dict.fromkeys(leaf for name in names for leaf in leaves_below(index, name))
    ours = {task: one for task in tasks if (one := _of_ours(index, task, metadata)) is not None}
    for task, key in ((task, key) for task in ours for key in fixed):
        raise ConfigError(
            f"{task}: '{key}' is no setting of a run, only a task's YAML says it: {ONLY_A_YAML_SAYS[key]}."
        )
    for setting in loose:
        reasons = [(who, _why_unused(setting, arguments)) for who, arguments in ours.values()]
        unused = {who: why for who, why in reasons if why is not None}
        if whole_run and unused and len(ours) == len(tasks) and all(why for _, why in reasons):
            (who, why), *_ = unused.items()
            raise ConfigError(f"no task of this run uses the setting '{setting}' ({who}: {why}): leave it out.")
        _warn(setting, {who: why for who, why in unused.items() if (setting, who) not in _said})


def unused(index: dict[str, Any], task: str, metadata: Mapping[str, Any]) -> set[str]:
    """Which of a user's settings a task of ours has no use for; of others nothing is known."""
    found = _of_ours(index, task, metadata)
    return (
        set() if found is None else {key for key in MAY_HAVE_NO_USE if key in metadata and _why_unused(key, found[1])}
    )


def _warn(setting: str, unused: Mapping[str, str]) -> None:
    _said.update((setting, who) for who in unused)
    for why in dict.fromkeys(unused.values()):
        who = ", ".join(one for one, reason in unused.items() if reason == why)
        logger.warning("the setting '%s' is not used by %s (%s).", setting, who, why)


def _of_ours(index: dict[str, Any], task: str, metadata: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """(its benchmark, what it hands to harness.data.load); None for a task that is not ours, whose settings are not known."""
    own = arguments_of_task(index, task)
    if own is None:
        path = getattr(index.get(task), "yaml_path", None)
        ours = path is not None and any(folder in Path(path).resolve().parents for folder in task_paths())
        prefix = next((one for one in PREFIXES if ours and task.startswith(one)), None)
        return None if prefix is None else (f"{prefix}…", {})
    spec = BENCHMARKS.get(own.get("benchmark", ""))
    return (spec.title if spec else task), {**own, **metadata}


def _why_no_commit(given: Mapping[str, Any]) -> str | None:
    """Why a task reads none of the commits that `data_revisions` names; None if it reads one."""
    spec = BENCHMARKS.get(given.get("benchmark", ""))
    if spec is None or spec.hub_file is None:
        return "its documents are none of the catalogue's on the hub"
    if mirror_folder(data_setting(given)) is not None:
        return "a mirror is read"
    read = {spec.hub_file(subset, split)[0] for subset in spec.subsets for split in spec.splits}
    named = given["data_revisions"]
    return None if not isinstance(named, Mapping) or read & named.keys() else f"it reads {', '.join(sorted(read))}"


def _why_unused(setting: str, given: Mapping[str, Any]) -> str | None:
    """Why a task has no use for a setting (`given`: what it hands to harness.data.load, if that loads it); None if it has."""
    if setting == "data_revisions":
        return _why_no_commit(given)
    if setting == "samples":
        return None if given.get("runs_code") else "one answer per question, no code is run"
    templates = given.get("templates")
    if templates is None:
        return "one prompt of its own"
    if setting == "convention" and is_open(templates):
        return "no options"
    if setting not in ("prompts", "convention") and not str(given.get("prompts", "")).startswith(PREFIX):
        return "it goes with the published prompts, 'prompts': 'promptsource:PATH'"
    return None
