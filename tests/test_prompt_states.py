"""Prompts read once: the same states, the same answers, fewer tokens; only where that is exact."""

import numpy as np
import pytest
import torch
from conftest import masked_network, pass_widths, special

from harness.adapters.settings import MaskedSettings
from harness.adapters.writing import write
from harness.backbones import MaskedBackbone
from harness.canvas import Layout
from harness.decoders import DECODERS
from harness.lengths import make_length_head
from harness.prompt_states import answer_canvas, answer_only
from harness.rows import RowEngine
from harness.scorers import Item, make_scorer
from harness.scorers.queue import score_all

PROMPTS = [[20, 21, 22], [40] * 30, [50, 51, 52, 53, 54]]


def isolated(tokenizer, family="xlm-roberta-xl", target_position=0):
    network = masked_network(tokenizer, family=family)
    torch.manual_seed(0)
    head = make_length_head("pooled_embedding", 16, 20)
    layout = Layout("isolated", target_position)
    return MaskedBackbone(network, special(tokenizer), layout, max_length=96, length_head=head)


@pytest.mark.parametrize("target_position", [0, 40, None])
@pytest.mark.parametrize("family", ["xlm-roberta-xl", "xlm-roberta", "bert"])
@torch.inference_mode()
def test_states_behind_a_remembered_prompt_are_the_same(tokenizer, family, target_position):
    backbone = isolated(tokenizer, family, target_position)
    assert backbone.remembers
    targets = [[60 + i] * n for i, n in enumerate((4, 9, 6))]
    canvas = backbone.layout.pack(list(zip(PROMPTS, targets, strict=True)), backbone.ids)
    _, memory = backbone.hidden_and_states(backbone.layout.prompt_only(PROMPTS, backbone.ids))
    answer = answer_canvas(backbone.layout, targets, memory, backbone.ids)
    assert answer.tokens_BT.shape[1] == 1 + 9 + 1 and not answer.prompt_BT.any()
    for name in ("tokens_BT", "target_BT", "eos_BT", "positions_BT"):
        for row, prompt in enumerate(PROMPTS):
            start, end = len(prompt) + 2, len(prompt) + 4 + len(targets[row])
            whole = getattr(canvas, name)[row, start:end]
            assert whole.equal(getattr(answer, name)[row, : end - start]), name
    cut = answer_only(canvas, memory)
    for name in ("target_BT", "eos_BT", "attend_BT", "prompt_BT"):
        assert getattr(cut, name).equal(getattr(answer, name)), name
    for name in ("tokens_BT", "positions_BT"):
        assert (getattr(cut, name) * cut.attend_BT).equal(getattr(answer, name) * answer.attend_BT), name
    for rows in (torch.arange(3), torch.tensor([2, 0])):
        whole, part = canvas.select(rows), answer.select(rows)
        full, cached = backbone.hidden(whole)[whole.target_BT], backbone.hidden(part)[part.target_BT]
        assert torch.allclose(full, cached, atol=1e-5)


@torch.inference_mode()
def test_a_prompt_alone_has_the_states_the_length_head_reads(tokenizer):
    backbone = isolated(tokenizer)
    canvas = backbone.layout.prompt_only(PROMPTS, backbone.ids)
    hidden, _ = backbone.hidden_and_states(canvas)
    assert torch.allclose(hidden[canvas.attend_BT], backbone.hidden(canvas)[canvas.attend_BT], atol=1e-5)


@pytest.mark.parametrize("length", ["predicted", "fixed", "eos"])
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_answers_are_the_same_with_and_without(tokenizer, decoder, length):
    backbone, answers = isolated(tokenizer), []
    for cache in ("auto", "off"):
        settings = MaskedSettings(
            decoder=decoder, length=length, length_beam=2, max_gen_toks=8, steps=4, prompt_cache=cache, temperature=0.7
        )
        answers.append(write(backbone, PROMPTS, settings, [None] * 3, ["a", "b", "c"]))
    assert answers[0] == answers[1]


def test_the_prompt_is_read_once(tokenizer, monkeypatch):
    backbone = isolated(tokenizer)
    widths = pass_widths(backbone, monkeypatch)
    settings = MaskedSettings(length="fixed", max_gen_toks=8, steps=4)
    write(backbone, PROMPTS, settings, [None] * 3, ["a", "b", "c"])
    assert widths == [32, 10, 10, 10, 10]
    widths.clear()
    write(backbone, PROMPTS, settings.changed({"steps": 1}), [None] * 3, ["a", "b", "c"])
    assert widths == [42]  # one pass over everything is cheaper than two


def test_a_prompt_that_sees_the_answer_is_never_remembered(tokenizer, network):
    joint = MaskedBackbone(network, special(tokenizer), Layout(), max_length=96)
    assert not joint.remembers


def test_a_decoder_that_steps_do_not_bound_still_remembers():
    assert MaskedSettings(steps=1).one_pass and MaskedSettings(steps=1, decoder="confidence").one_pass
    for settings in ({"decoder": "left_to_right"}, {"decoder": "confidence", "threshold": 0.9}, {"steps": 2}):
        assert not MaskedSettings(**{"steps": 1, **settings}).one_pass


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("target_position", [0, 40])
def test_scores_are_the_same_with_and_without(tokenizer, target_position, batch_size, monkeypatch):
    """Rows of one prompt share its reading: equal values, a fraction of the tokens."""
    backbone, tokens, plain = isolated(tokenizer, target_position=target_position), [], MaskedBackbone._forward

    def counted(self, canvas, arguments):
        tokens[-1] += canvas.tokens_BT.numel()
        return plain(self, canvas, arguments)

    monkeypatch.setattr(MaskedBackbone, "_forward", counted)
    queue = [
        Item(tuple(prompt), target, f"q{i}")
        for i, prompt in enumerate([*PROMPTS, [30, 31] * 20])
        for target in ((60, 61, 62), (63, 64), (65,), (60, 61, 62, 63, 64, 65))
    ]
    found = []
    for remember in (True, False):
        tokens.append(0)
        engine = RowEngine(backbone, batch_size, remember=remember)
        found.append([s.logprob for s in score_all(make_scorer("any_order", rows=32, seed=0), queue, engine)])
    assert np.allclose(*found, atol=1e-5) and 2 * tokens[0] < tokens[1]
