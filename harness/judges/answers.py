"""Answers to be judged, written by any adapter: turn by turn, each model in its own chat form, kept as soon as written.

1. A dialogue becomes a prompt: by the tokenizer's chat template, else by the template the checkpoint was trained with.
2. All dialogues of a turn are answered; sampled answers draw from a seed of their own, so that neither the batch nor
   the order changes them.
3. Answers lie in a store keyed by weights, settings and dialogue: a killed run goes on, a second one writes nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.progress import bar
from harness.store import Store

PROTOCOL = 2  # raise it when dialogues are rendered, or answers bounded, in another way
AT_ONCE = 64
Dialogue = list[dict[str, str]]  # {"role": user | assistant, "content": text}


@dataclass(frozen=True)
class Writing:
    """How to answer one dialogue: longest answer in tokens, sampling (temperature 0 = greedy; seed of its draws), strings
    at which the answer ends."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contestant:
    """A model whose answers are judged: `load` is called only when an answer is missing."""

    name: str
    weights: str
    load: Callable[[], Any]


class AnswerWriter:
    """Answers of one model to dialogues, from the store where they are there."""

    def __init__(self, contestant: Contestant, store: Path, settings: dict[str, Any] | None = None):
        self.contestant = contestant
        self.store = Store(store, {"weights": contestant.weights, "settings": settings or {}, "protocol": PROTOCOL})
        self._model: Any = None

    def answers(self, dialogues: Sequence[Dialogue], writings: Sequence[Writing]) -> list[str]:
        """One text per dialogue, in order, without white space around it."""
        keys = [self.store.key(d, asdict(w)) for d, w in zip(dialogues, writings, strict=True)]
        known = self.store.get(list(dict.fromkeys(keys)))
        new = {key: index for index, key in reversed(list(enumerate(keys))) if key not in known}
        missing, cut = sorted(new.items(), key=lambda item: item[1]), 0
        with bar(
            total=len(set(keys)), quiet=not missing, what=f"{self.contestant.name} writing", unit="answers"
        ) as progress:
            progress.update(len(known))
            for at in range(0, len(missing), AT_ONCE):
                part = missing[at : at + AT_ONCE]
                texts = write_answers(self.model, [dialogues[i] for _, i in part], [writings[i] for _, i in part])
                cut += sum(_does_not_fit(self.model, dialogues[i], writings[i]) for _, i in part)
                self.store.put([(key, text) for (key, _), text in zip(part, texts, strict=True)])
                known.update((key, text) for (key, _), text in zip(part, texts, strict=True))
                progress.update(len(part))
        if cut:
            print(
                f"{self.contestant.name}: {cut} of {len(missing)} dialogues are longer than the model holds beside an answer; "
                "their beginnings were cut off.",
                file=sys.stderr,
            )
        return [known[key] for key in keys]

    @property
    def model(self) -> Any:
        """The adapter, loaded when it is first needed."""
        if self._model is None:
            self._model = self.contestant.load()
        return self._model


def write_answers(model: Any, dialogues: Sequence[Dialogue], writings: Sequence[Writing]) -> list[str]:
    """Answers of a loaded adapter (or any lm-eval LM with `generate_until`)."""
    requests = [_request(model, dialogue, writing) for dialogue, writing in zip(dialogues, writings, strict=True)]
    masked = hasattr(model, "decode_tokens")  # draws of these belong to the request, whatever its batch
    together = [index for index, writing in enumerate(writings) if masked or not writing.temperature]
    answers = (
        dict(zip(together, model.generate_until([requests[i] for i in together], disable_tqdm=True), strict=True))
        if together
        else {}
    )
    for index, writing in enumerate(writings):
        if index not in answers:
            with torch_seed(_draws_of(writing, requests[index].args[0])):
                (answers[index],) = model.generate_until([requests[index]], disable_tqdm=True)
    return [answers[index].strip() for index in range(len(writings))]


def _request(model: Any, dialogue: Dialogue, writing: Writing) -> Any:
    from lm_eval.api.instance import Instance

    context = prompt_of(model, dialogue)
    longest = longest_of(model, writing.max_tokens)
    stops = [*stops_of(model), *writing.stop]
    settings: dict[str, Any] = {"until": stops, "max_gen_toks": longest, "do_sample": writing.temperature > 0}
    settings["temperature"] = writing.temperature  # said even if it is 0: a model may have one of its own
    if writing.temperature:
        settings["top_p"] = writing.top_p
    if hasattr(model, "decode_tokens"):
        settings["seed"] = writing.seed
    if getattr(model, "backend", None) == "seq2seq":  # HFLM would add the prompt's length to the answer's
        settings["max_length"] = longest + 1  # the decoder's first token is none of the answer
    name = hashlib.sha256(context.encode()).hexdigest()[:16]
    return Instance("generate_until", {}, (context, settings), 0, metadata=("judged", name, 1))  # type: ignore[arg-type]


def _does_not_fit(model: Any, dialogue: Dialogue, writing: Writing) -> bool:
    read = len(model.tokenizer(prompt_of(model, dialogue), add_special_tokens=False)["input_ids"])
    return read > prompt_room(model, writing.max_tokens)


def prompt_room(model: Any, asked: int) -> int:
    """Tokens a prompt may have when its answer may have `asked`: they share the model's positions, but in an encoder–decoder."""
    room = room_of(model)
    return room if getattr(model, "backend", None) == "seq2seq" else room - longest_of(model, asked)


def longest_of(model: Any, asked: int) -> int:
    """Tokens an answer may have: at most half of what the model holds, so that a prompt fits."""
    most = int(model.max_length) // 2
    if hasattr(model, "decode_tokens"):  # an answer and its prompt may not share their positions evenly
        most = min(most, model.backbone.layout.target_room(model.max_length), room_of(model) - 1)
    return max(1, min(asked, most))


def room_of(model: Any) -> int:
    """Tokens of a prompt and its answer together, beside the special ones that the model adds."""
    if hasattr(model, "decode_tokens"):
        return int(model.max_length) - model.backbone.layout.overhead
    return int(model.max_length) - model.tokenizer.num_special_tokens_to_add()


def form_of(model: Any) -> str:
    """How dialogues become prompts of this model: `chat_template` of its tokenizer, else its recipe's template."""
    if getattr(model.tokenizer, "chat_template", None):
        return "chat_template"
    record = getattr(model, "record", None)
    return record.template if record is not None else "plain"


def prompt_of(model: Any, dialogue: Dialogue) -> str:
    """The text after which the model's next answer stands."""
    form = form_of(model)
    if form == "chat_template":
        return model.apply_chat_template(dialogue, add_generation_prompt=True)
    if form == "plain":  # xP3's form has no roles: turns follow each other on lines of their own
        return "\n".join(message["content"].strip() for message in dialogue)
    from harness.templates import TEMPLATES

    *past, last = dialogue
    render, text = TEMPLATES[form], ""
    for asked, said in zip(past[::2], past[1::2], strict=True):
        turn = render(asked["content"], said["content"])
        text += turn.prompt + turn.target + "\n"
    return text + render(last["content"], "").prompt


def stops_of(model: Any) -> list[str]:
    """Strings that begin the user's next turn in the model's own form (a chat template ends answers by a token)."""
    return ["<|user|>"] if form_of(model) == "tulu" else []


def _draws_of(writing: Writing, context: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{writing.seed}/{context}".encode()).digest()[:4])


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """torch's global generator (the only one `generate` draws from) seeded for a while, then as it was before."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
