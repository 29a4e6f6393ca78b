"""Traces: states and probabilities by hand, the same answers as untraced, and what is refused."""

import json
from typing import Any, cast

import pytest
from toys import GivenBackbone, sure

from harness.adapters.settings import MaskedSettings
from harness.adapters.writing import write
from harness.backbones import MaskedBackbone
from harness.config import ConfigError
from harness.decoders import DECODERS
from harness.suites import load_suite
from harness.traces import Place, trace, trace_suite

PROMPT = [20, 21, 22]


def test_states_and_probabilities_by_hand():
    backbone = cast(MaskedBackbone, GivenBackbone(sure(0.5, 0.9, 0.7)))
    settings = MaskedSettings(decoder="confidence", length="fixed", max_gen_toks=3, steps=3)
    tokens, passes = trace(backbone, [4, 5], settings, "a")
    shown = [[(place.state, round(place.probability or 0, 4)) for place in places] for places in passes]
    assert tokens == [4, 4, 4] and all(place.token == 4 for places in passes for place in places)
    assert shown == [
        [("hidden", 0.5), ("written", 0.9), ("hidden", 0.7)],
        [("hidden", 0.5), ("held", 0.9), ("written", 0.7)],
        [("written", 0.5), ("held", 0.9), ("held", 0.7)],
    ]


def test_places_that_were_not_asked_for_are_unknown():
    backbone = cast(MaskedBackbone, GivenBackbone(sure(0.5, 0.9, 0.7)))
    _, passes = trace(backbone, [4], MaskedSettings(decoder="left_to_right", length="fixed", max_gen_toks=3), "a")
    assert passes[0][1:] == [Place(None, None, "hidden")] * 2 and passes[2][0].state == "held"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_a_traced_answer_is_the_untraced_one_and_its_last_pass_shows_it(backbone, decoder, temperature):
    settings = MaskedSettings(decoder=decoder, length="fixed", max_gen_toks=9, steps=5, temperature=temperature)
    plain = write(backbone, [PROMPT], settings, [None], ["a"])
    tokens, passes = trace(backbone, PROMPT, settings, "a")
    assert tokens == plain.tokens[0] and len(passes) == plain.forward_passes
    assert [place.token for place in passes[-1]][: len(tokens)] == tokens
    assert {place.state for place in passes[-1]} <= {"written", "held"}
    assert all(0 < cast(float, place.probability) <= 1 for place in passes[-1])


def test_re_masking_shows_as_the_schedule_says(backbone):
    for seed in range(5):
        settings = MaskedSettings(length="fixed", max_gen_toks=9, steps=4)
        tokens, passes = trace(backbone, [30 + seed, 60], settings, "a")
        if len(tokens) == 9:  # an answer that ends early shows fewer places
            assert [sum(p.state in ("hidden", "taken_back") for p in places) for places in passes] == [6, 4, 2, 0]
            taken = [
                (n, at) for n, places in enumerate(passes) for at, p in enumerate(places) if p.state == "taken_back"
            ]
            for n, at in taken:  # it held that token, with that probability, after the pass before
                assert (passes[n - 1][at].token, passes[n - 1][at].probability) == (
                    passes[n][at].token, passes[n][at].probability,
                )  # fmt: skip
            if taken:
                return
    pytest.fail("no token was ever taken back")


def test_several_candidates_are_refused(backbone):
    with pytest.raises(ValueError, match="length_beam=2: a trace follows one answer"):
        trace(backbone, PROMPT, MaskedSettings(length_beam=2), "a")


def test_a_suite_without_traces_or_with_an_unknown_mode_says_so(tmp_path):
    suite: Any = load_suite("smoke")
    with pytest.raises(ConfigError, match="no traces section"):
        trace_suite(suite.model_copy(update={"traces": None}), tmp_path)
    data = suite.model_dump()
    data["traces"]["modes"] = ["xmlr_5"]
    with pytest.raises(ValueError, match="unknown speed mode 'xmlr_5'. Did you mean 'xmlr_4'"):
        type(suite)(**json.loads(json.dumps(data)))
