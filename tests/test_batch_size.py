"""`--batch_size auto` of `ar` and `encdec` on a CPU: reckoned from the rows at hand, without a trial."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from harness.adapters.autoregressive import PADDED, Autoregressive, EncoderDecoder
from harness.adapters.batch_size import BUDGET, row_bytes, rows_within

AR: Any = Autoregressive
ED: Any = EncoderDecoder
CONFIG = SimpleNamespace(hidden_size=10, num_hidden_layers=3, num_attention_heads=2, vocab_size=1000)
BLOOM_560M = SimpleNamespace(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, vocab_size=250_880)


def test_the_bytes_of_a_row_by_hand():
    activations, attention, logits = 7 * 10 * (24 + 6), 2 * 2 * 49, 3 * 5 * 1000
    assert row_bytes(CONFIG, 7, 5) == 4 * (activations + attention + logits)


def test_rows_fill_the_budget_and_are_one_at_least():
    one = row_bytes(CONFIG, 7, 5)
    assert [rows_within(CONFIG, 7, 5, 64, budget) for budget in (one - 1, one, 3 * one, 3 * one - 1, 99 * one)] == [
        1,
        1,
        3,
        2,
        64,
    ]


def test_a_bloom_takes_many_short_rows_and_few_long_ones():
    assert rows_within(BLOOM_560M, 60, 35, 64) == 8
    assert rows_within(BLOOM_560M, 2048, 2048, 64) == 1  # rolling: every position, 6 GB a row
    assert 64 * row_bytes(BLOOM_560M, 2048, 2048) > 400 * BUDGET  # what the trial on a CPU would have begun with


def asked(texts, kind: Any):
    return [Instance(kind, {}, text, number, ("task", number, 1)) for number, text in enumerate(texts)]


@pytest.fixture
def reckoned(monkeypatch):
    """(tokens, scored positions) of every reckoning."""
    from harness.adapters import autoregressive

    seen = []

    def noted(config, tokens, scored, most):
        seen.append((tokens, scored))
        return rows_within(config, tokens, scored, most)

    monkeypatch.setattr(autoregressive, "rows_within", noted)
    return seen


@pytest.mark.parametrize("name,adapter", [("decoder_it", AR), ("mt0", ED)])
def test_auto_reckons_with_what_is_asked_and_gives_the_same_answers(checkpoints, reckoned, name, adapter):
    auto, fixed = (adapter(str(checkpoints[name]), device="cpu", batch_size=size) for size in ("auto", 2))
    pairs = [("say red blue", " red"), ("say dog", " dog cat sun"), ("say", " yes")]
    scored = [model.loglikelihood(asked(pairs, "loglikelihood"), disable_tqdm=True) for model in (auto, fixed)]
    assert [score for score, _ in scored[0]] == pytest.approx([score for score, _ in scored[1]], rel=1e-5)
    assert reckoned and all(tokens < 20 and kept <= min(tokens, 6 + PADDED) for tokens, kept in reckoned)
    reckoned.clear()
    prompts = [("say red", {"until": ["\n"], "max_gen_toks": 6}), ("say dog cat", {"until": ["\n"], "max_gen_toks": 6})]
    written = [model.generate_until(asked(prompts, "generate_until"), disable_tqdm=True) for model in (auto, fixed)]
    assert written[0] == written[1]
    longest = max(len(auto.tok_encode(prompt)) for prompt, _ in prompts) + 6
    assert set(reckoned) == {(longest, 1)}  # a last position at a time
    assert auto._extent == (auto.max_length, auto.max_length)


def test_auto_reckons_with_every_position_of_whole_texts(checkpoints, reckoned):
    auto = AR(str(checkpoints["decoder_it"]), device="cpu", batch_size="auto")
    auto.loglikelihood_rolling(asked([("red blue green",)], "loglikelihood_rolling"), disable_tqdm=True)
    assert (auto.max_length, auto.max_length) in reckoned
