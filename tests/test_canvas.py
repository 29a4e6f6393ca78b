"""Layouts, attention, positions, and backbones against the networks' own forward."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from harness.backbones import BackboneError, MaskedBackbone
from harness.canvas import Layout, SpecialIds
from tests.conftest import masked_network, special

IDS = SpecialIds(bos=0, eos=1, pad=2, mask=4)


def test_joint_layout_by_hand():
    canvas = Layout("joint", target_position=10).pack([((7, 8), (9,)), ((7,), (9, 9))], IDS)
    assert canvas.tokens_BT.tolist() == [[0, 7, 8, 9, 1], [0, 7, 9, 9, 1]]
    assert canvas.target_BT.long().tolist() == [[0, 0, 0, 1, 0], [0, 0, 1, 1, 0]]
    assert canvas.eos_BT.long().tolist() == [[0, 0, 0, 0, 1]] * 2
    assert canvas.prompt_BT.long().tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert canvas.positions_BT.tolist() == [[0, 1, 2, 10, 11], [0, 1, 10, 11, 12]]


def test_isolated_layout_by_hand():
    canvas = Layout("isolated", target_position=0).pack([((7, 8), (9,)), ((7,), (9,))], IDS)
    assert canvas.tokens_BT.tolist() == [[0, 7, 8, 1, 0, 9, 1], [0, 7, 1, 0, 9, 1, 2]]
    assert canvas.positions_BT.tolist() == [[0, 1, 2, 3, 0, 1, 2], [0, 1, 2, 0, 1, 2, 0]]
    assert canvas.attend_BT.long().tolist() == [[1] * 7, [1] * 6 + [0]]
    attention = Layout("isolated", target_position=0).attention_BTT(canvas)
    assert attention[0, 0].long().tolist() == [1, 1, 1, 1, 0, 0, 0]  # a prompt token sees the prompt
    assert attention[0, 5].long().tolist() == [1] * 7  # a target token sees everything
    assert attention[1, 4].long().tolist() == [1] * 6 + [0]  # and no padding


def test_an_isolated_prompt_cannot_see_the_answer(backbone):
    pair = lambda token: [((20, 21, 22), (token, token))]  # noqa: E731
    states = []
    for token in (30, 60):
        canvas = backbone.layout.pack(pair(token), backbone.ids)
        with torch.no_grad():
            states.append(backbone.hidden(canvas)[0][canvas.prompt_BT[0]])
    same = torch.allclose(states[0], states[1], atol=1e-5)
    assert same == backbone.layout.isolated


def test_padding_changes_nothing(backbone):
    pairs = [((20, 21), (30, 31)), ((40,) * 9, (50,) * 6)]
    wide = backbone.layout.pack(pairs, backbone.ids)
    alone = backbone.layout.pack(pairs[:1], backbone.ids)
    with torch.no_grad():
        a = backbone.hidden(wide)[0][wide.target_BT[0]]
        b = backbone.hidden(alone)[0][alone.target_BT[0]]
    assert torch.allclose(a, b, atol=1e-4)


FAMILIES = {
    "xlm-roberta": dict(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64
    ),
    "xlm-roberta-xl": dict(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64
    ),
    "bert": dict(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64
    ),
    "distilbert": dict(dim=16, hidden_dim=24, n_layers=1, n_heads=2, max_position_embeddings=64),
    "modernbert": dict(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_networks_own_forward(tokenizer, family):
    torch.manual_seed(0)
    ids = special(tokenizer)
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), pad_token_id=ids.pad, bos_token_id=ids.bos, eos_token_id=ids.eos,
        cls_token_id=ids.bos, sep_token_id=ids.eos, **FAMILIES[family],
    )  # fmt: skip
    network = AutoModelForMaskedLM.from_config(config).eval()
    backbone = MaskedBackbone(network, ids, Layout(), 60)
    canvas = backbone.layout.pack([((20, 21, 22), (30, 31)), ((20,), (30,))], ids)
    with torch.no_grad():
        own = network(input_ids=canvas.tokens_BT, attention_mask=canvas.attend_BT.long()).logits[canvas.target_BT]
        ours = backbone.logits_at(backbone.hidden(canvas), canvas.target_BT)
    assert torch.allclose(own, ours, atol=1e-5)


def test_a_length_head_is_missed_only_when_needed(tokenizer):
    backbone = MaskedBackbone(masked_network(tokenizer), special(tokenizer), Layout(), 60)
    canvas = backbone.layout.prompt_only([(20, 21)], backbone.ids)
    with pytest.raises(BackboneError, match="length=fixed"):
        backbone.length_logits(backbone.hidden(canvas), canvas)


def test_eager_attention_sees_what_the_default_one_sees(tokenizer):
    # eager attention adds its mask to the scores: a boolean one would forbid nothing
    network = masked_network(tokenizer)
    backbone = MaskedBackbone(network, special(tokenizer), Layout("isolated", target_position=0), 90)
    canvas = backbone.layout.pack([([20, 21, 22], [30, 31]), ([40], [50, 51, 52, 53])], backbone.ids)
    states = {}
    for attention in ("sdpa", "eager"):
        network.set_attn_implementation(attention)
        with torch.no_grad():
            states[attention] = backbone.hidden(canvas)[canvas.attend_BT]
    assert torch.allclose(states["sdpa"], states["eager"], atol=1e-5)
