"""Records to token ids: template, tokenizer, roles. Prompt and target are tokenised apart, as xMTF does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.templates import TEMPLATES, Rendered

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
    """Examples in the order of the records, the number of each one's record, and how many were dropped as too long."""

    examples: list[Example]
    numbers: list[int]
    too_long: int


def encode(
    records: Sequence[dict],
    tokenizer,
    template: str,
    max_length: int,
    too_long: str = "drop",
    special_tokens: str = "none",
) -> Encoded:
    """Encode records (`inputs`, `targets`; `context`, `history`, `system` where there are any).

    Those of more than `max_length` tokens are dropped and counted, or (`too_long`) cut: "cut_end" from the right, the
    target first (Instruction Modelling), "cut_prompt" the prompt from its left (DiffusionLLM). `special_tokens`: a
    recipe's `prompt_special_tokens`.

    Raises:
        ValueError: a record without text in `inputs` or `targets`.
    """
    render = TEMPLATES[template]
    rendered = []
    for number, record in enumerate(records):
        if not record.get("inputs") or not record.get("targets"):
            raise ValueError(f"record {number} has no text in 'inputs' or 'targets': {str(record)[:80]}")
        extra = {key: record[key] for key in ("context", "history", "system") if record.get(key)}
        rendered.append(render(record["inputs"], record["targets"], **extra))
    # the backend itself: the tokenizer's own call spends three times as long on wrapping what it returns
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    whole = all(len(r.spans) == 1 for r in rendered)  # one role per prompt: no need to know where tokens stand
    prompts = (backend.encode_batch_fast if whole else backend.encode_batch)(
        [r.prompt for r in rendered], add_special_tokens=False
    )
    targets = backend.encode_batch_fast([r.target for r in rendered], add_special_tokens=False)
    before, behind = around(tokenizer) if special_tokens == "tokenizer" else ((), ())
    examples, numbers = [], []
    for number, (text, prompt, target) in enumerate(zip(rendered, prompts, targets, strict=True)):
        ids, roles = _prompt(text, prompt, tokenizer.eos_token_id)
        roles = (TEMPLATE,) * len(before) + roles + (TEMPLATE,) * len(behind)
        example = _fitted(Example(before + ids + behind, tuple(target.ids), roles), max_length, too_long)
        if example is not None:
            examples.append(example)
            numbers.append(number)
    return Encoded(examples, numbers, len(rendered) - len(examples))


def around(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that a fast tokenizer puts before and behind a text of its own accord."""
    encoding = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True)
    own = [place for place, added in enumerate(encoding.special_tokens_mask) if not added]
    return tuple(encoding.ids[: own[0]]), tuple(encoding.ids[own[-1] + 1 :])


def _prompt(text: Rendered, encoding, eos: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token ids and roles of a prompt, with an end-of-sequence token behind every earlier answer."""
    if len(text.spans) == 1:
        return tuple(encoding.ids), (ROLES[text.spans[0][2]],) * len(encoding)
    roles = [ROLES[_role(text.spans, start)] for start, _ in encoding.offsets]
    ids = list(encoding.ids)
    for end in reversed(text.ends if eos is not None else ()):
        place = sum(start < end for start, _ in encoding.offsets)
        ids.insert(place, eos)
        roles.insert(place, OUTPUT)
    return tuple(ids), tuple(roles)


def _fitted(example: Example, room: int, too_long: str) -> Example | None:
    """The example if it has at most `room` tokens, cut as asked, else None (or where cutting leaves no target)."""
    over = len(example) - room
    if over <= 0:
        return example
    if too_long == "cut_end" and over < len(example.target):
        return Example(example.prompt, example.target[:-over], example.roles, closed=False)
    if too_long == "cut_prompt" and over < len(example.prompt):
        return Example(example.prompt[over:], example.target, example.roles[over:])
    return None


def blocks(examples: Sequence[Example], size: int, eos: int) -> list[Example]:
    """Continual pretraining: all texts end to end, cut into blocks of `size` tokens, the rest dropped; loss on all."""
    stream = [token for e in examples for token in (*e.prompt, *e.target, eos)]
    return [
        Example((), tuple(stream[at : at + size]), (), closed=False) for at in range(0, len(stream) - size + 1, size)
    ]


def _role(spans: tuple[tuple[int, int, str], ...], position: int) -> str:
    for start, end, role in spans:
        if start <= position < end:
            return role
    return spans[-1][2]
