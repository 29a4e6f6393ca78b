"""Names of a foreign module replaced for a while: the only way into packages that take no transport as an argument."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced(module: Any, **attributes: Any) -> Iterator[None]:
    """`module` with other attributes inside of the block, and with its own again behind it, also after an error."""
    before = {name: getattr(module, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
