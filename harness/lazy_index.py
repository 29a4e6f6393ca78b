"""lm-eval's index of tasks with ours in it, whose other part is read when something else is asked for. Torch-free.

lm-eval 0.4.13 reads its own 14,000 YAML files whenever a TaskManager is made; for a small run of tasks of ours that is
the longest part. Here they are read at the first question that ours (and the user's own folders) cannot answer, and of
ours only the files that are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
Entries = dict[str, Any]  # name → lm-eval's Entry


class LazyIndex(dict):
    """{name: Entry} that reads a file of ours when its name is asked for, and all the rest, once, when another name is
    missing or when all names are wanted.

    Args:
        known: entries that are read already (the user's own folders); they stay, as a later folder does for lm-eval.
        files: name → YAML file of ours; `read_file` gives its entry.
        read_rest: the entries of lm-eval's own files.
    """

    def __init__(
        self,
        known: Entries,
        files: Mapping[str, Path],
        read_file: Callable[[Path], Entries],
        read_rest: Callable[[], Entries],
    ):
        super().__init__(known)
        for name in sorted(set(known) & set(files)):
            logger.warning("Task '%s' from %s overrides ours", name, known[name].yaml_path)
        self._files = {name: path for name, path in files.items() if name not in known}
        self._read_file = read_file
        self._read_rest: Callable[[], Entries] | None = read_rest

    @property
    def whole(self) -> bool:
        """Whether the rest has been read."""
        return self._read_rest is None

    def complete(self) -> LazyIndex:
        """This index with everything in it."""
        for name in list(self._files):
            self._read(name)
        if self._read_rest is not None:
            read, self._read_rest = self._read_rest, None
            for name, entry in read().items():
                known = self.setdefault(name, entry)
                if known is not entry:
                    logger.warning("Task '%s' from %s overrides lm-eval's own", name, known.yaml_path)
        return self

    def _read(self, name: str) -> None:
        self.update(self._read_file(self._files.pop(name)))

    def known(self) -> list[str]:
        """The names that are there without reading the rest, sorted."""
        return sorted({*super().keys(), *self._files})

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name) or name in self._files
        return found or (not self.whole and dict.__contains__(self.complete(), name))

    def __missing__(self, name: str) -> Any:
        if name in self._files:
            self._read(name)
        elif self.whole:
            raise KeyError(name)
        else:
            self.complete()
        return self[name]

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
