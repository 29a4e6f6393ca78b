"""Strict configuration from YAML: what a file says is known and of the right kind, or one sentence says what is not.

Torch-free. Suites, recipes, tables and claims are read with it.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class ConfigError(ValueError):
    """A YAML file says something that cannot be run; the message names file, key and the nearest known name."""


class Frozen(BaseModel):
    """Immutable data with strict keys: an unknown key is an error, not a typo that is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def unknown(what: str, name: str, known: list[str]) -> str:
    """One sentence for an unknown name: the nearest known one and the whole list."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'.{hint} Known: {', '.join(sorted(known)) or 'none'}."


def read_yaml(path: Path, model: type[Model]) -> Model:
    """A YAML file as a strict pydantic model.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest known one is named) or a wrong value.
    """
    return as_model(read_mapping(path), path, model)


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys at the top of a YAML file; ConfigError where there is no such file or it has none."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, got {type(data).__name__}.")
    return data


def as_model(data: dict, path: Path, model: type[Model]) -> Model:
    """What was read from `path` as a strict pydantic model; ConfigError as `read_yaml`."""
    try:
        return model(**data)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(item, model) for item in error.errors())) from error


def _explain(item: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{where or 'file'}: {item['msg']} (got {str(item.get('input'))[:60]!r})"
    key = str(item["loc"][-1])
    near = difflib.get_close_matches(key, sorted(_keys(model)), n=1, cutoff=0.5)
    return f"unknown key '{where}'" + (f", did you mean '{near[0]}'?" if near else "")


def _keys(model: type[BaseModel], seen: frozenset = frozenset()) -> set[str]:
    """All field names of a model and of the models nested in it."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for inner in _models_in(field.annotation):
            if inner not in seen:
                names |= _keys(inner, seen | {inner})
    return names


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
