"""Means over a group of tasks: only those that its own YAML asks for (`aggregate_metric_list`), as lm-eval takes them, and
sums of counts. A group without such a list has no mean: its tasks are not to be averaged. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.records import RunRecord
from harness.registration import leaves_below
from harness.scales import is_count


class GroupValue(NamedTuple):
    """One number of a group; `how` says what was done with the tasks' values ("mean of 15")."""

    group: str
    metric: str
    how: str
    value: float


def group_values(
    index: dict[str, Any], groups: Mapping[str, Sequence[str]], records: Sequence[RunRecord]
) -> list[GroupValue]:
    """The numbers of `groups` ({group: its tasks that were to be run}) and of the groups in them, from finished runs."""
    by_task = {record.task: record for record in records}
    found: dict[str, list[GroupValue]] = {}
    for name, tasks in groups.items():
        for group, config, member in _with_inner(index, name):
            own = set(leaves_below(index, member))
            runs = [by_task[task] for task in tasks if task in own and task in by_task]
            found[group] = [*_means(group, config, runs), *_sums(group, runs)]
    return [value for values in found.values() for value in values]


Member = str | dict[str, Any]


def _with_inner(index: dict[str, Any], member: Member) -> Iterator[tuple[str, Mapping[str, Any], Member]]:
    """(name, what its YAML says, as a member) of a group and of the groups in it, by name or written into its list."""
    if isinstance(member, dict) and isinstance(member.get("task"), list):
        name, config = str(member["group"]), member
    else:
        name = member if isinstance(member, str) else str(member.get("group") or member["task"])
        config = (index[name].cfg or {}) if name in index else {}
    if isinstance(config.get("task"), list):
        yield name, config, member
        for inner in config["task"]:
            yield from _with_inner(index, inner)


def _means(group: str, config: Mapping[str, Any], runs: Sequence[RunRecord]) -> Iterator[GroupValue]:
    """lm-eval's means: over tasks weighted by their items, unless the YAML says `weight_by_size: false`."""
    asked = config.get("aggregate_metric_list") or []
    for entry in [asked] if isinstance(asked, dict) else asked:
        filters = entry.get("filter_list")
        for key in dict.fromkeys(key for run in runs for key in run.values):
            metric, _, kept_by = key.partition(",")
            if metric != entry["metric"] or (filters is not None and kept_by not in _listed(filters)):
                continue
            having = [run for run in runs if key in run.values]
            by_items = entry.get("weight_by_size", True)
            weights = [run.n_items if by_items else 1 for run in having]
            total = sum(weight * run.values[key] for weight, run in zip(weights, having, strict=True))
            how = f"mean of {len(having)}" + (", by items" if by_items else "")
            yield GroupValue(group, metric, how, total / sum(weights))


def _listed(filters: str | Sequence[str]) -> Sequence[str]:
    return [filters] if isinstance(filters, str) else filters


def _sums(group: str, runs: Sequence[RunRecord]) -> Iterator[GroupValue]:
    """Sums of the counts; a mean of counts says nothing."""
    for key in dict.fromkeys(key for run in runs for key in run.values):
        metric = key.partition(",")[0]
        counts = [run.values[key] for run in runs if key in run.values]
        if is_count(metric):
            yield GroupValue(group, metric, f"sum of {len(counts)}", sum(counts))
