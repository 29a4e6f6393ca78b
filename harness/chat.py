"""A chat-completions request in OpenAI's form: what is read of it, what is refused, and the dialogue that it holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.judges.answers import Writing

DEFAULT_TOKENS = 256
NOT_HERE = ("tools", "tool_choice", "functions", "response_format", "logprobs", "logit_bias", "audio")


class RequestError(ValueError):
    """A request that cannot be answered as it is; `code` is OpenAI's word for the reason."""

    def __init__(self, message: str, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


FAILED = RequestError("the model failed on this request; the server's log says why.", 500, "server_error")


def error_body(error: RequestError) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kinds = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}
    kind = kinds.get(error.status, "invalid_request_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}


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
