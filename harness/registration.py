"""Our names in lm-eval: models as strings, the folder of tasks and what they say of their documents. Torch-free.

`_autoload.py` calls `register_models` and `extend_task_manager` when the stock command imports lm-eval;
`python -m harness` calls them through `task_manager`. Both are idempotent.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.mirror import DataError

MODELS = {
    "nar_xlmr": "harness.adapters.masked_lm:NarXlmr",
    "diffusion_xlmr": "harness.adapters.diffusion:DiffusionXlmr",
    "ar": "harness.adapters.autoregressive:Autoregressive",
    "encdec": "harness.adapters.autoregressive:EncoderDecoder",
}
PREFIXES = ("mini_", "xp3_", "anyorder_", "diffusionllm_", "im_")
_hook_before = sys.excepthook
_NAME = re.compile(r"^(?:task|group): +([\w-]+) *$", re.MULTILINE)


def register_models() -> None:
    """Tell lm-eval of our models; none of them is imported before it is asked for.

    `lm_eval.models` comes first: lm-eval registers its own models only if its registry is still empty, so
    that a name of ours that came earlier would make `hf` and all the others vanish.
    """
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def task_paths() -> list[Path]:
    """The folder of our task YAMLs: harness/_tasks of an installed wheel, tasks/ of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_tasks", here.parent / "tasks"):
        if folder.is_dir():
            return [folder]
    raise FileNotFoundError(f"no tasks: expected {here / '_tasks'} or {here.parent / 'tasks'}; install anyorder again.")


def tasks_known_here() -> dict[str, Path]:
    """Name → YAML of our tasks and groups, sorted, in milliseconds (lm-eval's own index takes seconds)."""
    found = {}
    for folder in task_paths():
        for path in folder.glob("**/*.yaml"):
            for name in _NAME.findall(path.read_text(encoding="utf-8")):
                found[name] = path
    return dict(sorted(found.items()))


def only_ours(tasks: Iterable[str]) -> bool:
    """Whether every name (or pattern: `xp3_xnli_*`) can only mean tasks of ours, not of lm-eval."""
    known = tasks_known_here()
    return all(name in known or ("*" in name and name.startswith(PREFIXES)) for name in tasks)


def explain_unknown_task(name: str, stock: Iterable[str] = ()) -> str:
    """One sentence for an unknown task: the nearest of our names (and of `stock`), and where to look."""
    import difflib

    near = difflib.get_close_matches(name, {*tasks_known_here(), *stock}, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"unknown task '{name}'.{hint} `lm_eval ls tasks` lists all of them."


def task_manager(tasks: Iterable[str], include_path: Sequence[str | Path] = (), metadata: dict | None = None) -> Any:
    """An lm-eval TaskManager that knows our tasks, and lm-eval's own only if one of `tasks` needs them."""
    from lm_eval.tasks.manager import TaskManager

    register_models()
    extend_task_manager(TaskManager)
    return TaskManager(include_path=list(include_path), include_defaults=not only_ours(tasks), metadata=metadata)


def extend_task_manager(manager: Any) -> None:
    """Teach lm-eval's TaskManager class our folder, before the user's own folders (which may override it).

    Also: lm-eval's own files are read only when they are needed (lazy_index.py), a user's settings are held against the
    tasks (task_settings.py) and groups are cut to what a mirror holds when they are loaded, and our own errors end a program with one line (see `print_in_one_line`).
    """
    from harness.lazy_index import names_of

    if getattr(manager, "anyorder", False):
        return
    plain_init, plain_load, plain_match = manager.__init__, manager.load, manager.match_tasks

    @functools.wraps(plain_init)
    def init(self, verbosity=None, include_path=None, include_defaults=True, metadata=None) -> None:
        plain_init(self, verbosity, _as_list(include_path), False, metadata)
        self._index = _with_ours(self._index, manager.__module__ if include_defaults else None)

    @functools.wraps(plain_load)
    def load(self, task_list):
        from harness.mirror_groups import groups_in_mirror
        from harness.task_settings import check_given

        index = self.task_index
        names = [name for name in _as_list(task_list) if isinstance(name, str)]
        check_given(index, names, self.metadata)
        narrowed = groups_in_mirror(index, names, self.metadata)
        before = {name: index[name] for name in narrowed}
        index.update(narrowed)
        try:
            return plain_load(self, task_list)
        finally:
            index.update(before)

    @functools.wraps(plain_match)
    def match_tasks(self, task_list):
        from lm_eval.utils import pattern_match

        return (
            pattern_match(task_list, known)
            if (known := _enough(self._index, task_list))
            else plain_match(self, task_list)
        )

    manager.__init__, manager.load, manager.match_tasks, manager.anyorder = init, load, match_tasks, True
    manager.all_tasks = property(lambda self: names_of(self._index))
    manager.all_subtasks = property(lambda self: names_of(self._index, "TASK", "PY_TASK"))
    manager.all_groups = property(lambda self: names_of(self._index, "GROUP"))
    manager.all_tags = property(lambda self: names_of(self._index, "TAG"))
    sys.excepthook = print_in_one_line
    logging.getLogger("lm_eval.api.task").addFilter(_worth_saying)


def _with_ours(users: dict[str, Any], module: str | None) -> dict[str, Any]:
    """The user's entries with ours behind them, and lm-eval's own, which lie beside the `module` of TaskManager."""
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    from harness.lazy_index import LazyIndex

    def read_file(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        TaskIndex.process_cfg(load_yaml(path, resolve_func=False, recursive=True), path, found)
        return found

    def read_rest() -> dict[str, Any]:
        return {} if module is None else TaskIndex.build([Path(str(sys.modules[module].__file__)).parent])

    return LazyIndex(users, tasks_known_here(), read_file, read_rest)


def _enough(index: dict[str, Any], asked: Sequence[str]) -> list[str]:
    """The names known without lm-eval's own if these can say what `asked` means, else none."""
    known = index.known()  # type: ignore[attr-defined]
    return known if only_ours(asked) or set(asked) <= set(known) else []


def _as_list(given: Any) -> list:
    """None, one thing, or several of them, as lm-eval's arguments have it."""
    return list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]


def _worth_saying(record: logging.LogRecord) -> bool:
    """No to lm-eval's advice about `--metadata`, two lines for every task with documents of its own."""
    return "Custom kwargs can be passed to" not in str(record.msg)


def tasks_below(index: dict[str, Any], name: str) -> Iterator[str]:
    """The tasks (and tags) of a group and of its groups; a task's own name."""
    members = (index[name].cfg or {}).get("task") if name in index else None
    if not isinstance(members, list):
        yield name
        return
    for member in members:
        yield from below(index, member)


def below(index: dict[str, Any], member: str | dict[str, Any]) -> Iterator[str]:
    """The tasks of a member of a group: a name, `{task: name, …}`, `{group: name, …}` or `{group: name, task: [members]}`."""
    if isinstance(member, str):
        yield from tasks_below(index, member)
    elif isinstance(member.get("task"), list):
        for inner in member["task"]:
            yield from below(index, inner)
    else:
        yield from tasks_below(index, member.get("task") or member["group"])


def leaves_below(index: dict[str, Any], member: str | dict[str, Any]) -> Iterator[str]:
    """The tasks of a member of a group, as `below`, those of a tag one by one."""
    for leaf in below(index, member):
        yield from sorted(index[leaf].tags) or [leaf] if leaf in index else [leaf]


def settings_in_group(index: dict[str, Any], name: str) -> list[str]:
    """`member (key, …)` for those of a group that its YAML gives settings beside their name, at any depth; lm-eval lays
    these over the tasks' own."""
    from lm_eval.tasks._factory import GROUP_FIELD_NAMES

    config = (index[name].cfg or {}) if name in index else {}
    return list(_settings(index, config, name, GROUP_FIELD_NAMES)) if isinstance(config.get("task"), list) else []


def _settings(index: dict[str, Any], member: str | dict[str, Any], name: str, known: set[str]) -> Iterator[str]:
    if isinstance(member, str):
        yield from settings_in_group(index, member)
        return
    inner = member.get("task")
    if own := sorted(set(member) - (known if isinstance(inner, list) else {"task", "group"})):
        yield f"{name} ({', '.join(own)})"
    if not isinstance(inner, list):
        yield from settings_in_group(index, inner or member["group"])
        return
    for each in inner:
        called = each if isinstance(each, str) else str(each.get("group") or each.get("task"))
        yield from _settings(index, each, called, known)


def arguments_of_task(
    index: dict[str, Any], name: str, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """What a task hands to `harness.data.load` (benchmark, subset, split, its metadata) and its `num_fewshot`.

    `metadata` is the user's, which wins over the YAML's own. None for a task whose documents come from elsewhere.

    Raises:
        DataError: a setting stands in the task's `dataset_kwargs` and is given again: lm-eval would pass it twice.
    """
    config = (index[name].cfg or {}) if name in index else {}
    if not str(config.get("custom_dataset", "")).endswith("harness.data.load"):
        return None
    given, fixed = {**(config.get("metadata") or {}), **(metadata or {})}, config["dataset_kwargs"]
    if twice := sorted(set(given) & set(fixed)):
        raise DataError(
            f"{name}: its YAML fixes {', '.join(twice)} (dataset_kwargs), which metadata cannot change: leave it out there."
        )
    return {"num_fewshot": config.get("num_fewshot"), **given, **fixed}


def print_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook`: our own error classes, whose message says what to do, without their stack trace.

    ANYORDER_TRACEBACK=1 shows the trace. All other exceptions go to the hook that was there before.
    """
    if kind.__module__.startswith("harness.") and os.environ.get("ANYORDER_TRACEBACK", "0") in ("", "0"):
        print(f"error: {error}", file=sys.stderr)
    else:
        _hook_before(kind, error, trace)
