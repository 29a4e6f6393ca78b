"""Families of recipes: one file with `axes`, each axis a choice of named changes; `file.yaml@choice,choice` is one recipe.

    axes:
      size:
        560m: {backbone: {pretrained: bigscience/bloom-560m}}
        3b: {backbone: {pretrained: bigscience/bloom-3b}, training: {steps: 2000}}

Changes are merged into the rest of the file, key by key, in the order of the axes (null takes a key out); then those of
`also`, whose `of` names choices that must all be made. A choice that is not named is the axis's first. The recipe's name
gets the choices behind it.
"""

from __future__ import annotations

import copy
import functools
import itertools
from pathlib import Path
from typing import Any

from harness.config import ConfigError, read_mapping, unknown


def split(path: Path) -> tuple[Path, list[str]]:
    """(file, choices) of `file.yaml@choice,choice`."""
    file, _, choices = str(path).partition("@")
    return Path(file), [choice for choice in choices.split(",") if choice]


def variants(file: Path) -> list[Path]:
    """Every recipe of a file: itself, or one path per combination of choices."""
    axes = _raw(file).get("axes")
    if not axes:
        return [file]
    return [
        Path(f"{file}@{','.join(choice)}") for choice in itertools.product(*(map(str, axis) for axis in axes.values()))
    ]


def chosen(path: Path) -> dict[str, Any]:
    """The content of a recipe file with the choices of its path merged in.

    Raises:
        ConfigError: the file cannot be read, or has no such choice (the known ones are named).
    """
    file, choices = split(path)
    data = copy.deepcopy(_raw(file))
    axes, also, made = data.pop("axes", None) or {}, data.pop("also", None) or [], []
    known = {str(name): axis for axis, names in axes.items() for name in names}
    for choice in choices:
        if choice not in known:
            raise ConfigError(f"{file}: " + unknown("choice", choice, sorted(known)))
    for axis, names in axes.items():
        asked = [choice for choice in choices if known[choice] == axis]
        if len(asked) > 1:
            raise ConfigError(f"{path}: {' and '.join(asked)} are both choices of '{axis}': name one.")
        choice = asked[0] if asked else str(next(iter(names)))
        _merge(data, next(change for name, change in names.items() if str(name) == choice) or {})
        data["name"] = f"{data.get('name', file.stem)}_{choice}"
        made.append(choice)
    for change in also:
        if wrong := [choice for choice in change["of"] if str(choice) not in known]:
            raise ConfigError(f"{file}: also: " + unknown("choice", str(wrong[0]), sorted(known)))
        if {str(choice) for choice in change["of"]} <= set(made):
            _merge(data, {key: value for key, value in change.items() if key != "of"})
    return data


def _merge(into: dict, change: dict) -> None:
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _raw(file: Path) -> dict[str, Any]:
    """The file's content, read again only after it was changed."""
    return _parsed(file, file.stat().st_mtime_ns if file.is_file() else 0)


@functools.lru_cache(maxsize=64)
def _parsed(file: Path, changed: int) -> dict[str, Any]:
    del changed
    return read_mapping(file)
