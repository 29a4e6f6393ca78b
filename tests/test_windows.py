"""Sliding windows under a given mask: kept in ModernBERT, against a mask written out by hand; refused elsewhere."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from harness.backbones import BackboneError, MaskedBackbone
from harness.canvas import Layout
from harness.config import ConfigError
from harness.windows import lost_windows
from tests.conftest import masked_network, special
from trainers.packing import check_packable
from trainers.plan import plan
from trainers.recipe import BackboneSpec, load_recipe

WINDOW, LOWEST = 4, torch.finfo(torch.float32).min  # tests.conftest.WINDOWS: eight tokens, four to either side


def by_hand(canvas, window: int | None) -> torch.Tensor:
    """What each layer may see, entry by entry [B, 1, T, T], added to the scores."""
    rows, width = canvas.tokens_BT.shape
    mask = torch.full((rows, 1, width, width), LOWEST)
    for row in range(rows):
        for query in range(width):
            for key in range(width):
                prompt_peeks = bool(canvas.prompt_BT[row, query]) and not bool(canvas.prompt_BT[row, key])
                far = window is not None and abs(query - key) > window
                if canvas.attend_BT[row, key] and not prompt_peeks and not far:
                    mask[row, 0, query, key] = 0.0
    return mask


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_isolated_prompt_keeps_modernberts_windows(tokenizer, attention):
    network = masked_network(tokenizer, family="modernbert")
    network.set_attn_implementation("eager")
    backbone = MaskedBackbone(network, special(tokenizer), Layout("isolated", target_position=0), 90)
    canvas = backbone.layout.pack([(list(range(20, 32)), [40, 41, 42]), ([50], [60])], backbone.ids)
    kinds = [layer.attention_type for layer in network.model.layers]
    assert kinds == ["full_attention", "sliding_attention"] and network.config.sliding_window == WINDOW
    arguments = {"input_ids": canvas.tokens_BT, "position_ids": canvas.positions_BT}
    expected = {"full_attention": by_hand(canvas, None), "sliding_attention": by_hand(canvas, WINDOW)}
    with torch.no_grad():
        hooks = [
            layer.register_forward_pre_hook(
                lambda _, given, named, kind=kind: (given, {**named, "attention_mask": expected[kind]}),
                with_kwargs=True,
            )
            for layer, kind in zip(network.model.layers, kinds, strict=True)
        ]
        wanted = network.model(**arguments)[0][canvas.attend_BT]
        for hook in hooks:
            hook.remove()
        lost = network.model(**arguments, attention_mask=expected["full_attention"])[0][canvas.attend_BT]
        network.set_attn_implementation(attention)
        found = backbone.hidden(canvas)
    assert torch.isfinite(found).all()
    assert torch.allclose(found[canvas.attend_BT], wanted, atol=1e-5)
    assert not torch.allclose(lost, wanted, atol=1e-2)


def test_padding_beside_a_row_changes_nothing(tokenizer):
    backbone = MaskedBackbone(
        masked_network(tokenizer, family="modernbert"), special(tokenizer), Layout("isolated", target_position=0), 90
    )
    pairs = [(list(range(20, 45)), [40, 41, 42]), ([50], [60])]
    both, alone = (backbone.layout.pack(some, backbone.ids) for some in (pairs, pairs[1:]))
    with torch.no_grad():
        padded = backbone.hidden(both)[1][both.attend_BT[1]]
        assert torch.allclose(padded, backbone.hidden(alone)[0], atol=1e-5)


def test_families_that_would_lose_their_windows_are_refused(tokenizer):
    network = masked_network(tokenizer)
    gemma, mistral = AutoConfig.for_model("gemma3_text"), AutoConfig.for_model("mistral", sliding_window=7)
    for config, what in [(gemma, "gemma3_text has layers with sliding windows"), (mistral, "sliding_window 7")]:
        assert what in lost_windows(config)
        with pytest.raises(ConfigError, match=f"training.packing: .*{what}"):
            check_packable(config)
        network.config = config
        with pytest.raises(BackboneError, match=f"layout isolated: .*{what}.*use layout joint"):
            MaskedBackbone(network, special(tokenizer), Layout("isolated", target_position=0), 90)
    for family in ("llama", "xlm-roberta", "modernbert", "qwen3"):
        check_packable(AutoConfig.for_model(family))


def test_lost_windows_are_said_before_anything_is_spent():
    recipe = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml"))
    shape = dict(
        hidden_size=16, num_hidden_layers=7, num_attention_heads=2, head_dim=8, intermediate_size=24, vocab_size=100
    )
    backbone = BackboneSpec(family="gemma3_text", shape=shape)
    packed = recipe.training.model_copy(update={"packing": True})
    with pytest.raises(ConfigError, match="training.packing: gemma3_text"):
        plan(recipe.model_copy(update={"backbone": backbone, "training": packed}), probe_seconds=0)
