"""The folder that documents are read from, or the hub: as the setting `data` of a task says, else ANYORDER_DATA.

The setting (`metadata: {data: DIR}` of a task, of a suite's evaluation, of the command line) wins over the variable;
`data: hub` is the hub, whatever the variable says. Error messages name what the user gave: `data=DIR` or `ANYORDER_DATA=DIR`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.mirror import DataError

SETTING, VARIABLE, HUB = "data", "ANYORDER_DATA", "hub"


def mirror_folder(data: str | None = None) -> Path | None:
    """The local mirror that the setting `data` names (None: that ANYORDER_DATA names), or None for the hub.

    Raises:
        DataError: the setting is no text, or what is named is no folder.
    """
    named = _checked(data) or os.environ.get(VARIABLE, "")
    if not named or data == HUB:
        return None
    if not Path(named).is_dir():
        raise DataError(f"{as_given(data)} is not a folder: name a mirror, or {to_the_hub(data)}.")
    return Path(named)


def data_setting(settings: Mapping[str, Any] | None) -> str | None:
    """The setting `data` among those of a task, None without one; DataError if it is no text."""
    return _checked((settings or {}).get(SETTING))


def settings_of_option(option: str | None) -> dict[str, Any] | None:
    """The settings that a command's option --data stands for; None without it."""
    return None if option is None else {SETTING: option}


def _checked(data: Any) -> str | None:
    if data is not None and not (isinstance(data, str) and data):
        raise DataError(f"{SETTING} should be the folder of a mirror, or '{HUB}', got {data!r}.")
    return data


def as_given(data: str | None) -> str:
    """What the user named, as errors call it."""
    return f"{VARIABLE}={os.environ.get(VARIABLE, '')}" if data is None else f"{SETTING}={data}"


def to_the_hub(data: str | None) -> str:
    """What the user may do to read from the hub."""
    return f"{f'unset {VARIABLE}' if data is None else f'set {SETTING} to {HUB}'} to read from the hub"


def mirror_setting(data: str | None) -> str:
    """What the user may set to read from a mirror: the setting where it says `hub`, which wins over the variable."""
    return f"{VARIABLE if data is None else SETTING}=DIR"
