"""What goes to a judge and comes back: one request, one reply, and where and how to ask."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
DEFAULT_URL = "https://api.openai.com/v1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class JudgeError(RuntimeError):
    """The judge cannot be asked. One sentence: what was expected, what came, what to do."""


@dataclass(frozen=True)
class Ask:
    """One request: (role, text) messages and sampling settings; `logprobs` = alternatives per token, 0 for none.

    `attempt` is not sent: it tells apart requests that are made several times on purpose (a re-ask, a repeated sample).
    """

    messages: tuple[tuple[str, str], ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    logprobs: int = 0
    attempt: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of all texts in UTF-8."""
        return sum(len(role.encode()) + len(text.encode()) for role, text in self.messages)


@dataclass(frozen=True)
class Reply:
    """What the judge wrote; `refused` holds the endpoint's reason instead (a request that it will never answer).

    `created`: seconds since 1970 when it was received; `top_logprobs`: per token, the alternatives {token: log p in nats}.
    """

    text: str
    model: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    created: float
    top_logprobs: list[dict[str, float]] | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask: `name` stands for the address in the store's keys (a server may move to another port).

    timeout: seconds per call; tries: calls per question before the run stops; token_field: the request's word for the
    longest answer (`max_tokens`, or `max_completion_tokens` for models that insist on it).
    """

    base_url: str
    name: str
    key: str = field(repr=False)
    concurrency: int = 8
    timeout: float = 120.0
    tries: int = 6
    first_wait: float = 0.5
    token_field: str = "max_tokens"


def endpoint_of(base_url: str | None = None, *, offline: bool = False, name: str | None = None, **settings) -> Endpoint:
    """The endpoint of a URL (default: OPENAI_BASE_URL, else OpenAI's), with the key of OPENAI_API_KEY.

    Raises:
        JudgeError: not a URL, a password in the URL, or no key for an endpoint that is not on this machine.
    """
    url = (base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JudgeError(f"the judge's URL is '{url}': expected something like http://127.0.0.1:8000/v1.")
    if parts.username or parts.password:
        raise JudgeError(f"the judge's URL holds a user name or password: put the key into {KEY_VARIABLE} instead.")
    key = os.environ.get(KEY_VARIABLE, "")
    if not key and not offline and parts.hostname not in LOOPBACK:
        raise JudgeError(
            f"no key for {url}: set {KEY_VARIABLE} in the environment, or name another endpoint with --base-url."
        )
    return Endpoint(url, name or url, key or "none", **settings)
