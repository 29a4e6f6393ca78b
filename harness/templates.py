"""Templates: how a record becomes text, with the role of every character, so that losses can choose by role.

Roles: `instruction` (the user's words), `template` (markers around them). The target is always `output`.
Spans are recorded when the text is rendered; nothing is searched for after tokenisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rendered:
    """Prompt and target text; `spans` = (start, end, role) over the prompt's characters, in order, without gaps."""

    prompt: str
    target: str
    spans: tuple[tuple[int, int, str], ...]


def _join(parts: list[tuple[str, str]], target: str) -> Rendered:
    spans, text = [], ""
    for part, role in parts:
        if part:
            spans.append((len(text), len(text) + len(part), role))
            text += part
    return Rendered(text, target, tuple(spans))


def plain(inputs: str, targets: str) -> Rendered:
    """xP3's form: the prompt as it is, then a space and the target (the space belongs to the target)."""
    return _join([(inputs, "instruction")], " " + targets)


def tulu(inputs: str, targets: str) -> Rendered:
    """Tulu's chat form: role markers on lines of their own (Instruction Modelling, facts A1)."""
    return _join(
        [("<|user|>\n", "template"), (inputs.strip(), "instruction"), ("\n<|assistant|>\n", "template")], targets
    )


TEMPLATES: dict[str, Callable[[str, str], Rendered]] = {"plain": plain, "tulu": tulu}
