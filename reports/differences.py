"""What two cells do not share: the inputs in which the chains behind them differ (`python -m reports explain --diff`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.suites import Suite
from reports.provenance import explain

IN_PATH = ("run", "checkpoint")
WORDS_OF_PLACE = {"cell", "value", "based on", "made", "run", "checkpoint"}


@dataclass(frozen=True)
class InputDifference:
    """One input in which two cells differ: what it is and what each has (empty: it has none)."""

    what: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.what}: {self.first or '(none)'} | {self.second or '(none)'}"


def inputs(suite: Suite, root: Path, address: str) -> dict[str, str]:
    """Everything that a cell was made of, flat: 'run 1 task' → text; runs and checkpoints in the chain's order.

    What two runs of the same thing never share (times, places, the values themselves) is left out.
    """
    flat: dict[str, str] = {}
    count = dict.fromkeys(IN_PATH, 0)
    owner = ""
    for fact in explain(suite, root, address):
        if fact.what in IN_PATH:
            count[fact.what] += 1
            owner = f"{fact.what} {count[fact.what]} "
            if fact.what == "checkpoint":
                recipe = root / fact.text.partition(",")[0] / "recipe.yaml"
                flat |= {f"{owner}recipe {key}": text for key, text in _flat_recipe(recipe).items()}
        if fact.what == "made":
            flat[f"{owner}commit"] = fact.text.partition("commit ")[2]
            flat[f"{owner}device"] = fact.text.partition(" on ")[2].partition(", commit")[0]
        elif fact.what not in WORDS_OF_PLACE:
            flat[f"{owner if fact.depth > 1 else ''}{fact.what}"] = fact.text.removesuffix(" (checked)")
    return flat


def _flat_recipe(path: Path) -> dict[str, str]:
    """`training.steps` → text, for every key of a recipe file."""
    if not path.is_file():
        return {}
    open_keys: list[tuple[str, object]] = [("", yaml.safe_load(path.read_text(encoding="utf-8")))]
    flat: dict[str, str] = {}
    while open_keys:
        name, value = open_keys.pop()
        if isinstance(value, dict):
            open_keys += [(f"{name}.{key}".lstrip("."), inner) for key, inner in value.items()]
        else:
            flat[name] = str(value)
    return dict(sorted(flat.items()))


def differences(suite: Suite, root: Path, first: str, second: str) -> list[InputDifference]:
    """The inputs in which two cells differ, in the order of the first cell's chain.

    Raises:
        AddressError, RecordError: as `explain`.
    """
    a, b = inputs(suite, root, first), inputs(suite, root, second)
    names = list(dict.fromkeys([*a, *b]))
    return [InputDifference(n, a.get(n, ""), b.get(n, "")) for n in names if a.get(n) != b.get(n)]
