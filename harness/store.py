"""A store of answers: append-only SQLite, so that a killed run loses less than one batch and a second one asks it.

An answer's key is a digest of the *asker* (weights, adapter, whatever else of it can change a number, versions of this
program's formulas) and of the *request*. An answer of another checkpoint, estimator, seed or dtype has another key: it
can never be served. Write-ahead logging lets several processes share one file; nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
APPLICATION = 0x616E796F  # "anyo": marks the file as ours
WAIT_SECONDS = 120.0
KEYS_AT_ONCE = 500


class StoreError(RuntimeError):
    """The file cannot be used as a store: not ours, of another version, or not writable."""


class Store:
    """Answers of one asker in `path`; `asker` is everything about it that can change an answer, as plain data."""

    def __init__(self, path: str | Path, asker: Mapping[str, Any]):
        self.path, self.asker = Path(path), _digest(asker)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            self._prepare(json.dumps(asker, sort_keys=True, default=str))
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"cannot use {self.path} as a store of answers: {error}. Name another file with store=, or none."
            ) from error

    def _prepare(self, asker: str) -> None:
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.execute("BEGIN IMMEDIATE")
        (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        found = tuple(self._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if tables and found != (APPLICATION, SCHEMA):
            self._base.execute("ROLLBACK")
            version = f"version {found[1]} of the store" if found[0] == APPLICATION else "another program"
            raise StoreError(
                f"{self.path} was written by {version}, this program writes version {SCHEMA}: name another file with "
                "store=, or move this one away."
            )
        self._base.execute(f"PRAGMA application_id={APPLICATION}")
        self._base.execute(f"PRAGMA user_version={SCHEMA}")
        self._base.execute("CREATE TABLE IF NOT EXISTS askers (asker TEXT PRIMARY KEY, described TEXT NOT NULL)")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
        )
        self._base.execute("INSERT OR IGNORE INTO askers VALUES (?, ?)", (self.asker, asker))
        self._base.execute("COMMIT")

    def key(self, *request: Any) -> str:
        """Key of a request (JSON-able parts) of this asker."""
        return _digest([self.asker, request])

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """The answers that are there, by key."""
        found: dict[str, Any] = {}
        for at in range(0, len(keys), KEYS_AT_ONCE):
            part = list(keys[at : at + KEYS_AT_ONCE])
            marks = ",".join("?" * len(part))
            rows = self._base.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part)
            found.update((key, json.loads(answer)) for key, answer in rows)
        return found

    def put(self, answers: Iterable[tuple[str, Any]]) -> None:
        """Append answers, all of them or none; one that is there already stays.

        Raises:
            StoreError: the disk is full or the file cannot be written.
        """
        rows = [(key, json.dumps(answer)) for key, answer in answers]
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"cannot write answers to {self.path}: {error}.") from error

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM answers").fetchone()[0])


class Part(tuple):
    """(context ids, target ids): a part of what lm-eval asked for, as one window of a long text."""


class StoringHook:
    """Stands in lm-eval's `cache_hook`: what an adapter reports there goes into the store, then to lm-eval's own.

    Of a `Part` only the store hears: lm-eval never asked for it.
    """

    def __init__(self, store: Store | None, inner: Any):
        self.store, self.inner = store, inner

    def add_partial(self, method: str, request: Any, answer: Any) -> None:
        """Keep one answer."""
        if self.store is not None:
            self.store.put([(self.store.key(method, request), answer)])
        if not isinstance(request, Part):
            self.inner.add_partial(method, request, answer)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
