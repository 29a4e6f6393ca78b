"""Chat completions of one adapter: one answer at a time, whole or as a stream of server-sent events."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.chat import FAILED, ChatRequest, RequestError, dialogue_of, error_body
from harness.judges.answers import Dialogue, Writing, form_of, longest_of, prompt_of, prompt_room, write_answers
from harness.streaming import write_in_pieces

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admitted:
    """A request whose turn has come: it fits the model, and nobody else computes until `ChatServer.leave`."""

    dialogue: Dialogue
    writing: Writing
    prompt_tokens: int
    longest: int
    head: dict[str, Any]


class Gone(Exception):
    """The caller of a stream went away: its answer need not be finished."""


class ChatServer:
    """Answers of one adapter; `waiting` = requests that may wait for the one being computed."""

    def __init__(self, model: Any, name: str, waiting: int = 8):
        self.model, self.name = model, name
        self._turn, self._places = threading.Lock(), threading.BoundedSemaphore(waiting + 1)

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        """The answer as a chat completion.

        Raises:
            RequestError: unknown model, a dialogue that does not fit, something not supported, or too many requests.
        """
        asked = self._admit(request)
        try:
            (text,) = write_answers(self.model, [asked.dialogue], [asked.writing])
            reason, usage = self._end_of(text, asked)
        finally:
            self._leave()
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": reason,
        }
        return {**asked.head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """The same answer as server-sent events, each sent as soon as its text is certain; closing it ends the writing.

        Raises:
            RequestError: as `complete`, before the first event.
        """
        asked, events = self._admit(request), queue.SimpleQueue()
        gone = threading.Event()
        with_usage = bool((request.stream_options or {}).get("include_usage"))
        writer = threading.Thread(target=self._write, args=(asked, with_usage, events.put, gone), daemon=True)
        writer.start()
        return _events_of(events, gone)

    def _write(
        self, asked: Admitted, with_usage: bool, send: Callable[[str | None], None], gone: threading.Event
    ) -> None:
        """Compute an answer and send its events, None last; in a thread of its own."""

        def chunk(delta: dict[str, str], reason: str | None = None) -> None:
            if gone.is_set():
                raise Gone
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            send(_event(asked.head | {"object": "chat.completion.chunk", "choices": [choice]}))

        try:
            chunk({"role": "assistant", "content": ""})
            text = write_in_pieces(self.model, asked.dialogue, asked.writing, lambda piece: chunk({"content": piece}))
            reason, usage = self._end_of(text, asked)
            chunk({}, reason)
            if with_usage:
                send(_event(asked.head | {"object": "chat.completion.chunk", "choices": [], "usage": usage}))
            send("data: [DONE]\n\n")
        except Gone:
            pass
        except Exception:  # the headers are sent: an error can only be an event
            logger.exception("an answer failed")
            send(_event(error_body(FAILED)))
        finally:
            self._leave()
            send(None)

    def _admit(self, request: ChatRequest) -> Admitted:
        """Check a request and wait for its turn; who is admitted has to `_leave`."""
        if request.model != self.name:
            raise RequestError(
                f"The model '{request.model}' does not exist; this server has '{self.name}'.", 404, "model_not_found"
            )
        request.refuse_unknown()
        dialogue, writing = dialogue_of(request.messages, form_of(self.model)), request.writing
        if not self._places.acquire(blocking=False):
            raise RequestError("too many requests are waiting; try again in a moment.", 429, "rate_limit_exceeded")
        self._turn.acquire()
        try:
            read, longest = self._count(prompt_of(self.model, dialogue)), longest_of(self.model, writing.max_tokens)
            room = prompt_room(self.model, writing.max_tokens)
            if not read:
                raise RequestError("messages: expected some text to answer, got none.")
            if read > room:
                raise RequestError(
                    f"the dialogue has {read} tokens; beside an answer of up to {longest} the model holds {room}. Shorten "
                    "the dialogue or lower max_tokens.",
                    code="context_length_exceeded",
                )
        except BaseException:
            self._leave()
            raise
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.name}
        return Admitted(dialogue, writing, read, longest, head)

    def _leave(self) -> None:
        self._turn.release()
        self._places.release()

    def _end_of(self, text: str, asked: Admitted) -> tuple[str, dict[str, int]]:
        """Why an answer ended, and its tokens."""
        written = self._count(text)
        usage = {
            "prompt_tokens": asked.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": asked.prompt_tokens + written,
        }
        return "length" if written >= asked.longest else "stop", usage

    def _count(self, text: str) -> int:
        return len(self.model.tokenizer(text, add_special_tokens=False)["input_ids"])


def _events_of(events: queue.SimpleQueue[str | None], gone: threading.Event) -> Iterator[str]:
    try:
        while (event := events.get()) is not None:
            yield event
    finally:
        gone.set()


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
