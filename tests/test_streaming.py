"""Streams: pieces come early where they can, are never taken back, and joined are the answer without streaming."""

import random

import pytest

from harness.chat import ChatRequest, RequestError
from harness.chat_server import ChatServer
from harness.judges.answers import Writing, write_answers
from harness.streaming import GrowingText, StreamingError, certain_part, write_in_pieces

ADAPTERS = {"decoder_it": "ar", "mt0": "encdec", "instruct_xmlr": "nar_xlmr", "diffusionllm": "diffusion_xlmr"}
DIALOGUE = [{"role": "user", "content": "say red blue"}]


@pytest.fixture(scope="module")
def models(checkpoints):
    from harness.evaluate import load_model

    return {
        name: load_model(adapter, {"pretrained": str(checkpoints[name])}, batch_size=1, device="cpu")
        for name, adapter in ADAPTERS.items()
    }


def cut(text, stops):
    """As lm-eval and our adapters cut an answer."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def test_what_is_certain_stays():
    """Every beginning of every text: its certain part begins the text that is cut at the end; short of a stop, all is certain."""
    rng, early = random.Random(0), 0
    for _ in range(3000):
        text = "".join(rng.choice("abc ") for _ in range(12))
        stops = ["".join(rng.choice("abc ") for _ in range(rng.randint(1, 4))) for _ in range(rng.randint(0, 3))]
        for end in range(len(text) + 1):
            certain = certain_part(text[:end], stops)
            assert cut(text, stops).startswith(certain), (text, stops, end)
            early += bool(certain) and end < len(text)
    assert early > 3000
    assert certain_part("one two", []) == "one two" and certain_part("one STO", ["STOP"]) == "one "
    assert certain_part("one STOP two", ["STOP"]) == "one " and certain_part("aab", ["aac"]) == "aab"


@pytest.mark.parametrize(
    "text", ["  red blue  green \n", "naïve 春天来了 🌞 done", "one two </s>three <|us <|user|> y"]
)
def test_growing_text_never_shows_half_a_character(tokenizer, text):
    ids, heard = tokenizer(text, add_special_tokens=False)["input_ids"], []
    growing = GrowingText(tokenizer, ["<|user|>"], heard.append)
    for end in range(len(ids) + 1):
        growing.update([*ids[:end], tokenizer.eos_token_id])
    whole = tokenizer.decode(ids, skip_special_tokens=True).split("<|user|>")[0].strip()
    assert "".join(heard) == growing.sent == whole and len(heard) > 2
    assert not any("\ufffd" in piece for piece in heard)


def test_a_tokenizer_that_tidies_up():
    """Such a tokenizer draws "do n't" together when the last piece comes: the last word waits."""

    class Tidy:
        clean_up_tokenization_spaces = True

        def decode(self, ids, skip_special_tokens):
            return " ".join("I do n't know .".split()[: len(ids)]).replace(" n't", "n't").replace(" .", ".")

    heard = []
    growing = GrowingText(Tidy(), [], heard.append)
    for end in range(6):
        growing.update(range(end))
    assert heard == ["I", " don't"]


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("writing", [Writing(12), Writing(12, 1.5, 3), Writing(12, 0.0, 0, 1.0, ("e", "re"))])
def test_pieces_are_the_answer(models, name, writing):
    pieces = []
    text = write_in_pieces(models[name], DIALOGUE, writing, pieces.append)
    assert [text] == write_answers(models[name], [DIALOGUE], [writing]) and "".join(pieces) == text
    assert all(pieces) and not any(word in text for word in ("</s>", "<pad>", "<mask>", *writing.stop))
    assert getattr(models[name], "streamer", None) is None


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_answer_has_at_most_the_tokens_asked_for(models, name):
    """Also from an encoder-decoder, where lm-eval's bound is the prompt's length and the answer's together."""
    tokens, plain = [], models[name].tokenizer.decode
    models[name].tokenizer.decode = lambda token_ids, **more: tokens.append(token_ids) or plain(token_ids, **more)
    try:
        write_answers(models[name], [DIALOGUE], [Writing(3, 2.0, 5)])
    finally:
        del models[name].tokenizer.decode
    assert len(tokens[-1]) <= (4 if name == "mt0" else 3)  # an encoder-decoder's first token is none of the answer


@pytest.mark.parametrize("name", ["decoder_it", "mt0"])
def test_an_autoregressive_model_tells_every_token(models, name):
    pieces = []
    text = write_in_pieces(models[name], DIALOGUE, Writing(24, 2.0, 1), pieces.append)
    assert "".join(pieces) == text and len(pieces) > 4


@pytest.mark.parametrize(
    "decoder, settings, early",
    [
        ("confidence", {"block_length": 4}, True),
        ("confidence", {"block_length": 4, "threshold": 0.9}, True),
        ("left_to_right", {}, True),
        ("ancestral", {"steps": 16}, True),
        ("mask_predict", {}, False),
        ("reparameterized", {}, False),
        ("confidence", {"block_length": 4, "length_beam": 2, "length": "predicted"}, False),
    ],
)
def test_decoders_tell_only_what_is_final(models, decoder, settings, early):
    model = models["diffusionllm"]
    model.configure(**{"decoder": decoder, "length": "fixed", "steps": 16, **settings})
    try:
        pieces = []
        text = write_in_pieces(model, DIALOGUE, Writing(16, 2.0), pieces.append)
        assert "".join(pieces) == text == write_answers(model, [DIALOGUE], [Writing(16, 2.0)])[0]
        assert len(pieces) > 1 if early else len(pieces) <= 1
    finally:
        model.configure()


def test_an_answer_that_does_not_go_on_as_it_began(models, monkeypatch):
    monkeypatch.setattr("harness.streaming.write_answers", lambda model, *_: model.decode_tokens([[5]], *_, [None]))

    class Model:
        tokenizer, backbone = models["diffusionllm"].tokenizer, models["diffusionllm"].backbone
        record = None

        def decode_tokens(self, prompts, *_):
            from harness.decoders.board import _WATCHER

            tell = _WATCHER.get()
            assert tell is not None
            tell(self.tokenizer(" red blue")["input_ids"])
            return ["another answer"]

    with pytest.raises(StreamingError, match="begins with 'another answer', and 'red blue' was sent"):
        write_in_pieces(Model(), DIALOGUE, Writing(4), lambda piece: None)


def asked(**more):
    return ChatRequest(**{"model": "m", "messages": DIALOGUE, "max_tokens": 16, "stream": True, **more})


def test_closing_a_stream_ends_the_writing(models):
    """The next request need not wait for an answer that nobody hears."""
    model, tokens = models["decoder_it"], []
    server = ChatServer(model, "m")
    events = server.stream(asked(max_tokens=40, temperature=2.0))
    next(events)
    plain = model.tok_decode
    model.tok_decode = lambda *a, **k: tokens.append(a) or plain(*a, **k)  # the whole answer, when it is finished
    try:
        events.close()  # type: ignore[attr-defined]
        assert server.complete(asked(stream=False, max_tokens=2))["choices"]
        assert len(tokens) <= 4  # of the second answer, and (should the first have been finished by now) of the first
    finally:
        del model.tok_decode


def test_a_failure_is_an_event_and_the_server_goes_on(models):
    class Broken:
        max_length, tokenizer = 100, models["decoder_it"].tokenizer
        broken = True

        def generate_until(self, requests, disable_tqdm=False):
            if self.broken:
                raise ZeroDivisionError("no detail of this is for callers")
            return ["fine"]

    model = Broken()
    server = ChatServer(model, "m", waiting=0)
    said = "".join(server.stream(asked()))
    assert '"server_error"' in said and "no detail" not in said and "[DONE]" not in said
    with pytest.raises(ZeroDivisionError):
        server.complete(asked())
    with pytest.raises(RequestError, match="holds 84"):
        server.stream(asked(messages=[{"role": "user", "content": "red " * 200}]))
    model.broken = False
    assert server.complete(asked())["choices"][0]["message"]["content"] == "fine"
