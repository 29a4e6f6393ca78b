"""`--batch_size auto` of `ar` and `encdec` on a CPU: reckoned from the rows at hand, without a trial."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from transformers import AutoConfig

from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.adapters.batch_size import BUDGET, Extent, row_bytes, rows_within

AR: Any = Autoregressive
ED: Any = EncoderDecoder
CONFIG = AutoConfig.for_model("gpt2", n_embd=10, n_layer=3, n_head=2, vocab_size=1000)
BLOOM_560M = AutoConfig.for_model("bloom", hidden_size=1024, n_layer=24, n_head=16, vocab_size=250_880)


def test_the_bytes_of_a_row_by_hand():
    activations, attention, logits = 7 * 10 * (24 + 6), 2 * 2 * 49, 2 * 5 * 1000
    assert row_bytes(CONFIG, Extent(7, 5)) == 4 * (activations + attention + logits)
    assert row_bytes(CONFIG, Extent(7, 5, beams=3)) == 12 * (activations + attention + logits)
    assert row_bytes(CONFIG, Extent(7, 40)) == row_bytes(CONFIG, Extent(7, 7))


def test_rows_fill_the_budget_and_are_one_at_least():
    extent = Extent(7, 5)
    one = row_bytes(CONFIG, extent) or 0
    budgets = (one - 1, one, 3 * one, 3 * one - 1, 99 * one)
    assert [rows_within(CONFIG, extent, 64, budget) for budget in budgets] == [1, 1, 3, 2, 64]
    assert rows_within(CONFIG, Extent(7, 5, beams=8), 64) == 8 and rows_within(CONFIG, Extent(7, 5, beams=99), 64) == 1


def test_a_bloom_takes_many_short_rows_and_few_long_ones():
    assert rows_within(BLOOM_560M, Extent(60, 35), 64) == 12
    assert rows_within(BLOOM_560M, Extent(2048, 2048), 64) == 1  # rolling: every position, 5 GB a row
    assert 64 * (row_bytes(BLOOM_560M, Extent(2048, 2048)) or 0) > 300 * BUDGET  # what a trial would have begun with


@pytest.mark.parametrize(
    "family", ["opt", "gpt2", "t5", "mt5", "falcon", "llama", "mamba", "rwkv", "gemma3", "llama4", "t5gemma"]
)
def test_every_family_has_a_number(family):
    assert 1 <= rows_within(AutoConfig.for_model(family), Extent(50, 10), 64) <= 64


def test_a_configuration_without_a_shape_takes_one_row():
    class Strange:
        def get_text_config(self, decoder):
            return self

    assert rows_within(Strange(), Extent(5, 1), 64) == 1


def asked(texts, kind: Any):
    return [Instance(kind, {}, text, number, ("task", number, 1)) for number, text in enumerate(texts)]


@pytest.fixture
def reckoned(monkeypatch):
    """What every reckoning was made with."""
    from harness.adapters import autoregressive

    seen = []

    def noted(config, extent, most):
        seen.append(extent)
        return rows_within(config, extent, most)

    monkeypatch.setattr(autoregressive, "rows_within", noted)
    return seen


@pytest.mark.parametrize("name,adapter", [("decoder_it", AR), ("mt0", ED)])
def test_auto_reckons_with_what_is_asked_and_gives_the_same_answers(checkpoints, reckoned, name, adapter):
    auto, fixed = (adapter(str(checkpoints[name]), device="cpu", batch_size=size) for size in ("auto", 2))
    pairs = [("say red blue", " red"), ("say dog", " dog cat sun"), ("say", " yes")]
    scored = [model.loglikelihood(asked(pairs, "loglikelihood"), disable_tqdm=True) for model in (auto, fixed)]
    assert [score for score, _ in scored[0]] == pytest.approx([score for score, _ in scored[1]], rel=1e-5)
    longest = max(len(auto.tok_encode(target)) for _, target in pairs)
    assert reckoned and all(extent.tokens < 20 and longest <= extent.scored <= longest + 1 for extent in reckoned)
    reckoned.clear()
    prompts = [("say red", {"until": ["\n"], "max_gen_toks": 6}), ("say dog cat", {"until": ["\n"], "max_gen_toks": 6})]
    written = [model.generate_until(asked(prompts, "generate_until"), disable_tqdm=True) for model in (auto, fixed)]
    assert written[0] == written[1]
    longest = max(len(auto.tok_encode(prompt)) for prompt, _ in prompts) + 6
    assert set(reckoned) == {Extent(longest, 1)}  # a last position at a time
    assert auto._extent == Extent(auto.max_length, auto.max_length)


def test_auto_reckons_with_every_position_of_whole_texts(checkpoints, reckoned):
    auto = AR(str(checkpoints["decoder_it"]), device="cpu", batch_size="auto")
    auto.loglikelihood_rolling(asked([("red blue green",)], "loglikelihood_rolling"), disable_tqdm=True)
    assert Extent(auto.max_length, auto.max_length) in reckoned


def test_beams_and_networks_that_project_everything_count(checkpoints, reckoned):
    auto = AR(str(checkpoints["decoder_it"]), device="cpu", batch_size="auto")
    auto.generate_until(
        asked([("say", {"until": ["\n"], "max_gen_toks": 6, "num_beams": 4})], "generate_until"), disable_tqdm=True
    )
    assert [extent.beams for extent in reckoned] == [4]
    reckoned.clear()
    auto._exact._head = None
    auto.loglikelihood(asked([("say red blue green", " red")], "loglikelihood"), disable_tqdm=True)
    assert reckoned and all(extent.scored == extent.tokens for extent in reckoned)
