"""The evaluation files of the mini world: which cells each has and how its items are drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from trainers.world.classification import CLASSIFICATION
from trainers.world.clusters import HELDOUT_TASKS
from trainers.world.generation import GENERATION
from trainers.world.item import Item, Task
from trainers.world.lexicon import LANGUAGES
from trainers.world.open_ended import OPEN_ENDED
from trainers.world.splits import (
    heldout_languages,
    is_heldout_combination,
    is_test_fact,
    render,
    trained_languages,
)

ATTEMPTS = 400  # per unit, before a cell is taken to have no more distinct items


@dataclass(frozen=True)
class Group:
    """One evaluation file: `size` items over all its tasks and languages at scale 1."""

    name: str
    axis: str
    tasks: tuple[Task, ...]
    size: int

    def cells(self, scale: float) -> Iterator[tuple[Task, str, int]]:
        """Task, language and number of items; whole units where a unit fits, at least one item."""
        for task in self.tasks:
            codes = heldout_languages(task.name) if self.axis == "language" else LANGUAGES
            codes = trained_languages(task.name, codes) if self.axis in ("heldin", "template") else codes
            count = max(1, round(self.size * scale / len(self.tasks) / len(codes)))
            if count > task.variants:
                count = round(count / task.variants) * task.variants
            for code in codes:
                yield task, code, count


def _tasks(*tables: dict[str, Task]) -> tuple[Task, ...]:
    return tuple(task for table in tables for task in table.values())


GROUPS = (
    Group("heldin_cls", "heldin", _tasks(CLASSIFICATION), 600),
    Group("heldin_gen", "heldin", _tasks(GENERATION), 600),
    Group("template_cls", "template", _tasks(CLASSIFICATION), 400),
    Group("template_gen", "template", _tasks(GENERATION), 400),
    Group("language_cls", "language", _tasks(CLASSIFICATION), 400),
    Group("language_gen", "language", _tasks(GENERATION), 400),
    *(Group(name, "task", (task,), 300 * len(LANGUAGES)) for name, task in HELDOUT_TASKS.items()),
    *(Group(name, "heldin", (task,), 180) for name, task in OPEN_ENDED.items()),
)


def document(group: Group, task: Task, code: str, item: Item, template: str, prompt: str, index: int) -> dict:
    """One evaluation document."""
    record = record_of(task, code, item, template, prompt, "test")
    record |= {"id": f"{group.name}/{task.name}/{code}/{index}", "group": group.name, "axis": group.axis}
    if item.choices:
        record |= {"choices": list(item.choices), "gold": item.choices.index(item.target)}
    if item.valid:
        record |= {"valid": list(item.valid)}
    return record


def record_of(task: Task, code: str, item: Item, template: str, prompt: str, split: str) -> dict:
    """The xP3-shaped part that training records and evaluation documents share."""
    return {
        "inputs": prompt,
        "targets": item.target,
        "language": code,
        "task": task.name,
        "template": template,
        "split": split,
    }


def belongs(group: Group, task: Task, code: str, item: Item) -> bool:
    """Whether an item may stand in a file: a held-out combination, or else an unseen fact."""
    if group.axis == "task":
        return True
    heldout = is_heldout_combination(task.name, code, item.source)
    if group.axis == "language":
        return heldout  # no fact was ever seen in this combination
    return not heldout and is_test_fact(task.name, item.key)


def documents(group: Group, seed: int, scale: float) -> Iterator[dict]:
    """All documents of a file, in order. Raises ValueError if a cell has too few distinct items."""
    seen: set[str] = set()
    for task, code, count in group.cells(scale):
        for start in range(0, count, task.variants):
            unit = _unit(group, task, code, f"{seed}/{group.name}/{task.name}/{code}/{start}", seen)
            for offset, (item, template, prompt) in enumerate(unit[: count - start]):
                yield document(group, task, code, item, template, prompt, start + offset)


def _unit(group: Group, task: Task, code: str, stream: str, seen: set[str]) -> list[tuple[Item, str, str]]:
    """All variants of one draw under one instruction, none seen before with the same choices."""
    for attempt in range(ATTEMPTS):
        unit, keys = [], []
        for variant in range(task.variants):
            item = task.draw(code, random.Random(f"{stream}/{attempt}"), variant)
            template, prompt = render(item, group.axis, random.Random(f"{stream}/{attempt}/template"))
            unit.append((item, template, prompt))
            keys.append(f"{prompt}\0{sorted(item.choices)}")
        if all(belongs(group, task, code, item) for item, _, _ in unit) and seen.isdisjoint(keys):
            seen.update(keys)
            return unit
    raise ValueError(f"{group.name}: no more distinct items of {task.name} in {code}: use a smaller --items-scale")
