"""lm-eval's index of tasks with ours in it, whose other part is read when something else is asked for. Torch-free.

lm-eval 0.4.13 reads its own 14,000 YAML files whenever a TaskManager is made; for a small run of tasks of ours that is
the longest part. Here they are read at the first question that ours (and the user's own folders) cannot answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)
Entries = dict[str, Any]  # name → lm-eval's Entry


class LazyIndex(dict):
    """{name: Entry} that reads the rest, once, when a name is missing or when all names are wanted."""

    def __init__(self, known: Entries, read_rest: Callable[[], Entries]):
        super().__init__(known)
        self._read_rest: Callable[[], Entries] | None = read_rest

    @property
    def whole(self) -> bool:
        """Whether the rest has been read."""
        return self._read_rest is None

    def complete(self) -> LazyIndex:
        """This index with the rest in it; what was known before stays, as a later folder does for lm-eval."""
        if self._read_rest is not None:
            read, self._read_rest = self._read_rest, None
            for name, entry in read().items():
                known = self.setdefault(name, entry)
                if known is not entry:
                    logger.warning("Task '%s' from %s overrides lm-eval's own", name, known.yaml_path)
        return self

    def known(self) -> list[str]:
        """The names that are there without reading the rest, sorted."""
        return sorted(super().keys())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (not self.whole and dict.__contains__(self.complete(), name))

    def __missing__(self, name: str) -> Any:
        if self.whole:
            raise KeyError(name)
        return self.complete()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of `name`, or `default`."""
        return self[name] if name in self else default

    def __iter__(self):
        return dict.__iter__(self.complete())

    def __len__(self) -> int:
        return dict.__len__(self.complete())

    def keys(self):
        """All names."""
        return dict.keys(self.complete())

    def values(self):
        """All entries."""
        return dict.values(self.complete())

    def items(self):
        """All names with their entries."""
        return dict.items(self.complete())


def names_of(index: Entries, *kinds: str) -> list[str]:
    """The names of the given kinds (TASK, PY_TASK, GROUP, TAG) in an index, sorted; without kinds, all names."""
    return sorted(name for name, entry in index.items() if not kinds or entry.kind.name in kinds)
