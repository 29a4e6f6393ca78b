"""Documents as lm-eval reads them, in memory: it goes through a task's documents four times, and a Dataset decodes every
row anew each time, which takes longer than all else around a small network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

Row = dict[str, Any]


class Documents(Sequence):
    """Rows with the same columns (None where a row has no such value), with the part of a Dataset that lm-eval uses.

    Every access gives a copy of the row, as a Dataset does. Given `columns`, which every row must have already, the rows
    are not read before they are asked for. `data` is the setting that says where they were read from (data_folder.py).
    """

    def __init__(self, rows: Iterable[Row], columns: Sequence[str] | None = None, data: str | None = None):
        self._rows: Sequence[Row]
        self.data = data
        if columns is not None and isinstance(rows, Sequence):
            self.column_names, self._rows = list(columns), rows
            return
        rows = list(rows)
        self.column_names = list(dict.fromkeys(name for row in rows for name in row))
        self._rows = [{name: row.get(name) for name in self.column_names} for row in rows]

    @property
    def features(self) -> dict[str, None]:
        """The columns; their types are not known."""
        return dict.fromkeys(self.column_names)

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    @overload
    def __getitem__(self, key: slice) -> dict[str, list[Any]]: ...
    def __getitem__(self, key: int | str | slice) -> Any:
        """A row by its number, a column by its name, or columns of a slice."""
        if isinstance(key, str):
            return [row[key] for row in self._rows]
        if isinstance(key, slice):
            rows = [self._rows[index] for index in range(len(self))[key]]
            return {name: [row[name] for row in rows] for name in self.column_names}
        return dict(self._rows[key])

    def __iter__(self) -> Iterator[Row]:
        return map(dict, self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, indices: Iterable[int]) -> Documents:
        """The rows of these numbers, in that order."""
        return Documents([self._rows[index] for index in indices], self.column_names, self.data)
