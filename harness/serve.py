"""`python -m harness serve`: an adapter behind an OpenAI-compatible chat-completions endpoint.

Every paradigm answers the same protocol. A masked or diffusion LM has no first word before its last one: a stream begins
when the answer is finished, for all models alike. Answers are greedy unless a temperature is asked for; a seed fixes the draws, whatever
else is being answered. One answer is computed at a time; a few requests may wait, more are turned away (429).

It listens on this machine only; elsewhere it needs a token (ANYORDER_TOKEN), and has no encryption of its own.
"""

from __future__ import annotations

import hmac
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.judges.answers import Writing, form_of, longest_of, prompt_of, write_answers
from harness.judges.endpoint import LOOPBACK
from harness.suites import ConfigError

TOKEN_VARIABLE = "ANYORDER_TOKEN"
DEFAULT_TOKENS = 256
NOT_HERE = ("tools", "tool_choice", "functions", "response_format", "logprobs", "logit_bias", "audio")


class RequestError(ValueError):
    """A request that cannot be answered as it is; `code` is OpenAI's word for the reason."""

    def __init__(self, message: str, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


class Part(BaseModel):
    """A part of a message; only texts are read."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a dialogue."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def text(self) -> str:
        """The message's text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(BaseModel):
    """Body of POST /v1/chat/completions. Fields that would change the answer and are not known here are refused."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int = 1

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: str | list[str] | None) -> list[str]:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 4 or "" in stops:
            raise ValueError("at most four stop texts, none of them empty")
        return stops

    def refuse_unknown(self) -> None:
        """RequestError for what this server does not do."""
        asked = [name for name in NOT_HERE if (self.model_extra or {}).get(name) not in (None, False, [], {}, "none")]
        if asked:
            raise RequestError(f"'{asked[0]}' is not supported by this server: leave it out.")
        if self.n != 1:
            raise RequestError(f"n={self.n}: this server writes one answer a request.")

    @property
    def writing(self) -> Writing:
        """How the answer is to be written."""
        longest = self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS
        return Writing(longest, self.temperature or 0.0, self.seed or 0, self.top_p or 1.0, tuple(self.stop or ()))


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
        if request.model != self.name:
            raise RequestError(
                f"The model '{request.model}' does not exist; this server has '{self.name}'.", 404, "model_not_found"
            )
        request.refuse_unknown()
        dialogue, writing = dialogue_of(request.messages, form_of(self.model)), request.writing
        if not self._places.acquire(blocking=False):
            raise RequestError("too many requests are waiting; try again in a moment.", 429, "rate_limit_exceeded")
        try:
            with self._turn:
                return self._written(dialogue, writing)
        finally:
            self._places.release()

    def _written(self, dialogue: list[dict[str, str]], writing: Writing) -> dict[str, Any]:
        read = self._count(prompt_of(self.model, dialogue))
        room, longest = int(self.model.max_length), longest_of(self.model, writing.max_tokens)
        if read + longest > room:
            raise RequestError(
                f"the dialogue has {read} tokens and the answer may have {longest}: the model holds {room}. Shorten the "
                "dialogue or lower max_tokens.",
                code="context_length_exceeded",
            )
        (text,) = write_answers(self.model, [dialogue], [writing])
        written = self._count(text)
        choice = {
            "index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None,
            "finish_reason": "length" if written >= longest else "stop",
        }  # fmt: skip
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()), "model": self.name,
            "choices": [choice], "usage": usage,
        }  # fmt: skip

    def _count(self, text: str) -> int:
        return len(self.model.tokenizer(text, add_special_tokens=False)["input_ids"])


def dialogue_of(messages: list[Message], form: str) -> list[dict[str, str]]:
    """The dialogue in a model's form; without a chat template, system texts stand before the first question.

    Raises:
        RequestError: questions and answers do not take turns, or the last message is no question.
    """
    system = [message.text for message in messages if message.role in ("system", "developer")]
    turns = [message for message in messages if message.role in ("user", "assistant")]
    roles = [message.role for message in turns]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))] or len(roles) % 2 == 0:
        raise RequestError("messages: expected user and assistant to take turns, from user to user.")
    dialogue = [{"role": message.role, "content": message.text} for message in turns]
    if system and form == "chat_template":
        return [{"role": "system", "content": "\n".join(system)}, *dialogue]
    if system:
        dialogue[0]["content"] = "\n".join([*system, dialogue[0]["content"]])
    return dialogue


def chunks_of(completion: dict[str, Any], with_usage: bool) -> Iterator[str]:
    """A completion as server-sent events: the role, the text word by word, the reason for its end, [DONE]."""
    head = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = completion["choices"][0]

    def event(delta: dict[str, str], reason: str | None = None) -> str:
        return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]})

    yield event({"role": "assistant", "content": ""})
    for piece in _words(choice["message"]["content"]):
        yield event({"content": piece})
    yield event({}, choice["finish_reason"])
    if with_usage:
        yield _event(head | {"choices": [], "usage": completion["usage"]})
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _words(text: str) -> Iterator[str]:
    start = 0
    for at, (one, two) in enumerate(zip(text, text[1:], strict=False), start=1):
        if not one.isspace() and two.isspace():
            yield text[start:at]
            start = at
    if text[start:]:
        yield text[start:]


def app_of(server: ChatServer, token: str | None = None, largest: int = 1 << 20) -> Any:
    """The ASGI application. token: what `Authorization: Bearer` must hold; largest: bytes of a request's body.

    Raises:
        RuntimeError: the extra `serve` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response, StreamingResponse
        from starlette.routing import Route
    except ImportError as error:
        raise RuntimeError(f"serving needs the extra 'serve' ({error}): pip install 'anyorder[serve]'.") from error

    def refusal(error: RequestError) -> Response:
        kind = "authentication_error" if error.status == 401 else "invalid_request_error"
        headers = {"Retry-After": "1"} if error.status == 429 else {}
        body = {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}
        return JSONResponse(body, error.status, headers)

    def admit(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestError("a token is needed: Authorization: Bearer …", 401, "invalid_api_key")

    async def body_of(request: Request) -> ChatRequest:
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > largest:
                raise RequestError(f"the request has more than {largest} bytes.", 413)
        try:
            return ChatRequest.model_validate_json(raw)
        except ValueError as error:
            raise RequestError(f"not a chat request: {_first_problem(error)}") from error

    async def chat(request: Request) -> Response:
        try:
            admit(request)
            asked = await body_of(request)
            completion = await run_in_threadpool(server.complete, asked)
        except RequestError as error:
            return refusal(error)
        if not asked.stream:
            return JSONResponse(completion)
        usage = bool((asked.stream_options or {}).get("include_usage"))
        return StreamingResponse(chunks_of(completion, usage), media_type="text/event-stream")

    async def models(request: Request) -> Response:
        try:
            admit(request)
        except RequestError as error:
            return refusal(error)
        one = {"id": server.name, "object": "model", "created": 0, "owned_by": "anyorder"}
        return JSONResponse({"object": "list", "data": [one]})

    return Starlette(routes=[
        Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", models, methods=["GET"]),
    ])  # fmt: skip


def _first_problem(error: ValueError) -> str:
    problems = getattr(error, "errors", lambda **_: [])()
    if not problems:
        return str(error)
    where = ".".join(str(part) for part in problems[0]["loc"]) or "body"
    return f"{where}: {problems[0]['msg']}"


def token_for(host: str) -> str | None:
    """The token of ANYORDER_TOKEN, which an address beyond this machine needs.

    Raises:
        ConfigError: there is none, or it is too short to be one.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if host not in LOOPBACK and (token is None or len(token) < 16):
        raise ConfigError(
            f"--host {host} is open to others: set {TOKEN_VARIABLE} to a token of at least 16 characters."
        )
    return token


def serve(
    model: str,
    model_args: dict[str, Any],
    *,
    host: str,
    port: int,
    name: str | None,
    device: str | None,
    waiting: int,
    largest: int,
) -> None:
    """Load an adapter and serve it until Ctrl-C."""
    from harness.evaluate import load_model, require_model

    token = token_for(host)
    require_model(model)
    loaded = load_model(model, model_args, batch_size=1, device=device)
    app = app_of(ChatServer(loaded, name or model, waiting), token, largest)
    import uvicorn

    print(f"serving {loaded.pretrained} as '{name or model}' at http://{host}:{port}/v1 (Ctrl-C ends)", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", limit_concurrency=4 * (waiting + 1))
