"""`python -m harness serve`: an adapter behind an OpenAI-compatible chat-completions endpoint.

Every paradigm answers the same protocol. A stream sends what is certain to stay (harness/streaming.py): an autoregressive
model's text token by token, a block-wise decoder's block by block; a masked or diffusion LM that may change its first
word in its last pass sends its answer as a whole. Answers are greedy unless a temperature is asked for; a seed fixes
the draws, whatever else is being answered. One answer is computed at a time; a few requests may wait, more are turned
away (429). Whatever goes wrong is an error in OpenAI's form.

It listens on this machine only; elsewhere it needs a token (ANYORDER_TOKEN), and has no encryption of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from typing import Any

from harness.chat import FAILED, ChatRequest, RequestError, error_body
from harness.chat_server import ChatServer
from harness.config import ConfigError
from harness.judges.endpoint import LOOPBACK

TOKEN_VARIABLE = "ANYORDER_TOKEN"
CROWD = 8  # connections per place: those beyond it are turned away before they are read
BODY_SECONDS = 30.0


def app_of(server: ChatServer, token: str | None = None, largest: int = 1 << 20) -> Any:
    """The ASGI application. token: what `Authorization: Bearer` must hold; largest: bytes of a request's body.

    Raises:
        RuntimeError: the extra `serve` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
        from starlette.exceptions import HTTPException
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response, StreamingResponse
        from starlette.routing import Route
    except ImportError as error:
        raise RuntimeError(f"serving needs the extra 'serve' ({error}): pip install 'anyorder[serve]'.") from error

    def admit(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestError("a token is needed: Authorization: Bearer …", 401, "invalid_api_key")

    async def body_of(request: Request) -> ChatRequest:
        raw = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    raw += part
                    if len(raw) > largest:
                        raise RequestError(f"the request has more than {largest} bytes.", 413)
        except TimeoutError as error:
            raise RequestError(f"the request was not sent within {BODY_SECONDS:.0f} seconds.", 408) from error
        try:
            return ChatRequest.model_validate_json(bytes(raw))
        except ValueError as error:
            raise RequestError(f"not a chat request: {_first_problem(error)}") from error

    async def chat(request: Request) -> Response:
        admit(request)
        asked = await body_of(request)
        if not asked.stream:
            return JSONResponse(await run_in_threadpool(server.complete, asked))
        events = await run_in_threadpool(server.stream, asked)

        async def sent():
            try:
                async for event in iterate_in_threadpool(events):
                    yield event
            finally:
                events.close()  # type: ignore[attr-defined]

        return StreamingResponse(sent(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def models(request: Request) -> Response:
        admit(request)
        one = {"id": server.name, "object": "model", "created": 0, "owned_by": "anyorder"}
        return JSONResponse({"object": "list", "data": [one]})

    def refusal(request: Request, error: Any) -> Response:
        headers = {"Retry-After": "1"} if error.status == 429 else {}
        return JSONResponse(error_body(error), error.status, headers)

    def no_such_path(request: Request, error: Any) -> Response:
        said = f"{request.method} {request.url.path} is not served: POST /v1/chat/completions, GET /v1/models."
        return JSONResponse(error_body(RequestError(said, error.status_code)), error.status_code, error.headers)

    def failure(request: Request, error: Exception) -> Response:  # the server logs the traceback
        return JSONResponse(error_body(FAILED), 500)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models, methods=["GET"]),
        ],
        exception_handlers={RequestError: refusal, HTTPException: no_such_path, Exception: failure},
    )


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
    uvicorn.run(app, host=host, port=port, log_level="warning", limit_concurrency=CROWD * (waiting + 1))
