"""A folder that is made whole or not at all, by one process at a time: jobs that share a mixture want the same one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import locks
from harness.records import RecordError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `<folder>.lock`, or wait for it; the system releases it when its holder dies, and the file stays.

    Who gets it looks again whether the folder is there: another process may have made it meanwhile.

    Raises:
        RecordError: the lock cannot be written.
    """
    held = ExitStack()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(locks.locked(folder.with_name(folder.name + ".lock")))
    except OSError as error:
        raise _unwritable(folder, error) from error
    with held:
        yield


@contextmanager
def replaced(folder: Path, mark: str) -> Iterator[Path]:
    """An empty folder to fill, which then takes the folder's place; one process at a time, so hold the lock.

    Args:
        mark: the file that every folder of its kind has; one without it is somebody's own and stays.

    Raises:
        RecordError: the folder holds other files, or cannot be written; nothing is left behind.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise RecordError(f"{folder} is there and holds no {mark}, so it is not replaced: name another folder.")
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> RecordError:
    return RecordError(f"cannot write {folder}: {error.strerror or error}. Free space or choose another folder.")
