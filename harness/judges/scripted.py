"""A scripted judge: a server on the loopback address that speaks the chat-completions protocol and grades by rule.

It is no language model: it compares an answer with a reference of its key by their common words. It shows that every
file, count and retry works, costs nothing, and is labelled as scripted wherever its verdicts are shown. With `faults`
it fails on purpose, as real endpoints do.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCRIPTED = "scripted"
Messages = Sequence[Mapping[str, str]]
_SINGLE = re.compile(r"\[The Start of Assistant's Answer\]\n(.*)\n\[The End of Assistant's Answer\]", re.DOTALL)
_PAIR = re.compile(
    r"\[The Start of Assistant A's Answer\]\n(.*)\n\[The End of Assistant A's Answer\].*"
    r"\[The Start of Assistant B's Answer\]\n(.*)\n\[The End of Assistant B's Answer\]",
    re.DOTALL,
)
_OUTPUTS = re.compile(r'"(?:answer|output)": """(.*?)"""\n', re.DOTALL)


def common_words(answer: str, reference: str) -> float:
    """F1 of the words (characters of Chinese) of two texts, 0 to 1."""
    ours, theirs = (Counter(re.findall(r"[\u4e00-\u9fff]|\w+", text.lower())) for text in (answer, reference))
    common = sum((ours & theirs).values())
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


class WordRule:
    """Grades by common words with the reference of the last question of the prompt that the key knows."""

    def __init__(self, key: Mapping[str, str]):
        self.key = key

    def __call__(self, messages: Messages) -> tuple[str, list[dict[str, float]] | None]:
        """(what the judge writes, alternatives per token or None) for one of the five kinds of prompt."""
        text = messages[-1]["content"]
        known = {text.rfind(question): reference for question, reference in self.key.items() if question in text}
        if not known:
            return "This question is not in my key.", None
        reference = known[max(known)]
        if '"model_identifier"' in text:
            first, second = (common_words(one, reference) for one in _OUTPUTS.findall(text))
            share = 1 / (1 + math.exp(-8 * (first - second)))
            near = {"m": math.log(share), "M": math.log1p(-share)}
            return max(near, key=lambda name: near[name]), [near]
        if "'rank'" in text:
            first, second = (common_words(one, reference) for one in _OUTPUTS.findall(text))
            ranks = [("model_1", 1 + (second > first)), ("model_2", 2 - (second > first))]
            return str([{"model": name, "rank": rank} for name, rank in ranks]), None
        if pair := _PAIR.search(text):
            first, second = (round(common_words(one, reference), 2) for one in pair.groups())
            return f"By common words: [[{'A' if first > second else 'B' if second > first else 'C'}]]", None
        single = _SINGLE.search(text)
        share = common_words(single.group(1) if single else "", reference)
        return f"Common words with the reference: {share:.2f}.\nRating: [[{1 + round(9 * share)}]]", None


class ScriptedJudge:
    """The server, as a context manager; `url` is its base URL.

    Args:
        rule: messages → (text, alternatives per token or None).
        faults: number of a call (from 0) → None, an HTTP status, "timeout" (no answer for `stall` seconds) or a text to
            answer instead.
        models: names it answers to.

    `calls` counts requests, failed ones too; `seen` keeps the bodies of those that were answered.
    """

    def __init__(
        self,
        rule: Callable[[Messages], tuple[str, list[dict[str, float]] | None]],
        faults: Callable[[int], int | str | None] = lambda number: None,
        models: Sequence[str] = (SCRIPTED,),
        port: int = 0,
        stall: float = 2.0,
        pause: float = 0.0,
    ):
        self.rule, self.faults, self.models, self.stall, self.pause = rule, faults, tuple(models), stall, pause
        self.calls, self.seen, self._lock = 0, [], threading.Lock()
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedJudge:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """(HTTP status, JSON) for the body of a chat completion."""
        with self._lock:
            fault = self.faults(self.calls)
            self.calls += 1
        if fault == "timeout":
            time.sleep(self.stall)
            fault = 503
        if isinstance(fault, int):
            return fault, {"error": {"message": f"failing on purpose with {fault}", "type": "fault", "code": None}}
        if body.get("model") not in self.models:
            text = f"The model '{body.get('model')}' does not exist"
            return 404, {"error": {"message": text, "type": "invalid_request_error", "code": "model_not_found"}}
        time.sleep(self.pause)
        text, near = self.rule(body["messages"]) if fault is None else (str(fault), None)
        with self._lock:
            self.seen.append(body)
        return 200, _completion(body, text, near)


def _completion(body: dict[str, Any], text: str, near: list[dict[str, float]] | None) -> dict[str, Any]:
    words = sum(len(message["content"].split()) for message in body["messages"])
    logprobs = None
    if near is not None and body.get("logprobs"):
        rows = [[{"token": t, "logprob": p, "bytes": None} for t, p in one.items()] for one in near]
        logprobs = {"content": [{**row[0], "top_logprobs": row} for row in rows], "refusal": None}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    usage = {"prompt_tokens": words, "completion_tokens": len(text.split()), "total_tokens": words + len(text.split())}
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes a burst of connections wait for a second, or longer

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a caller that goes away is no error of ours
            super().handle_error(request, client_address)


def _handler_of(judge: ScriptedJudge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in judge.models]
            self._send(200, {"object": "list", "data": models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.endswith("/chat/completions"):
                self._send(404, {"error": {"message": f"no such path: {self.path}"}})
                return
            self._send(*judge.answer(body))

        def _send(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):  # the caller gave up waiting: its right
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  quiet: counts are what matters
            pass

    return Handler
