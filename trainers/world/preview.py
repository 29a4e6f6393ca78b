"""Examples of one task on the terminal, drawn as for training but without the held-out rules."""

from __future__ import annotations

import difflib
import random

from trainers.world.clusters import HELDOUT_TASKS
from trainers.world.splits import render
from trainers.world.tasks import TRAINED


def show(name: str, code: str, count: int, seed: int) -> None:
    """Print `count` examples of a task. Raises ValueError for an unknown task."""
    tasks = TRAINED | HELDOUT_TASKS
    if name not in tasks:
        near = difflib.get_close_matches(name, tasks, 1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown task {name!r}{hint} Known: {', '.join(tasks)}")
    task = tasks[name]
    for index in range(count):
        rng = random.Random(f"{seed}/preview/{name}/{code}/{index}")
        item = task.draw(code, rng, index % task.variants)
        template, prompt = render(item, "task" if name in HELDOUT_TASKS else "train", rng)
        print(f"{template}\n  {prompt}\n  → {item.target}")
        if item.choices:
            print(f"    of {' | '.join(item.choices)}")
        if item.valid:
            print(f"    or {len(item.valid) - 1} other right answers")
