"""Logits at chosen positions are those of a whole forward pass; scores of tokens are those of a whole log-softmax."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from harness.adapters import token_scores as module
from harness.adapters.token_scores import logits_at, output_head, token_scores

FAMILIES = {
    "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2},
    "bloom": {"hidden_size": 8, "n_layer": 2, "n_head": 2},
    "opt": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16, "word_embed_proj_dim": 8},
    "gpt_neox": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
    "gemma2": {
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "intermediate_size": 16, "final_logit_softcapping": 0.5,
    },
    "mamba": {"hidden_size": 8, "num_hidden_layers": 2, "state_size": 4},
}  # fmt: skip
POSITIONS = [(0, 3), (0, 4), (1, 1), (2, 0), (2, 2)]


@pytest.mark.parametrize("headless", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_chosen_logits_are_those_of_all(family, headless):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, vocab_size=50, **FAMILIES[family])).eval()
    head, ids = output_head(model), torch.randint(1, 50, (3, 5))
    assert head is not None
    projected: list[int] = []
    head.register_forward_hook(lambda _, inputs, output: projected.append(output.shape[:-1].numel()))
    with torch.no_grad():
        every = model(ids).logits
        found = logits_at(model, None if headless else head, {"input_ids": ids}, POSITIONS, width=5)
        assert model(ids).logits.equal(every)  # no hook is left behind
    torch.testing.assert_close(found, torch.stack([every[row, position] for row, position in POSITIONS]))
    assert projected == [15, 15 if headless else 5, 15]


class Prefixed(nn.Module):
    """Two positions of its own before each row, as a tuned prompt has them; its head may see only ids."""

    def __init__(self, strange: bool = False):
        super().__init__()
        self.embed, self.head, self.strange = nn.Embedding(9, 4), nn.Linear(4, 9), strange

    def forward(self, input_ids):
        before = torch.zeros(len(input_ids), 2, 4)
        states = torch.cat([before, self.embed(input_ids)], 1)
        logits = self.head(states.flatten(0, 1)).unflatten(0, states.shape[:2]) if self.strange else self.head(states)
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("strange", [False, True])
def test_positions_before_a_row_are_counted_and_a_strange_head_projects_all(strange):
    model, ids = Prefixed(strange), torch.randint(9, (3, 5))
    with torch.no_grad():
        found = logits_at(model, model.head, {"input_ids": ids}, POSITIONS, width=5)
        every = model(ids).logits
    torch.testing.assert_close(found, torch.stack([every[row, position + 2] for row, position in POSITIONS]))


def test_the_hook_is_taken_off_when_the_network_fails():
    model = Prefixed()
    with pytest.raises(IndexError):
        logits_at(model, model.head, {"input_ids": torch.full((3, 5), 9)}, POSITIONS, width=5)
    assert not model.head._forward_pre_hooks


def test_an_embedding_or_nothing_is_no_head():
    embedding = nn.Embedding(9, 4)
    assert output_head(SimpleNamespace(get_output_embeddings=lambda: embedding)) is None
    assert output_head(SimpleNamespace(get_output_embeddings=lambda: None)) is None


@pytest.mark.parametrize("elements", [1, 40, 2**20])  # chunks of one position, of two, of all
@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("of", [torch.float32, torch.bfloat16])
def test_scores_are_those_of_a_whole_log_softmax(monkeypatch, elements, dtype, of):
    monkeypatch.setattr(module, "NORMALISED", {"cpu": elements})
    torch.manual_seed(0)
    logits_MV = torch.randn(7, 20).to(of)
    logits_MV[3] = 0.25  # all equal
    tokens_M = [[4], [5, 6], [], [0, 1], [int(logits_MV[4].argmax())], list(range(20)), [19]]
    log_p = logits_MV.log_softmax(-1, dtype=dtype)
    expected = [
        (float(log_p[place, token]), int(log_p[place].argmax()) == token)
        for place, tokens in enumerate(tokens_M)
        for token in tokens
    ]
    assert token_scores(logits_MV, tokens_M, dtype) == expected
    assert expected[3][1] and not expected[4][1]  # of equals the first


def test_of_equally_probable_tokens_the_first_is_greedy():
    logits_MV = torch.tensor([[0.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    assert [best for _, best in token_scores(logits_MV, [[0, 1, 2], [0, 1]])] == [False, True, False, True, False]


def test_no_number_is_greedy_only_where_argmax_says_so():
    logits_MV = torch.tensor([[0.0, float("nan"), 1.0]])
    scores = token_scores(logits_MV, [[0, 1, 2]])
    first = int(logits_MV.log_softmax(-1).argmax())
    assert [best for _, best in scores] == [token == first for token in range(3)]
