"""Answers through the adapters: length policies, draws, stop strings, and what is refused in which words."""

from collections.abc import Sequence
from typing import Any

import lm_eval.models  # noqa: F401
import pytest
import torch
from lm_eval.api.instance import Instance

from harness.adapters.diffusion import DiffusionXlmr
from harness.adapters.masked_lm import NarXlmr
from harness.adapters.settings import MaskedSettings
from harness.backbones import BackboneError
from harness.decoders.length import predicted_lengths
from harness.rows import ScoringError
from harness.scorers import Item

ASKED = ["say red", "say dog cat sun", "say moon tree", "say yes"]


@pytest.fixture(scope="module", params=["instruct_xmlr", "diffusionllm"])
def adapter(request, checkpoints):
    return (NarXlmr if request.param == "instruct_xmlr" else DiffusionXlmr)(str(checkpoints[request.param]))


def ask(adapter, texts: Sequence[str], docs: Sequence[int] | None = None, **arguments: Any) -> list[str]:
    given = {"until": [], "max_gen_toks": 8, **arguments}
    docs = range(len(texts)) if docs is None else docs
    requests = [
        Instance("generate_until", {}, (text, given), 0, ("task", doc, 1))
        for text, doc in zip(texts, docs, strict=True)
    ]
    return adapter.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("decoder", ["mask_predict", "confidence", "ancestral"])
def test_drawn_answers_do_not_depend_on_batch_size_or_order(adapter, decoder):
    drawn = {"temperature": 1.0, "top_p": 0.9, "decoder": decoder}
    together = ask(adapter, ASKED, **drawn)
    assert together == ask(adapter, ASKED[::-1], [3, 2, 1, 0], **drawn)[::-1]
    assert together == ask(type(adapter)(adapter.pretrained, batch_size=1), ASKED, **drawn)
    assert together != ask(adapter, ASKED, **{**drawn, "seed": 99})


def test_a_document_asked_for_twice_is_drawn_twice(adapter):
    first, second = ask(adapter, ASKED[:1] * 2, [0, 0], do_sample=True, length="fixed")
    assert first != second
    one, two = ask(adapter, ASKED[:1] * 2, [0, 0], do_sample=False, temperature=1.0)
    assert one == two


@pytest.mark.parametrize("decoder", ["mask_predict", "reparameterized", "confidence", "left_to_right", "ancestral"])
def test_stop_strings_and_eos_cut_the_answer(adapter, monkeypatch, decoder):
    ids = adapter.encoder.ids(" red")[:1]

    def constant(self, states, where):
        logits = torch.zeros(int(where.sum()), len(adapter.tokenizer))
        logits[:, ids[0]] = 9.0
        return logits

    monkeypatch.setattr(type(adapter.backbone), "logits_at", constant)
    (whole,) = ask(adapter, ["say"], length="fixed", decoder=decoder)
    one, two, all8 = (adapter.tokenizer.decode(ids * n) for n in (1, 2, 8))
    period = len(two) - len(one)
    across = whole[len(one) - 1 : len(one) + 1]  # ends one token and begins the next
    (cut,) = ask(adapter, ["say"], length="fixed", decoder=decoder, until=["never", across])
    assert whole == all8 and period > 0 and cut == whole.split(across)[0] and across not in cut
    ids[0] = adapter.backbone.ids.eos
    assert ask(adapter, ["say"], length="eos", decoder=decoder) == [""]


def test_an_open_canvas_hides_where_the_answer_ends(adapter, monkeypatch):
    seen, plain = [], type(adapter.backbone).hidden

    def hidden(self, canvas):
        if canvas.target_BT.any():
            seen.append((int(canvas.target_BT.sum()), bool(canvas.eos_BT.any())))
        return plain(self, canvas)

    monkeypatch.setattr(type(adapter.backbone), "hidden", hidden)
    for length in ("eos", "fixed"):
        ask(adapter, ["say"], length=length, steps=1)
    assert seen == [(8, False), (8, True)]


def test_what_cannot_be_done_is_said_before_the_first_pass(adapter):
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"length": "fixed", "block_length": 3}, "block_length=3 does not divide max_gen_toks=8.*one of 1, 2, 4, 8"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p=0.0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"noise": -1.0}, "noise=-1.0: must be at least 0"),
        ({"selection": "random"}, "unknown selection 'random'.*stochastic"),
        ({"rule": "entropi"}, "Did you mean 'entropy'"),
        ({"beam_score": "mean"}, "unknown beam_score 'mean'"),
        ({"threshold": "high"}, "threshold='high': expected a number"),
    ]
    for wrong, sentence in wrongs:
        with pytest.raises(ValueError, match=sentence):
            ask(adapter, ["say"], **wrong)
    with pytest.raises(ScoringError, match="leaves no room"):
        ask(adapter, ["say"], max_gen_toks=adapter.max_length)


def test_an_answer_beyond_the_positions_is_refused(adapter):
    settings = adapter.settings.changed({"length": "fixed", "max_gen_toks": adapter.max_length - 10})
    with pytest.raises(ScoringError, match=f"do not fit: the model has {adapter.max_length} positions"):
        adapter.decode_tokens([[20] * 12], settings, [None])


def test_a_predicted_length_without_a_head_says_what_trains_one(adapter, monkeypatch):
    monkeypatch.setattr(adapter.backbone, "length_head", None)
    with pytest.raises(BackboneError, match="python -m trainers train RECIPE"):
        ask(adapter, ["say"], length="predicted")


def test_a_predicted_length_may_end_in_a_shorter_block(adapter):
    (answer,) = ask(adapter, ["say"], length="predicted", decoder="confidence", block_length=3)
    assert isinstance(answer, str)


def test_whole_numbers_are_numbers():
    settings = MaskedSettings().changed({"temperature": 1, "threshold": 0})
    assert settings.temperature == 1.0 and isinstance(settings.temperature, float)
    with pytest.raises(ValueError, match="floor_one=1: expected true or false"):
        MaskedSettings().changed({"floor_one": 1})


def test_a_beam_may_be_ranked_by_the_scoring_engine(adapter):
    """The winner is the candidate that the adapter's own scoring gives the highest log p(candidate, length | prompt)."""
    prompts = [adapter.encoder.ids(text) for text in ASKED]
    beam = {"length": "predicted", "length_beam": 3, "max_gen_toks": 8, "rows": 300}
    settings = adapter.asked.changed({**beam, "beam_score": "scorer"})
    written = adapter.decode_tokens(prompts, settings, [None] * 4)
    canvas = adapter.backbone.length_canvas(prompts)
    lengths = predicted_lengths(adapter.backbone.length_logits(adapter.backbone.hidden(canvas), canvas), 3, 8)
    adapter.configure(rows=300)  # up to 8 tokens: exact
    try:
        for prompt, options, answer in zip(prompts, lengths, written, strict=True):
            known = settings.changed({"length": "oracle", "length_beam": 1})
            candidates = [adapter.decode_tokens([prompt], known, [n])[0] for n in options]
            if any(len(ids) < n for ids, n in zip(candidates, options, strict=True)):
                continue  # an eos inside: what stands behind it is scored, too, and not returned
            scored = adapter._score([Item(tuple(prompt), tuple(ids)) for ids in candidates], "scoring", True)
            best = max(range(3), key=lambda i: scored[i].logprob)
            assert answer == candidates[best]
    finally:
        adapter.configure()


def test_ranking_by_the_scorer_does_not_depend_on_the_batch(adapter):
    beam = {"length_beam": 3, "beam_score": "scorer", "rows": 8, "steps": 2}
    together = ask(adapter, ASKED, **beam)
    assert together == [ask(adapter, [text], [doc], **beam)[0] for doc, text in enumerate(ASKED)]


def test_network_passes_of_the_ranking_are_counted(adapter):
    prompts, settings = [adapter.encoder.ids("say red")], adapter.asked.changed({"length_beam": 2, "max_gen_toks": 8})
    passes = []
    for rule in ("content_mean", "scorer"):
        adapter.tally.forward_passes = 0
        adapter.decode_tokens(prompts, settings.changed({"beam_score": rule}), [None])
        passes.append(adapter.tally.forward_passes)
    assert passes[1] > passes[0]
