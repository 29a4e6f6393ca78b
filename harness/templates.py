"""Templates: how a record becomes text, with the role of every character, so that losses can choose by role.

Roles: `instruction` (the user's words), `template` (markers around them), `output` (an earlier answer of a dialogue). The
target is always `output`. Spans are recorded when the text is rendered; nothing is searched for after tokenisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rendered:
    """Prompt and target text; `spans` = (start, end, role) over the prompt's characters, in order, without gaps;
    `ends`: places in the prompt behind which an end-of-sequence token stands (after every earlier answer)."""

    prompt: str
    target: str
    spans: tuple[tuple[int, int, str], ...]
    ends: tuple[int, ...] = ()


def _join(parts: list[tuple[str, str]], target: str) -> Rendered:
    spans, text, ends = [], "", []
    for part, role in parts:
        if part:
            spans.append((len(text), len(text) + len(part), role))
            text += part
        if role == "output":
            ends.append(len(text))
    return Rendered(text, target, tuple(spans), tuple(ends))


def plain(inputs: str, targets: str, context: str = "", history: Turns = (), system: str = "") -> Rendered:
    """xP3's form: the prompt as it is, then a space and the target (the space belongs to the target)."""
    parts = [(system + "\n" if system else "", "instruction")]
    for user, answer in history:
        parts += [(user, "instruction"), (" " + answer, "output"), ("\n", "template")]
    parts += [(inputs, "instruction"), ("\n" + context if context else "", "instruction")]
    return _join(parts, " " + targets)


def tulu(inputs: str, targets: str, context: str = "", history: Turns = (), system: str = "") -> Rendered:
    """Tulu's chat form: role markers on lines of their own (Instruction Modelling, facts A1)."""
    parts = [("<|system|>\n", "template"), (system.strip(), "instruction"), ("\n", "template")] if system else []
    for user, answer in history:
        parts += [("<|user|>\n", "template"), (user.strip(), "instruction"), ("\n<|assistant|>\n", "template")]
        parts += [(answer.strip(), "output"), ("\n", "template")]
    asked = "\n\n".join(part.strip() for part in (inputs, context) if part.strip())
    parts += [("<|user|>\n", "template"), (asked, "instruction"), ("\n<|assistant|>\n", "template")]
    return _join(parts, targets)


def alpaca(inputs: str, targets: str, context: str = "", history: Turns = (), system: str = "") -> Rendered:
    """Alpaca's blocks (facts B1), the preamble in our words; a dialogue's earlier turns stand as blocks before."""
    preamble = system.strip() or "Below is a task" + (", with an input that it refers to" if context else "")
    parts = [(preamble + ("" if system else ". Complete it as asked."), "template")]
    for user, answer in history:
        parts += [("\n\n### Instruction:\n", "template"), (user.strip(), "instruction")]
        parts += [("\n\n### Response:\n", "template"), (answer.strip(), "output")]
    parts += [("\n\n### Instruction:\n", "template"), (inputs.strip(), "instruction")]
    if context:
        parts += [("\n\n### Input:\n", "template"), (context.strip(), "instruction")]
    return _join([*parts, ("\n\n### Response:\n", "template")], targets)


TEMPLATES: dict[str, Callable[..., Rendered]] = {"plain": plain, "tulu": tulu, "alpaca": alpaca}
