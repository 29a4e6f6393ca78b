"""Traces: what a recorder notes of a decoder's passes, on a backbone whose answers are given."""

import pytest
from toys import GivenBackbone, sure

from harness.decoders import get_decoder
from harness.traces import Recorder


def word(token: int) -> str:
    return {4: "a", 5: "b", 6: "c"}[token]


@pytest.mark.parametrize("name", ["mask_predict", "confidence", "left_to_right", "reparameterized"])
def test_a_recorder_changes_no_answer(name):
    backbone = GivenBackbone(sure(0.9, 0.5, 0.7, 0.6))
    canvas, decode = backbone.canvas(4), get_decoder(name)
    recorder = Recorder(backbone)
    plain, traced = decode(backbone, canvas, 3), decode(recorder, canvas, 3)
    assert plain.tokens_BT.equal(traced.tokens_BT) and plain.logprob_BT.equal(traced.logprob_BT)
    assert len(recorder.trace(word)) == int(traced.forward_passes_B[0])


def test_mask_predict_hides_the_two_least_sure_after_the_first_of_two_passes():
    recorder = Recorder(GivenBackbone(sure(0.9, 0.5, 0.7, 0.6)))
    get_decoder("mask_predict")(recorder, recorder.canvas(4), 2)
    first, second = recorder.trace(word)
    assert first.canvas == (None,) * 4 and first.guess == ("a",) * 4
    assert first.probability == pytest.approx((0.9, 0.5, 0.7, 0.6), abs=1e-4)
    assert second.canvas == ("a", None, "a", None)
    assert second.guess == (None, "a", None, "a")
    assert second.probability[0] is None and second.probability[3] == pytest.approx(0.6, abs=1e-4)


def test_a_pass_over_several_answers_is_refused():
    recorder = Recorder(GivenBackbone(sure(0.9, 0.5)))
    get_decoder("mask_predict")(recorder, recorder.canvas(2, 2), 1)
    with pytest.raises(ValueError, match="2 rows"):
        recorder.trace(word)
