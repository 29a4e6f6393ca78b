"""The loop behind `ar` and `encdec`: scores of lm-eval's `hf`, from fewer rows and fewer projections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.adapters.base import Tally
from harness.adapters.exact_scores import ExactScores
from harness.backbones import BackboneError

AR: Any = Autoregressive
STOCK: Any = huggingface.HFLM
CONTEXT = "red blue green dog cat " * 12
CHOICES = [" red", " dog cat sun", " yes", " moon", " red blue", " 0 0"]
PAIRS = [(CONTEXT, choice) for choice in CHOICES] + [("say", choice) for choice in CHOICES]


def asked(texts, kind: Any = "loglikelihood"):
    return [Instance(kind, {}, text, number, ("task", number, 1)) for number, text in enumerate(texts)]


@pytest.fixture
def passes(monkeypatch):
    """(rows, scored positions) of each forward pass."""
    seen, plain = [], ExactScores.logits

    def noted(self, rows, positions):
        logits_MV = plain(self, rows, positions)
        seen.append((len(rows), len(logits_MV)))
        return logits_MV

    monkeypatch.setattr(ExactScores, "logits", noted)
    return seen


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("name", ["bloomz", "decoder_it", "mt0"])
@pytest.mark.parametrize("longest", [None, 24])  # tokens: with 24 the long contexts are cut from the left
def test_scores_are_those_of_hf(checkpoints, passes, name, batch_size, longest):
    folder, more = str(checkpoints[name]), {} if longest is None else {"max_length": longest}
    backend, ours = ("seq2seq", EncoderDecoder) if name == "mt0" else ("causal", AR)
    stock = STOCK(pretrained=folder, backend=backend, device="cpu", dtype="float32", batch_size=3, **more)
    mine: Any = ours(folder, device="cpu", batch_size=batch_size, **more)
    expected = stock.loglikelihood(asked(PAIRS), disable_tqdm=True)
    found = mine.loglikelihood(asked(PAIRS), disable_tqdm=True)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert mine.tally.truncated == (0 if longest is None else len(CHOICES))
    tokens = sum(len(mine.tok_encode(choice)) for _, choice in PAIRS)
    assert sum(scored for _, scored in passes) <= tokens + len(PAIRS)  # `hf` projects some 60 positions a row
    assert max(rows for rows, _ in passes) <= batch_size


@pytest.mark.parametrize("settings", [{"softmax_dtype": "float64"}, {"mixed_precision_dtype": "bfloat16"}])
def test_precision_is_that_of_hf(checkpoints, settings):
    folder = str(checkpoints["bloomz"])
    stock = STOCK(pretrained=folder, device="cpu", dtype="float32", batch_size=1, **settings)
    mine = AR(folder, device="cpu", **settings)
    expected, found = (
        [score for score, _ in model.loglikelihood(asked(PAIRS), disable_tqdm=True)] for model in (stock, mine)
    )
    coarse = "mixed_precision_dtype" in settings  # 8 bits: `hf` rounds the sum as well
    assert found == pytest.approx(expected, rel=2**-7 if coarse else 1e-6)


def test_requests_that_are_read_alike_share_a_row_and_are_scored_as_alone(checkpoints, passes):
    pairs = [("say red blue", " dog cat"), ("say red blue dog", " cat"), ("say red blue dog", " sun"), ("say", " red")]
    mine = AR(str(checkpoints["decoder_it"]), device="cpu", batch_size=64)
    together = [score for score, _ in mine.loglikelihood(asked(pairs), disable_tqdm=True)]
    assert passes == [(2, 3)] and mine.tally.rows == 2  # of 5 tokens
    stock = STOCK(pretrained=mine.pretrained, device="cpu", dtype="float32", logits_cache=False)
    assert together == pytest.approx([s for s, _ in stock.loglikelihood(asked(pairs), disable_tqdm=True)], rel=1e-5)
    passes.clear()
    alone = [mine.loglikelihood(asked([pair]), disable_tqdm=True)[0][0] for pair in pairs]
    assert together == pytest.approx(alone, rel=1e-5)
    passes.clear()
    apart = AR(str(checkpoints["decoder_it"]), device="cpu", batch_size=64, logits_cache=False)
    assert [s for s, _ in apart.loglikelihood(asked(pairs), disable_tqdm=True)] == pytest.approx(together, rel=1e-5)
    assert passes[0][0] == len(pairs)


def test_whole_texts_are_scored_everywhere_and_generation_is_as_it_was(checkpoints, passes):
    folder = str(checkpoints["bloomz"])
    stock, mine = STOCK(pretrained=folder, device="cpu", dtype="float32"), AR(folder, device="cpu")
    texts = asked([(CONTEXT,), ("say red",)], "loglikelihood_rolling")
    found, expected = (m.loglikelihood_rolling(texts, disable_tqdm=True) for m in (mine, stock))
    assert found == pytest.approx(expected, abs=1e-4)
    assert sum(scored for _, scored in passes) == sum(len(mine.tok_encode(*text.args)) for text in texts)
    ids = torch.ones((1, 7), dtype=torch.long)
    assert mine._model_call(ids).equal(stock._model_call(ids))


def test_the_hook_hears_of_a_batch_before_the_next_one_begins(checkpoints, monkeypatch):
    mine, told, plain = AR(str(checkpoints["bloomz"]), device="cpu", batch_size=2), [], ExactScores.logits

    def failing_at_the_second(self, rows, positions):
        if told:
            raise RuntimeError("out of memory")
        return plain(self, rows, positions)

    monkeypatch.setattr(ExactScores, "logits", failing_at_the_second)
    monkeypatch.setattr(mine.cache_hook, "add_partial", lambda *told_of: told.append(told_of))
    with pytest.raises(RuntimeError, match="out of memory"):
        mine.loglikelihood(asked(PAIRS), disable_tqdm=True)
    assert 2 <= len(told) < len(PAIRS) and {method for method, *_ in told} == {"loglikelihood"}
    monkeypatch.undo()
    scores = dict(zip(PAIRS, mine.loglikelihood(asked(PAIRS), disable_tqdm=True), strict=True))
    for _, pair, (score, greedy) in told:
        assert (pytest.approx(score, rel=1e-6), greedy) == scores[pair]


def test_auto_takes_fewer_rows_where_an_accelerator_runs_out_of_memory(checkpoints, passes, monkeypatch):
    mine, tried = AR(str(checkpoints["bloomz"]), device="cpu", batch_size="auto", max_batch_size=4), []

    def small(inps, *_):
        tried.append(len(inps))
        if len(inps) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return torch.zeros(len(inps), 1, 5)

    monkeypatch.setattr(mine, "_model_call", small)
    monkeypatch.setattr(AR, "_detect_batch_size", STOCK._detect_batch_size)
    found = mine.loglikelihood(asked(PAIRS), disable_tqdm=True)
    assert tried[0] == 4 and tried[-1] == 2 and max(rows for rows, _ in passes) == 2
    fixed = AR(str(checkpoints["bloomz"]), device="cpu", batch_size=2)
    assert found == fixed.loglikelihood(asked(PAIRS), disable_tqdm=True)


@pytest.mark.parametrize(
    "context,target,says",
    [
        ([3], [], "is empty; give every choice a text"),
        ([], [3], "nothing predicts the continuation"),
        ([3], [4] * 9, "has 9 tokens, the model holds 8"),
    ],
)
def test_what_cannot_be_scored_is_refused(checkpoints, context, target, says):
    mine = AR(str(checkpoints["bloomz"]), device="cpu", max_length=8)
    with pytest.raises(BackboneError, match=says):
        mine._loglikelihood_tokens([(("a", "b"), [3], [4]), (("say", " red"), context, target)], disable_tqdm=True)


SEQ2SEQ = {
    "t5": {"d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2, "d_model": 8},
    "bart": {}, "m2m_100": {}, "blenderbot": {}, "pegasus": {},
}  # fmt: skip
SHAPE = {
    "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 32,
}  # fmt: skip


def behind_an_encoder(model: Any, **settings: Any) -> Any:
    """What ExactScores sees of an adapter."""
    given = dict(
        model=model, backend="seq2seq", device=torch.device("cpu"), max_length=20, batch_size=3, logits_cache=True, tally=Tally(),
        rank=0, world_size=1, mixed_precision_dtype=None, softmax_dtype=None, cache_hook=SimpleNamespace(add_partial=lambda *_: None),
    )  # fmt: skip
    return SimpleNamespace(**{**given, **settings})


def test_a_decoder_that_begins_with_its_answer_s_last_token_is_refused():
    config = AutoConfig.for_model("mbart", vocab_size=50, **SHAPE)
    lm = behind_an_encoder(AutoModelForSeq2SeqLM.from_config(config).eval())
    with pytest.raises(BackboneError, match="MBartForConditionalGeneration puts an answer's last token"):
        ExactScores(lm).of([("a", [5, 6], [8])], quiet=True, batch_size=None)


@pytest.mark.parametrize(("world_size", "asked_for"), [(1, 3), (2, 4)])
def test_each_part_of_auto_n_has_its_own_size_and_processes_ask_equally_often(world_size, asked_for):
    """Short answers after long prompts, and long answers after short prompts: a size is that of its part's largest row in
    each respect, never more rows; a process without rows asks, too."""
    requests = [(n, [3] * 12, [n]) for n in range(4, 9)] + [(n, [3] * 4, [n] * 7) for n in range(9, 13)]
    extents = []

    def detect(requests: list[Any]) -> int:
        ((_, context, target),) = requests
        extents.append((len(context), len(target)))
        return 2 if len(target) > 1 else 3

    config = AutoConfig.for_model("bart", vocab_size=50, **SHAPE)
    lm = behind_an_encoder(
        AutoModelForSeq2SeqLM.from_config(config).eval(), batch_size="auto", batch_schedule=4, world_size=world_size, _detect_batch_size=detect
    )  # fmt: skip
    scores, sizes, plain = ExactScores(lm), [], ExactScores.logits
    scores.logits = lambda rows, positions: sizes.append(len(rows)) or plain(scores, rows, positions)  # type: ignore[method-assign]
    found = scores.of(requests, quiet=True, batch_size=None)
    assert lm.tally.rows == 5 and extents == [(12, 7), (4, 7), (4, 7), (1, 1)][:asked_for] and sizes == [2, 2, 1]
    extents.clear()
    assert scores.of([], quiet=True, batch_size=None) == [] and len(extents) == (0 if world_size == 1 else 4)
    alone = behind_an_encoder(lm.model, batch_size=1, logits_cache=False)
    assert [score for score, _ in ExactScores(alone).of(requests, quiet=True, batch_size=None)] == pytest.approx(
        [score for score, _ in found], rel=1e-5
    )


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_a_decoder_behind_an_encoder_reads_what_its_labels_make_it_read(family):
    """By the network's own road, one request at a time, without padding."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=50, **(SEQ2SEQ[family] or SHAPE))
    config.decoder_start_token_id = 0 if family == "t5" else config.decoder_start_token_id
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    requests = [("a", [5, 6, 7, 2], [8, 2]), ("b", [5, 6, 7, 2], [9, 2]), ("c", [5, 2], [4, 3, 6, 2]), ("d", [9], [7])]
    found = ExactScores(behind_an_encoder(model)).of(requests, quiet=True, batch_size=None)
    for (_, context, target), (score, greedy) in zip(requests, found, strict=True):
        ids = torch.tensor([target])
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([context]), labels=ids).logits[0].log_softmax(-1)
        assert score == pytest.approx(float(log_p[range(len(target)), target].sum()), rel=1e-5)
        assert greedy == log_p.argmax(-1).equal(ids[0])
