"""A hub on this machine: files of data sets at commits, as the hub's real client asks for them."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
from http_server import LocalServer, Reply
from pyarrow import parquet

from harness.benchmarks import hub_place
from harness.catalogue import BENCHMARKS


def parquet_file(rows: Sequence[dict[str, Any]]) -> bytes:
    """The rows as a parquet file."""
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


class Hub:
    """Files by (repository, commit, path); `asked`: those that were downloaded, in order.

    The client's cache is `cache`; after `stop` a connection is refused. `status` is what is said of everything.
    """

    def __init__(self, monkeypatch, cache: Path) -> None:
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.status = 200
        self._server = LocalServer(self._answer)
        monkeypatch.delenv("ANYORDER_DATA", raising=False)
        url = self._server.url.rstrip("/")
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        changed = {
            "ENDPOINT": url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": False,
        }
        for name, value in changed.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        clock = SimpleNamespace(time=time.time, sleep=lambda seconds: None)  # no waiting between the client's attempts
        monkeypatch.setattr("huggingface_hub.utils._http.time", clock)

    def put(self, benchmark: str, subset: str, split: str, content: bytes, revision: str | None = None) -> None:
        """The file of a benchmark's subset and split, at the pinned commit or at another."""
        repository, pinned, path = hub_place(BENCHMARKS[benchmark], subset, split)
        self.files[repository, revision or pinned, path] = content

    def stop(self) -> None:
        self._server.stop()

    def _answer(self, path: str, body: bytes) -> Reply:
        parts = path.split("/")  # datasets/OWNER/NAME/resolve/COMMIT/PATH
        place = ("/".join(parts[1:3]), parts[4], "/".join(parts[5:])) if len(parts) > 5 else ("", "", "")
        if self.status != 200:
            return Reply(self.status, b"", 0)
        if place not in self.files:
            return Reply(404, b"", 0, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": place[1]})
        self.asked.append(place)
        content = self.files[place]
        described = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": place[1]}
        return Reply(200, content, len(content), headers=described)
