"""Requests of lm-eval as token ids: a pair of context and continuation is encoded by us, never by lm-eval.

lm-eval's own pair encoding slices the joint encoding by the context's length. With a tokenizer that appends `</s>`
(XLM-R, BERT) that loses the first target token and scores `</s>` in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.adapters.base import Tally
from harness.backbones import MaskedBackbone
from harness.rows import ScoringError
from harness.scorers import Item


class RequestEncoder:
    """Items and prompts of requests, for one backbone and its tokenizer.

    Args:
        tally: where contexts that are cut from the left are counted.
    """

    def __init__(self, backbone: MaskedBackbone, tokenizer: Any, tally: Tally):
        self.ids_of, self.layout, self.max_length = backbone.ids, backbone.layout, backbone.max_length
        self.tokenizer, self.tally = tokenizer, tally

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prompt(self, text: str, room: int) -> list[int]:
        """Token ids of a text, cut from the left to `room` tokens (and counted)."""
        return self._cut(self.ids(text), room)

    def pairs(self, requests: Sequence[Instance], words: bool = False) -> list[Item]:
        """One item per (context, continuation); spaces that end a context begin its continuation.

        Args:
            words: whether items say which word each target token belongs to.

        Raises:
            ScoringError: an empty continuation, one longer than the model, the mask token in a text.
        """
        pairs = []
        for request in requests:
            context, continuation = arguments_of(request)
            stripped = context.rstrip(" ")
            pairs.append((stripped, context[len(stripped) :] + continuation))
        # one call for all texts, each once: a call per text costs more than the rest of the encoding
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        found = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids = dict(zip(texts, found, strict=True))
        return [
            self._item(request, ids[context], continuation, ids[continuation], words)
            for request, (context, continuation) in zip(requests, pairs, strict=True)
        ]

    def windows(self, request: Instance, words: bool = False) -> list[Item]:
        """A whole text as items that fit the model: every token is a target once, behind what stands before it.

        Raises:
            ScoringError: an empty text, or the mask token in it.
        """
        (text,) = arguments_of(request)
        tokens, room = self.ids(text), self.layout.target_room(self.max_length)
        if not tokens:
            raise ScoringError(f"{where(request)}: the text to score is empty.")
        self._refuse_masks(request, tokens)
        word_T, at, items = self._words(text) if words else (), 0, []
        windows = get_rolling_token_windows(tokens, self.ids_of.bos, room, 1)
        for number, window in enumerate(windows):
            context, target = make_disjoint_window(window)
            prompt = tuple(token for token in context if token != self.ids_of.bos)
            prompt = prompt[max(0, len(prompt) + len(target) - room) :]
            question = f"{request.task_name}/{request.doc_id}/{request.idx}/{number}"
            items.append(Item(prompt, tuple(target), question, word_T[at : at + len(target)]))
            at += len(target)
        return items

    def _item(self, request: Instance, prompt: list[int], continuation: str, target: list[int], words: bool) -> Item:
        if not continuation.strip() or not target:
            raise ScoringError(f"{where(request)}: the continuation to score is empty; give every choice a text.")
        longest = self.layout.target_room(self.max_length)
        if len(target) > longest:
            raise ScoringError(
                f"{where(request)}: the continuation has {len(target)} tokens and the model holds {longest}; "
                "shorten it or take a longer model."
            )
        room = self.max_length - self.layout.overhead - len(target)
        self._refuse_masks(request, prompt + target)
        question = "" if request.task_name is None else f"{request.task_name}/{request.doc_id}"
        word_L = self._words(continuation) if words else ()
        return Item(tuple(self._cut(prompt, room)), tuple(target), question, word_L)

    def _refuse_masks(self, request: Instance, tokens: Sequence[int]) -> None:
        if self.ids_of.mask in tokens:
            raise ScoringError(f"{where(request)}: the text contains the mask token itself, so it cannot be scored.")

    def _words(self, text: str) -> tuple[int, ...]:
        """Word number of each token of a text (−1: of none); nothing from a tokenizer that cannot say."""
        if not self.tokenizer.is_fast:
            return ()
        words = self.tokenizer(text, add_special_tokens=False).word_ids()
        return tuple(-1 if word is None else word for word in words)

    def _cut(self, prompt: list[int], room: int) -> list[int]:
        if len(prompt) <= room:
            return prompt
        self.tally.truncated += 1
        return prompt[len(prompt) - room :]


def arguments_of(request: Instance) -> Any:
    """The request's arguments: (context, continuation), (text,) or (context, generation settings)."""
    return request.args


def where(request: Instance) -> str:
    """A request by task, document and choice, for messages."""
    return f"task {request.task_name}, document {request.doc_id}, choice {request.idx}"
