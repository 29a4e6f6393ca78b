"""The chat endpoint: every paradigm behind OpenAI's own client; stops, limits, seeds, tokens, refusals."""

import json
import threading
from typing import Any

import pytest

from harness.chat import ChatRequest, RequestError, dialogue_of
from harness.chat_server import ChatServer
from harness.config import ConfigError
from harness.judges.answers import Writing, write_answers
from harness.serve import app_of, token_for

ADAPTERS = {"decoder_it": "ar", "mt0": "encdec", "instruct_xmlr": "nar_xlmr", "diffusionllm": "diffusion_xlmr"}


@pytest.fixture(scope="module")
def models(checkpoints):
    from harness.evaluate import load_model

    return {
        name: load_model(adapter, {"pretrained": str(checkpoints[name])}, batch_size=1, device="cpu")
        for name, adapter in ADAPTERS.items()
    }


@pytest.fixture
def running():
    """Starts applications with uvicorn on a free port; url of each."""
    import uvicorn

    servers = []

    def start(app):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.01)
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(60)


def asked(**more):
    return ChatRequest(
        **{"model": "m", "messages": [{"role": "user", "content": "say red blue"}], "max_tokens": 6, **more}
    )


def text_of(completion):
    return completion["choices"][0]["message"]["content"]


class Parrot:
    """An adapter that repeats its prompt, up to a stop text; `gate` holds it back."""

    max_length = 200
    gate: threading.Event | None = None

    class tokenizer:
        chat_template = None

        def __new__(cls, text, add_special_tokens=True):
            return {"input_ids": text.split()}

        @staticmethod
        def num_special_tokens_to_add():
            return 0

    def generate_until(self, requests, disable_tqdm=False):
        if self.gate is not None:
            self.gate.wait(100)
        (request,) = requests
        text, settings = request.args
        for stop in settings["until"]:
            text = text.split(stop)[0]
        return [" ".join(text.split()[: settings["max_gen_toks"]])]


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_paradigm_answers_the_openai_client(models, running, name):
    import openai

    server = ChatServer(models[name], "m")
    client: Any = openai.OpenAI(base_url=running(app_of(server)), api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["m"]
    messages = [{"role": "user", "content": "say red blue"}]
    plain = client.chat.completions.create(model="m", messages=messages, max_tokens=6)
    (direct,) = write_answers(models[name], [messages], [Writing(6)])
    assert plain.choices[0].message.content == direct
    assert plain.usage.prompt_tokens > 0 and plain.usage.completion_tokens <= 6
    pieces = list(client.chat.completions.create(model="m", messages=messages, max_tokens=6, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == direct
    assert pieces[-1].choices[0].finish_reason == plain.choices[0].finish_reason


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("content", ["?", "<mask> </s> <s> <pad>", "a\x00b", "🌞" * 10])
def test_any_text_is_answered_also_without_a_limit(models, name, content):
    """The longest answer is what the model can write, whatever is asked for (mask-based layouts hold less than half)."""
    server = ChatServer(models[name], "m")
    messages = [{"role": "user", "content": content}]
    for longest in (None, 10**9):
        completion = server.complete(asked(messages=messages, max_tokens=longest))
        assert not any(token in text_of(completion) for token in ("<mask>", "<pad>", "<s>"))


@pytest.mark.parametrize("name", ["decoder_it", "diffusionllm"])
def test_a_seed_fixes_the_draws(models, name):
    server = ChatServer(models[name], "m")
    drawn = [text_of(server.complete(asked(temperature=1.5, seed=seed))) for seed in (0, 1, 2, 3, 0)]
    assert drawn[0] == drawn[4] and len(set(drawn)) > 1


def test_stop_texts_and_the_longest_answer():
    server = ChatServer(Parrot(), "m")
    assert text_of(server.complete(asked(stop="blue"))) == "say red"
    assert text_of(server.complete(asked(stop=["x", "red"]))) == "say"
    short = server.complete(asked(max_tokens=2))
    assert text_of(short) == "say red" and short["choices"][0]["finish_reason"] == "length"
    assert server.complete(asked())["choices"][0]["finish_reason"] == "stop"
    assert text_of(server.complete(asked(max_tokens=None, max_completion_tokens=1))) == "say"


def test_a_stream_is_the_answer():
    server = ChatServer(Parrot(), "m")
    request = asked(
        messages=[{"role": "user", "content": "one  two\nthree"}], stream=True, stream_options={"include_usage": True}
    )
    events = [line for line in "".join(server.stream(request)).split("\n\n") if line]
    assert events[-1] == "data: [DONE]" and all(event.startswith("data: ") for event in events)
    parsed = [json.loads(event[6:]) for event in events[:-1]]
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in parsed if one["choices"])
    completion = server.complete(request)
    assert text == text_of(completion) and parsed[-1]["usage"] == completion["usage"]
    assert [one["choices"][0]["finish_reason"] for one in parsed[:-1]] == [None, None, "stop"]


def test_a_long_dialogue_is_refused_unless_prompt_and_answer_have_positions_of_their_own():
    model: Any = Parrot()
    request = asked(messages=[{"role": "user", "content": "word " * 180}], max_tokens=50)
    with pytest.raises(RequestError, match="has 180 tokens; beside an answer of up to 50 the model holds 150"):
        ChatServer(model, "m").complete(request)
    model.backend = "seq2seq"
    assert text_of(ChatServer(model, "m").complete(request)).startswith("word word")


def test_dialogues():
    def messages(*roles):
        return asked(messages=[{"role": role, "content": role} for role in roles]).messages

    assert [m["content"] for m in dialogue_of(messages("system", "user"), "plain")] == ["system\nuser"]
    assert [m["role"] for m in dialogue_of(messages("system", "user"), "chat_template")] == ["system", "user"]
    parts = asked(
        messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    )
    assert dialogue_of(parts.messages, "plain")[0]["content"] == "ab"
    for wrong in (("assistant",), ("user", "user"), ("user", "assistant"), ("system",)):
        with pytest.raises(RequestError, match="take turns"):
            dialogue_of(messages(*wrong), "plain")


@pytest.mark.parametrize(
    "change, message, status",
    [
        ({"model": "other"}, "does not exist; this server has 'm'", 404),
        ({"messages": [{"role": "user", "content": " "}]}, "expected some text to answer", 400),
        ({"n": 2}, "n=2: this server writes one answer", 400),
        ({"tools": [{}]}, "'tools' is not supported", 400),
        ({"logprobs": True}, "'logprobs' is not supported", 400),
        (
            {"messages": [{"role": "user", "content": "word " * 300}]},
            "has 300 tokens; beside an answer of up to .* holds",
            400,
        ),
    ],
)
def test_what_cannot_be_done_is_refused(change, message, status):
    with pytest.raises(RequestError, match=message) as caught:
        ChatServer(Parrot(), "m").complete(asked(**change))
    assert caught.value.status == status


def test_requests_beyond_the_limits(running):
    import httpx

    model = Parrot()
    model.gate = gate = threading.Event()
    url = (
        running(app_of(ChatServer(model, "m", waiting=1), token="a-long-secret-token", largest=2000))
        + "/chat/completions"
    )
    head = {"Authorization": "Bearer a-long-secret-token"}
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    assert httpx.post(url, json=body).status_code == 401
    assert httpx.post(url, json=body, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx.get(url.replace("chat/completions", "models")).status_code == 401
    assert httpx.post(url, content=b"x" * 3000, headers=head).status_code == 413
    found = httpx.post(url, content=b"{", headers=head)
    assert found.status_code == 400 and "not a chat request" in found.json()["error"]["message"]
    found = httpx.post(url, json={**body, "temperature": 3}, headers=head)
    assert found.status_code == 400 and found.json()["error"]["message"].startswith("not a chat request: temperature")
    statuses = []
    waiting = [
        threading.Thread(target=lambda: statuses.append(httpx.post(url, json=body, headers=head, timeout=900)))
        for _ in range(4)
    ]
    for thread in waiting:
        thread.start()
    while len(statuses) < 2:  # two of four are turned away while one is answered and one waits
        threading.Event().wait(0.01)
    gate.set()
    for thread in waiting:
        thread.join(900)
    assert sorted(answer.status_code for answer in statuses) == [200, 200, 429, 429]
    assert {answer.headers.get("retry-after") for answer in statuses if answer.status_code == 429} == {"1"}


BAD_BODIES = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "no UTF-8": b'{"model": "\xff"}',
    "half a surrogate": b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "nested without end": b"[" * 20000,
    "no messages": {"messages": []},
    "another role": {"messages": [{"role": "tool", "content": "x"}]},
    "no content": {"messages": [{"role": "user", "content": None}]},
    "a number for text": {"messages": [{"role": "user", "content": 5}]},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
    "words for a number": {"max_tokens": "many"},
    "no tokens": {"max_tokens": 0},
    "a fraction of a token": {"max_tokens": 1.5},
    "hot": {"temperature": 2.1},
    "NaN": b'{"model": "m", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
    "no probability": {"top_p": 0},
    "an endless stop list": {"stop": ["x"] * 5},
    "an empty stop": {"stop": ""},
    "a number for a model": {"model": 5},
    "two answers": {"n": 2},
    "a negative seed is fine, a text is not": {"seed": "abc"},
}  # fmt: skip


def test_bad_requests_get_errors_in_openais_form(running):
    """Every answer is JSON with a message, a type and a code, whatever was sent; afterwards the server still answers."""
    import httpx

    root = running(app_of(ChatServer(Parrot(), "m"), largest=100_000)).removesuffix("/v1")
    url, good = f"{root}/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

    def check(found, status):
        assert found.status_code == status, found.text
        error = found.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"] and "Traceback" not in found.text

    with httpx.Client(timeout=900) as caller:
        for what, body in BAD_BODIES.items():
            content = body if isinstance(body, bytes) else json.dumps({**good, **body}).encode()
            for stream in (b"", b"stream"):  # a refused stream is an ordinary error, too
                if stream and not isinstance(body, bytes):
                    content = json.dumps({**good, **body, "stream": True}).encode()
                found = caller.post(url, content=content)
                assert found.status_code == 400, what
                check(found, 400)
        check(caller.post(url, content=b"x" * 200_000), 413)
        check(caller.post(url, json={**good, "model": "../../etc/passwd"}), 404)
        for path in ("/v1/models/../../../etc/passwd", "/..%2f..%2fetc/passwd", "/", "/v1/completions", "/v1/files"):
            check(caller.get(root + path), 404)
        check(caller.get(url), 405)
        check(caller.request("DELETE", f"{root}/v1/models"), 405)
        for fine in ({"max_tokens": 10**30}, {"seed": -(10**30)}, {"temperature": 0}, {"user": "me"}, {"stop": None}):
            assert caller.post(url, json={**good, **fine}).status_code == 200, fine


def test_a_model_that_fails_is_a_server_error(running):
    import httpx

    class Broken(Parrot):
        def generate_until(self, requests, disable_tqdm=False):
            raise RuntimeError("a secret detail")

    url = running(app_of(ChatServer(Broken(), "m"))) + "/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(2):
        found = httpx.post(url, json=body, timeout=900)
        assert found.status_code == 500 and found.json()["error"]["type"] == "server_error"
        assert "secret" not in found.text
    streamed = httpx.post(url, json={**body, "stream": True}, timeout=900)
    assert streamed.status_code == 200 and "server_error" in streamed.text and "secret" not in streamed.text


def test_other_addresses_need_a_token(monkeypatch):
    monkeypatch.delenv("ANYORDER_TOKEN", raising=False)
    assert token_for("127.0.0.1") is None
    with pytest.raises(ConfigError, match="set ANYORDER_TOKEN"):
        token_for("0.0.0.0")
    monkeypatch.setenv("ANYORDER_TOKEN", "short")
    with pytest.raises(ConfigError, match="16 characters"):
        token_for("0.0.0.0")
    monkeypatch.setenv("ANYORDER_TOKEN", "a-long-secret-token")
    assert token_for("0.0.0.0") == "a-long-secret-token"
