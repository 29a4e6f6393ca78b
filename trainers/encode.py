"""Records to token ids: template, tokenizer, roles. Prompt and target are tokenised apart, as xMTF does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.templates import TEMPLATES

TEMPLATE, INSTRUCTION, OUTPUT = 0, 1, 2
ROLES = {"template": TEMPLATE, "instruction": INSTRUCTION, "output": OUTPUT}


@dataclass(frozen=True)
class Example:
    """prompt and target token ids; `roles` says of each prompt token whether it belongs to the template, to the user's
    own words, or to an earlier answer (a dialogue's); `closed`: an end-of-sequence token follows the target."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    roles: tuple[int, ...]
    closed: bool = True

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


@dataclass(frozen=True)
class Encoded:
    """Examples in the order of the records, and how many were dropped as too long."""

    examples: list[Example]
    too_long: int


def encode(records: Sequence[dict], tokenizer, template: str, max_length: int) -> Encoded:
    """Encode `inputs`/`targets` records; those of more than `max_length` tokens are dropped and counted.

    Raises:
        ValueError: a record without text in `inputs` or `targets`.
    """
    render = TEMPLATES[template]
    rendered = []
    for number, record in enumerate(records):
        if not record.get("inputs") or not record.get("targets"):
            raise ValueError(f"record {number} has no text in 'inputs' or 'targets': {str(record)[:80]}")
        rendered.append(render(record["inputs"], record["targets"]))
    # the backend itself: the tokenizer's own call spends three times as long on wrapping what it returns
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    prompts = backend.encode_batch([r.prompt for r in rendered], add_special_tokens=False)
    targets = backend.encode_batch_fast([r.target for r in rendered], add_special_tokens=False)
    examples, too_long = [], 0
    for text, prompt, target in zip(rendered, prompts, targets, strict=True):
        if len(prompt) + len(target) > max_length:
            too_long += 1
            continue
        if len(text.spans) == 1:
            own = (text.spans[0][2] == "instruction",) * len(prompt)
        else:
            own = tuple(_role(text.spans, start) == "instruction" for start, _ in prompt.offsets)
        examples.append(Example(tuple(prompt.ids), tuple(target.ids), own))
    return Encoded(examples, too_long)


def _role(spans: tuple[tuple[int, int, str], ...], position: int) -> str:
    for start, end, role in spans:
        if start <= position < end:
            return role
    return spans[-1][2]
