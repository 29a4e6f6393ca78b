"""The parser of all our command lines: options are written out.

argparse takes any beginning of an option's name for it, in sub-commands, too; what looks for an option by its name
(`--launch`, which the processes that it starts must not see again) would miss it.
"""

from __future__ import annotations

import argparse


class Parser(argparse.ArgumentParser):
    """An ArgumentParser, and the parent of its sub-commands' parsers, that takes whole names only."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **{"allow_abbrev": False, **settings})
