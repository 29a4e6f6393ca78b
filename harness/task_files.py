"""A task's YAML file as plain data, and the files that it includes. Nothing that its tags name is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML whose tags (`!function`) stand for nothing."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: None)


def read_task(path: Path) -> dict[str, Any]:
    """The keys of one file, without what it includes."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}


def included(path: Path) -> list[Path]:
    """The files that `include:` names, in order, one or a list of them."""
    names = read_task(path).get("include") or []
    return [(path.parent / name).resolve() for name in ([names] if isinstance(names, str) else names)]
