"""Answers as they are written: what of an answer is certain to stay, told piece by piece.

1. A decoder tells the tokens that are final: an autoregressive model after every token, a decoder that never takes a
   token back what stands left of its first hidden place (with `block_length`, that is block by block). Mask-predict,
   reparameterized decoding and a length beam may change every word until the last pass: they tell nothing before.
2. Of their text, the part is certain that no later token can change: without a character that is not whole yet, the
   beginning of a stop text, and white space at the end (an answer has none around it).
The pieces of an answer, joined, are the answer that the same request gets without streaming; anything else is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.judges.answers import Dialogue, Writing, stops_of, write_answers

UNFINISHED = "\ufffd"  # what a tokenizer shows of a character whose bytes are not all there


class StreamingError(RuntimeError):
    """The finished answer is not the one whose beginning was sent."""


def write_in_pieces(model: Any, dialogue: Dialogue, writing: Writing, tell: Callable[[str], None]) -> str:
    """The answer, as `write_answers` gives it; `tell` hears its pieces as soon as they are certain.

    Whatever `tell` raises ends the writing.

    Raises:
        StreamingError: see the class.
    """
    growing = GrowingText(model.tokenizer, _stops(model, writing), tell)
    with _watching(model, growing):
        (text,) = write_answers(model, [dialogue], [writing])
    if not text.startswith(growing.sent):
        raise StreamingError(f"the answer begins with {text[:40]!r}, and {growing.sent[:40]!r} was sent.")
    if len(text) > len(growing.sent):
        tell(text[len(growing.sent) :])
    return text


class GrowingText:
    """Text of a growing list of tokens; `tell` hears what is certain and new. `sent` is all that it has heard."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], tell: Callable[[str], None]):
        self.tokenizer, self.stops, self.tell, self.sent = tokenizer, tuple(stops), tell, ""
        self._tidies = bool(getattr(tokenizer, "clean_up_tokenization_spaces", False))

    def update(self, tokens: Sequence[int]) -> None:
        """All final tokens so far, from the first."""
        text = self.tokenizer.decode(list(tokens), skip_special_tokens=True).rstrip(UNFINISHED)
        if self._tidies:  # such a tokenizer may still draw the last word and the space before it together
            text = text.rpartition(" ")[0]
        piece = certain_part(text, self.stops).strip()[len(self.sent) :]
        if piece:
            self.sent += piece
            self.tell(piece)


def certain_part(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop, and before an end of it that may become one."""
    end = len(text)
    for stop in stops:
        found = text.find(stop)
        if found >= 0:
            end = min(end, found)
        for length in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:length]):
                end = min(end, len(text) - length)
                break
    return text[:end]


def _stops(model: Any, writing: Writing) -> list[str]:
    """Every text at which the model's answer is cut."""
    stops = [*stops_of(model), *writing.stop]
    if hasattr(model, "streamer"):  # lm-eval cuts at the end-of-text token's name, too
        stops.append(model.tok_decode(model.eot_token_id, skip_special_tokens=False))
    return stops


@contextlib.contextmanager
def _watching(model: Any, growing: GrowingText) -> Iterator[None]:
    """`growing` hears the tokens of a masked or an autoregressive adapter; of any other model, nothing."""
    if hasattr(model, "decode_tokens"):
        from harness.decoders.board import watched

        eos = model.backbone.ids.eos
        with watched(lambda tokens: growing.update(tokens[: tokens.index(eos)] if eos in tokens else tokens)):
            yield
    elif hasattr(model, "streamer") and getattr(model, "think_end_token", None) is None:
        model.streamer = _Streamer(growing)
        try:
            yield
        finally:
            model.streamer = None
    else:
        yield


class _Streamer:
    """transformers' streamer: hears the prompt (or the decoder's first token), then every new token."""

    def __init__(self, growing: GrowingText):
        self.growing, self.begun = growing, False
        self.tokens: list[int] = []

    def put(self, value: Any) -> None:
        """Token ids [1] or [1, T]; the first ones are no part of the answer."""
        if self.begun:
            self.tokens += value.flatten().tolist()
            self.growing.update(self.tokens)
        self.begun = True

    def end(self) -> None:
        """Nothing: the whole answer comes from the adapter."""
