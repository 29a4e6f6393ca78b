"""What all our command lines are made of: a parser whose options are written out, and kinds of values.

argparse takes any beginning of an option's name for it, in sub-commands, too; what looks for an option by its name
(`--launch`, which the processes that it starts must not see again) would miss it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    """An ArgumentParser, and the parent of its sub-commands' parsers, that takes whole names only."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **{"allow_abbrev": False, **settings})


def whole_number_from(least: int) -> Callable[[str], int]:
    """The type of a whole number that is not below `least`; 1_000_000 and 1000000 alike."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on; got {text}")
        return value

    return number


def items_or_share(text: str) -> float:
    """A number of items, or a share below 1; lm-eval takes 0 for all of them and a negative one for a slice."""
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf") or (limit > 1 and limit != int(limit)):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, or a share between 0 and 1; got {text}")
    return limit


def json_object(text: str) -> dict:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"""expected a JSON object such as '{{"convention": "plain"}}'; got {text}""")
    return value
