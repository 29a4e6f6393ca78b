"""Drawn tokens: right frequencies, nucleus by hand, counters instead of a state."""

import pytest
import torch
from toys import GivenBackbone, sure

from harness.decoders.ancestral import ancestral
from harness.decoders.sampling import Sampler, nucleus, sampler_of


def drawn(probability, temperature=1.0, top_p=1.0, items=3000) -> torch.Tensor:
    """Frequencies of tokens at one place over many items."""
    logits_MV = torch.tensor(probability).log().expand(items, -1)
    at_BT, place_BT = torch.ones(items, 1, dtype=torch.bool), torch.zeros(items, 1, dtype=torch.long)
    rng = sampler_of(temperature, top_p, 0, [str(i) for i in range(items)])
    tokens = rng.choose(logits_MV, rng.numbers(at_BT, place_BT, step=1))
    return tokens.bincount(minlength=len(probability)) / items


def test_frequencies_are_the_probabilities():
    assert torch.allclose(drawn([0.6, 0.3, 0.1]), torch.tensor([0.6, 0.3, 0.1]), atol=0.03)


def test_temperature_flattens_and_zero_takes_the_best():
    flat = torch.tensor([0.6, 0.3, 0.1]) ** 0.5
    assert torch.allclose(drawn([0.6, 0.3, 0.1], temperature=2.0), flat / flat.sum(), atol=0.03)
    assert drawn([0.3, 0.6, 0.1], temperature=0.0).tolist() == [0, 1, 0]


def test_a_token_without_probability_is_never_drawn():
    assert float(drawn([0.5, 0.0, 0.5])[1]) == 0


def test_the_nucleus_is_the_smallest_set_that_holds_top_p():
    mass = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    assert nucleus(mass, 0.5)[0].tolist() == [0, 0.5, 0, 0]
    assert nucleus(mass, 0.51)[0].nonzero().flatten().tolist() == [1, 3]
    assert nucleus(mass, 1.0) is mass and nucleus(mass, 1e-9)[0].nonzero().flatten().tolist() == [1]
    assert torch.allclose(drawn([0.6, 0.3, 0.1], top_p=0.7), torch.tensor([2 / 3, 1 / 3, 0]), atol=0.03)


def test_numbers_belong_to_item_step_and_place_alone():
    place = torch.tensor([[-1, 0, 1, 2], [-1, 0, 1, 1]])
    both = sampler_of(1.0, 1.0, 3, ["a", "b"]).uniform_BT(place, 5)
    alone = sampler_of(1.0, 1.0, 3, ["b"]).uniform_BT(place[1:], 5)
    assert both[1].equal(alone[0])
    others = [sampler_of(1.0, 1.0, 4, ["b"]).uniform_BT(place[1:], 5), Sampler().uniform_BT(place[1:], 5)]
    others.append(sampler_of(1.0, 1.0, 3, ["b"]).uniform_BT(place[1:], 6))
    assert all(not alone.equal(other) for other in others) and len(set(both[0, 1:].tolist())) == 3


def test_ancestral_reveals_each_position_once_at_a_uniform_time():
    backbone = GivenBackbone(sure(0.8, 0.8))
    items = 1000
    canvas = backbone.canvas(*[2] * items)
    out = ancestral(backbone, canvas, 4, sampler_of(1.0, 1.0, 0, [str(i) for i in range(items)]))  # type: ignore[arg-type]
    both_at_once = float((out.forward_passes_B == 1).float().mean())
    assert both_at_once == pytest.approx(1 / 4, abs=0.05) and int(out.forward_passes_B.max()) == 2
    assert float((out.tokens_BT[canvas.target_BT] == 4).float().mean()) == pytest.approx(0.8, abs=0.03)
    again = ancestral(backbone, canvas, 4, sampler_of(1.0, 1.0, 0, [str(i) for i in range(items)]))  # type: ignore[arg-type]
    assert again.tokens_BT.equal(out.tokens_BT)
