"""Confidence decoding: order by each rule, budgets, blocks, threshold and factor, open canvases; all by hand."""

import pytest
from toys import IDS, GivenBackbone, sure

from harness.decoders.ancestral import ancestral
from harness.decoders.confidence import check, confidence
from harness.decoders.left_to_right import left_to_right


def hidden(probability, steps=99, **settings) -> list[list[int]]:
    """Places that were hidden at each pass over one answer."""
    backbone = GivenBackbone(probability)
    out = confidence(backbone, backbone.canvas(len(probability)), steps, **settings)  # type: ignore[arg-type]
    assert int(out.forward_passes_B) == len(backbone.seen)
    return [rows[0] for rows in backbone.seen]


def test_the_most_certain_token_is_written_first():
    assert hidden(sure(0.5, 0.9, 0.7, 0.6), 4) == [[0, 1, 2, 3], [0, 2, 3], [0, 3], [0]]


def test_several_tokens_are_written_per_pass_by_the_budget():
    assert hidden(sure(0.5, 0.9, 0.7, 0.6), 2) == [[0, 1, 2, 3], [0, 3]]
    assert [len(places) for places in hidden(sure(*[0.5] * 9), 4)] == [9, 6, 4, 2]  # floor(9·(1 − s/4))


def test_a_budget_above_the_length_costs_one_pass_per_token():
    assert len(hidden(sure(0.5, 0.9, 0.7), 10)) == 3


def test_ties_are_written_from_the_left():
    assert hidden(sure(0.6, 0.6, 0.6), 3) == [[0, 1, 2], [1, 2], [2]]


@pytest.mark.parametrize("rule,first", [("low_confidence", 0), ("entropy", 1), ("margin", 0)])
def test_entropy_prefers_two_candidates_to_three(rule, first):
    places = [{4: 0.5, 5: 0.25, 6: 0.25}, {4: 0.48, 5: 0.48, 6: 0.04}]
    assert hidden(places, 2, rule=rule) == [[0, 1], [1 - first]]


@pytest.mark.parametrize("rule,first", [("low_confidence", 1), ("entropy", 1), ("margin", 0)])
def test_margin_distrusts_a_close_second(rule, first):
    places = [{4: 0.5, 5: 0.25, 6: 0.25}, {4: 0.55, 5: 0.44, 6: 0.01}]
    assert hidden(places, 2, rule=rule) == [[0, 1], [1 - first]]


def test_blocks_are_filled_from_the_left_and_the_last_may_be_shorter():
    order = [[0, 1, 2, 3, 4], [0, 2, 3, 4], [2, 3, 4], [3, 4], [4]]
    assert hidden(sure(0.5, 0.9, 0.7, 0.6, 0.99), 5, block_length=2) == order


def test_blocks_share_the_budget_as_in_the_paper_where_they_divide():
    passes = hidden(sure(0.5, 0.9, 0.7, 0.6, 0.8, 0.99, 0.98, 0.4), 4, block_length=4)
    assert passes == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 3, 4, 5, 6, 7], [4, 5, 6, 7], [4, 7]]


def test_a_threshold_writes_all_above_it_and_at_least_one():
    assert hidden(sure(0.95, 0.5, 0.92, 0.8), 1, threshold=0.9) == [[0, 1, 2, 3], [1, 3], [1]]


def test_a_threshold_stays_within_the_block():
    assert hidden(sure(0.5, 0.95, 0.95, 0.95), 1, threshold=0.9, block_length=2) == [[0, 1, 2, 3], [0, 2, 3], [2, 3]]


@pytest.mark.parametrize("factor,first", [(0.2, {0}), (0.3, {0, 2})])
def test_the_factor_rule_asks_more_of_every_further_token(factor, first):
    # Sorted .95 .92 .8 .5 against 1 − f/(n + 1): f = .2 gives .900 .933 …, f = .3 gives .850 .900 .925 …
    passes = hidden(sure(0.95, 0.5, 0.92, 0.8), 1, factor=factor)
    assert set(passes[0]) - set(passes[1]) == first


def test_left_to_right_writes_one_token_per_pass():
    backbone = GivenBackbone(sure(0.5, 0.9, 0.7))
    out = left_to_right(backbone, backbone.canvas(3), 1)  # type: ignore[arg-type]
    assert [rows[0] for rows in backbone.seen] == [[0, 1, 2], [1, 2], [2]] and int(out.forward_passes_B) == 3


@pytest.mark.parametrize("decode", [left_to_right, confidence, ancestral])
def test_an_open_canvas_ends_at_the_first_eos(decode):
    places = [*sure(0.9, 0.8), {IDS.eos: 0.99, 4: 0.01}, *sure(0.5, 0.5, 0.5)]
    backbone = GivenBackbone(places)
    canvas = backbone.canvas(6).without_eos()
    out = decode(backbone, canvas, 6)
    tokens = out.tokens_BT[0][canvas.target_BT[0]].tolist()
    assert tokens[:3] == [4, 4, IDS.eos] and IDS.mask not in tokens
    if decode is not ancestral:  # which may write what stands behind the eos sooner
        assert tokens == [4, 4, IDS.eos, IDS.eos, IDS.eos, IDS.eos] and int(out.forward_passes_B) == 3


def test_a_closed_canvas_goes_on_behind_an_eos():
    backbone = GivenBackbone([{IDS.eos: 0.99, 4: 0.01}, *sure(0.5, 0.5)])
    canvas = backbone.canvas(3)
    out = left_to_right(backbone, canvas, 3)  # type: ignore[arg-type]
    assert out.tokens_BT[0][canvas.target_BT[0]].tolist() == [IDS.eos, 4, 4]


@pytest.mark.parametrize(
    "settings,sentence",
    [
        (("most_certain", 0, 0.0, 0.0), "unknown confidence rule 'most_certain'"),
        (("entropy", -1, 0.0, 0.0), "block_length=-1"),
        (("entropy", 0, 1.5, 0.0), "threshold=1.5: a probability"),
        (("entropy", 0, 0.0, -0.5), "factor=-0.5: must be positive"),
        (("entropy", 0, 0.9, 0.5), "give one"),
    ],
)
def test_wrong_settings_are_explained(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(*settings)
