"""Locks between processes, by flock: the system releases one when its holder dies, so a kill leaves none behind."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made and stays, or wait for it. The folder must be there.

    Raises:
        OSError: the file cannot be written.
    """
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
