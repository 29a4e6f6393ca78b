"""Block-wise cache: exact where it must be, equal to an independent computation elsewhere, fewer tokens, and refused in words."""

from typing import Any

import pytest
import torch
from conftest import masked_network, pass_widths, special

from harness.adapters.settings import MaskedSettings
from harness.backbones import BackboneError, MaskedBackbone
from harness.canvas import Layout
from harness.decoders.block_cache import BlockCache
from harness.decoders.confidence import confidence

PROMPTS, LENGTHS = [[20, 21, 22], [40] * 12, [50, 51, 52, 53, 54]], [4, 9, 6]
KINDS = ["prefix", "dual"]


def joint(tokenizer, layers: int = 2, family: str = "xlm-roberta-xl") -> MaskedBackbone:
    network: Any = masked_network(tokenizer, family=family)
    network.base_model.encoder.layer = network.base_model.encoder.layer[:layers]
    return MaskedBackbone(network, special(tokenizer), Layout(), max_length=96)


def canvas_of(backbone, rows=(0, 1, 2)):
    pairs = [(PROMPTS[row], [backbone.ids.mask] * LENGTHS[row]) for row in rows]
    return backbone.layout.pack(pairs, backbone.ids)


@pytest.mark.parametrize("family", ["xlm-roberta-xl", "xlm-roberta", "bert"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_is_exact_as_nothing_recorded_depends_on_the_answer(tokenizer, family, kind):
    backbone = joint(tokenizer, layers=1, family=family)
    for settings in ({"threshold": 0.3}, {"factor": 0.8}, {}):
        plain, cached = (
            confidence(backbone, canvas_of(backbone), 9, block_length=3, block_cache=cache, **settings)  # type: ignore[arg-type]
            for cache in ("off", kind)
        )
        assert plain.tokens_BT.equal(cached.tokens_BT) and plain.forward_passes_B.equal(cached.forward_passes_B)
        assert torch.allclose(plain.logprob_BT, cached.logprob_BT, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_per_block_is_exact(tokenizer, kind):
    backbone = joint(tokenizer)
    plain, cached = (
        confidence(backbone, canvas_of(backbone), 1, threshold=1e-9, block_length=3, block_cache=cache)  # type: ignore[arg-type]
        for cache in ("off", kind)
    )
    assert plain.tokens_BT.equal(cached.tokens_BT) and torch.allclose(plain.logprob_BT, cached.logprob_BT, atol=1e-5)
    assert cached.forward_passes_B.tolist() == [2, 3, 2]


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_states_equal_full_passes_whose_outer_keys_and_values_are_put_back(tokenizer, kind):
    backbone, row = joint(tokenizer), torch.tensor([True])
    canvas = canvas_of(backbone, rows=[1])
    place_BT = canvas.target_BT.cumsum(1) - 1
    cache = BlockCache(backbone, place_BT // 3, kind)
    asked_BT = canvas.target_BT & (place_BT // 3 == 1)
    outside_T = ~asked_BT[0]
    if kind == "prefix":
        outside_T = torch.arange(len(outside_T)) < int(asked_BT[0].int().argmax())
    recorded: dict[int, torch.Tensor] = {}
    parts = [
        getattr(layer.attention.self, n) for layer in backbone.model.base_model.encoder.layer for n in ("key", "value")
    ]

    def record(module, _inputs, output):
        recorded[id(module)] = output.clone()

    def put_back(module, _inputs, output):
        return torch.where(outside_T[None, :, None], recorded[id(module)], output)

    hooks = [part.register_forward_hook(record) for part in parts]
    assert torch.allclose(cache.hidden(canvas, asked_BT, row), backbone.hidden(canvas), atol=1e-5)
    for hook in hooks:
        hook.remove()
    written = canvas.with_tokens(canvas.tokens_BT.masked_fill(place_BT == 4, 77))  # a token of the block is written
    mine, plain = cache.hidden(written, asked_BT, row), backbone.hidden(written)
    hooks = [part.register_forward_hook(put_back) for part in parts]
    theirs = backbone.hidden(written)
    for hook in hooks:
        hook.remove()
    assert torch.allclose(mine[asked_BT], theirs[asked_BT], atol=1e-5)
    assert not torch.allclose(mine[asked_BT], plain[asked_BT], atol=1e-3)  # the approximation is one


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_others(tokenizer, kind):
    backbone, settings = joint(tokenizer), {"threshold": 0.3, "block_length": 2, "block_cache": kind}
    together = confidence(backbone, canvas_of(backbone), 1, **settings)
    for row in range(3):
        canvas = canvas_of(backbone, rows=[row])
        alone = confidence(backbone, canvas, 1, **settings)
        assert together.tokens_BT[row][canvas_of(backbone).target_BT[row]].equal(alone.tokens_BT[canvas.target_BT])


@pytest.mark.parametrize("kind,width", [("dual", 3), ("prefix", 7)])
def test_a_pass_within_a_block_computes_its_segment_only(tokenizer, monkeypatch, kind, width):
    backbone = joint(tokenizer)
    widths = pass_widths(backbone, monkeypatch)
    confidence(backbone, canvas_of(backbone, rows=[2]), 6, block_length=3, block_cache=kind)  # 5 + 6 tokens, bos, eos
    assert widths == [13, width, width, 13, *[3 if kind == "dual" else 4] * 2]


def test_what_it_cannot_be_used_for_is_said(tokenizer, network):
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"decoder": "confidence", "block_cache": "dual"}, "works block by block: give a block_length"),
        ({"decoder": "mask_predict", "block_cache": "dual", "block_length": 4}, "belongs to decoder=confidence"),
        (
            {"decoder": "confidence", "block_cache": "duo", "block_length": 4},
            "unknown block_cache 'duo'. Did you mean 'dual'",
        ),
    ]
    for wrong, sentence in wrongs:
        with pytest.raises(ValueError, match=sentence):
            MaskedSettings(**wrong)
    isolated = MaskedBackbone(network, special(tokenizer), Layout("isolated", 0), max_length=96)
    with pytest.raises(BackboneError, match="prompt_cache=auto reads it once, exactly"):
        confidence(isolated, canvas_of(isolated), 4, block_length=2, block_cache="dual")
    without = joint(tokenizer)
    without.takes_cache = False
    with pytest.raises(BackboneError, match="takes no cached keys and values"):
        confidence(without, canvas_of(without), 4, block_length=2, block_cache="prefix")
