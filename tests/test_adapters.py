"""Adapters through lm-eval's request types: pair encoding, truncation, batch and order, equality with stock lm-eval."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval.models  # noqa: F401
import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.tasks._yaml_loader import load_yaml

from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.adapters.base import NARROW, NoCheckpoint, fit_threads
from harness.adapters.diffusion import DiffusionXlmr
from harness.adapters.masked_lm import NarXlmr
from harness.backbones import BackboneError
from harness.rows import ScoringError

AR: Any = Autoregressive
ED: Any = EncoderDecoder

PAIRS = [
    ("say red blue", " red"),
    ("say red blue", " blue"),
    ("say dog", " dog cat sun"),
    ("", " yes"),
    ("say ", "moon tree"),
]
MASKED = {"instruct_xmlr": NarXlmr, "diffusionllm": DiffusionXlmr}


def requests(pairs, kind: Any = "loglikelihood"):
    return [Instance(kind, {"targets": "dog cat"}, pair, i, ("task", i, 1)) for i, pair in enumerate(pairs)]


@pytest.fixture(scope="module", params=sorted(MASKED))
def adapter(request, checkpoints):
    return MASKED[request.param](str(checkpoints[request.param]))


def test_scores_do_not_depend_on_batch_size_or_order(adapter, checkpoints):
    scores = np.array([s for s, _ in adapter.loglikelihood(requests(PAIRS), disable_tqdm=True)])
    backwards = [s for s, _ in adapter.loglikelihood(requests(PAIRS)[::-1], disable_tqdm=True)][::-1]
    one = type(adapter)(adapter.pretrained, batch_size=1)
    alone = [s for s, _ in one.loglikelihood(requests(PAIRS), disable_tqdm=True)]
    assert (scores < 0).all() and np.allclose(scores, backwards, atol=1e-4) and np.allclose(scores, alone, atol=1e-4)


def test_the_length_term_is_added_once(adapter):
    from harness.decoders.length import length_logprobs

    with_length = [s for s, _ in adapter.loglikelihood(requests(PAIRS), disable_tqdm=True)]
    adapter.configure(length_term=False)
    try:
        without = [s for s, _ in adapter.loglikelihood(requests(PAIRS), disable_tqdm=True)]
    finally:
        adapter.configure()
    for request, a, b in zip(requests(PAIRS), with_length, without, strict=True):
        item = adapter.encoder.pairs([request])[0]
        logprob = length_logprobs(adapter.backbone, [item.prompt])[0]
        assert a - b == pytest.approx(logprob[len(item.target)], abs=1e-5)
        assert np.exp(logprob[:64]).sum() == pytest.approx(1, abs=1e-5)  # the head's 64 classes are a distribution


def test_answers_do_not_depend_on_batch_size_or_order(adapter):
    asked = [(text, {"until": ["\n"], "max_gen_toks": 12}) for text in ("say red", "say dog cat sun", "say moon tree")]
    together = adapter.generate_until(requests(asked, "generate_until"), disable_tqdm=True)
    assert together == adapter.generate_until(requests(asked[::-1], "generate_until"), disable_tqdm=True)[::-1]
    alone = type(adapter)(adapter.pretrained, batch_size=1)
    assert together == alone.generate_until(requests(asked, "generate_until"), disable_tqdm=True)


def test_the_pair_is_encoded_whole_with_a_tokenizer_that_appends_eos(adapter, monkeypatch):
    from tokenizers.processors import TemplateProcessing

    tokenizer = adapter.tokenizer
    plain = adapter.encoder.pairs(requests(PAIRS))
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    )
    try:
        assert tokenizer("red")["input_ids"][-1] == tokenizer.eos_token_id
        assert adapter.encoder.pairs(requests(PAIRS)) == plain
    finally:
        tokenizer._tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    for (context, continuation), item in zip(PAIRS, plain, strict=True):
        assert tokenizer.decode([*item.prompt, *item.target]) == (context + continuation).removeprefix(" ")


def test_a_long_context_is_cut_from_the_left_and_counted(adapter):
    adapter.tally = type(adapter.tally)()
    (long,) = requests([("red " * 400 + "blue", " dog")])
    item = adapter.encoder.pairs([long])[0]
    assert adapter.tally.truncated == 1
    assert len(item.prompt) + len(item.target) + adapter.backbone.layout.overhead == adapter.max_length
    assert adapter.tokenizer.decode(item.prompt).endswith("blue")
    ids = adapter.backbone.ids
    canvas = adapter.backbone.layout.pack([(item.prompt, item.target)], ids)
    assert canvas.tokens_BT[0, 0] == ids.bos and canvas.tokens_BT.shape[1] == adapter.max_length


def test_rolling_likelihood_covers_every_token_once(adapter):
    text = "red blue green " * 150
    adapter.configure(scorer="pll")
    try:
        seen = []
        plain = adapter._score
        adapter._score = lambda items, *a, **k: seen.extend(items) or plain(items, *a, **k)
        (total,) = adapter.loglikelihood_rolling(requests([(text,)], "loglikelihood_rolling"), disable_tqdm=True)
        assert (
            sum(len(item.target) for item in seen) == len(adapter.encoder.ids(text))
            and np.isfinite(total)
            and total < 0
        )
    finally:
        del adapter._score
        adapter.configure()


def test_stop_strings_oracle_and_fixed_lengths(adapter):
    prompt = "say red blue"
    ask = lambda **more: requests([(prompt, {"until": [], "max_gen_toks": 9, **more})], "generate_until")  # noqa: E731
    fixed = adapter.generate_until(ask(length="fixed"), disable_tqdm=True)[0]
    tokens = adapter.decode_tokens(
        [adapter.encoder.ids(prompt)], adapter.settings.changed({"length": "fixed", "max_gen_toks": 9}), [None]
    )[0]
    assert len(tokens) <= 9 and adapter.tokenizer.decode(tokens, skip_special_tokens=True) == fixed
    wanted = len(adapter.encoder.ids(" dog cat"))
    settings = adapter.settings.changed({"length": "oracle"})
    (oracle,) = adapter.decode_tokens([adapter.encoder.ids(prompt)], settings, [wanted])
    assert len(oracle) <= wanted
    if len(fixed) > 2:
        stop = fixed[1:3]
        cut = adapter.generate_until(
            requests([(prompt, {"until": [stop], "max_gen_toks": 9, "length": "fixed"})], "generate_until"),
            disable_tqdm=True,
        )[0]
        assert cut == fixed.split(stop)[0]


def test_bad_requests_get_one_sentence(adapter):
    with pytest.raises(ScoringError, match="continuation to score is empty"):
        adapter.loglikelihood(requests([("say", " ")]), disable_tqdm=True)
    with pytest.raises(ScoringError, match="mask token"):
        adapter.loglikelihood(requests([("say <mask>", " red")]), disable_tqdm=True)
    with pytest.raises(ScoringError, match="mask token"):
        adapter.loglikelihood_rolling(requests([("say <mask> red",)], "loglikelihood_rolling"), disable_tqdm=True)
    with pytest.raises(ScoringError, match="text to score is empty"):
        adapter.loglikelihood_rolling(requests([("",)], "loglikelihood_rolling"), disable_tqdm=True)
    with pytest.raises(ScoringError, match="the model holds"):
        adapter.loglikelihood(requests([("say", " red" * 400)]), disable_tqdm=True)
    with pytest.raises(ValueError, match="Did you mean 'steps'"):
        adapter.configure(step=3)
    with pytest.raises(ValueError, match="steps=0"):
        adapter.configure(steps=0)


def test_every_scorer_takes_the_same_requests(adapter):
    for settings in (
        {"scorer": "pll_word_l2r"}, {"scorer": "left_to_right"}, {"scorer": "confidence_chain"}, {"scorer": "one_pass"},
        {"compat": "llada"}, {"compat": "dream"}, {"compat": "max_beam"}, {"racing": True, "rows": 8},
    ):  # fmt: skip
        adapter.configure(**settings)
        try:
            adapter.tally, adapter.score_log = type(adapter.tally)(), []
            scores = [s for s, _ in adapter.loglikelihood(requests(PAIRS), disable_tqdm=True)]
            (total,) = adapter.loglikelihood_rolling(
                requests([("red blue green " * 60,)], "loglikelihood_rolling"), disable_tqdm=True
            )
        finally:
            adapter.configure()
        assert np.isfinite(scores).all() and max(scores) < 0 and np.isfinite(total), settings
        assert len(adapter.score_log) == len(PAIRS) and adapter.tally.kind in ("exact", "bound", "pseudo")


def test_words_are_whole_for_the_word_scorer(adapter):
    asked = requests([("say", " tree house")])
    item = adapter.encoder.pairs(asked, words=True)[0]
    assert adapter.encoder.pairs(asked)[0].words == ()
    parts = [
        adapter.tokenizer.decode([t for t, w in zip(item.target, item.words, strict=True) if w == n]) for n in (0, 1)
    ]
    assert [part.strip() for part in parts] == ["tree", "house"]


def test_the_log_of_questions_groups_choices_and_counts_sent_twice_once(adapter):
    from harness.adapters.answers import summary_of

    pairs = [("say dog", " dog cat sun moon tree house fish"), ("say dog", " dog cat sun moon tree fish house")]
    asked = [Instance("loglikelihood", {}, pair, i, ("task", 7, 1)) for i, pair in enumerate(pairs)]
    adapter.score_log = []
    adapter.configure(rows=8)
    try:
        adapter.loglikelihood([*asked, asked[0]], disable_tqdm=True)
    finally:
        adapter.configure()
    (line,) = adapter.score_log
    assert line["doc_id"] == 7 and [c["choice"] for c in line["choices"]] == [0, 1]
    assert 0 <= line["flip_probability"] <= 1 and line["choices"][0]["stderr"] > 0
    summary = summary_of([line])
    assert summary is not None and summary["questions"] == 1 and summary["rows_asked_per_choice"] <= 8
    assert summary_of([]) is None


def test_a_tokenizer_without_a_mask_token_is_refused(checkpoints, tmp_path):
    import shutil

    folder = tmp_path / "no_mask"
    shutil.copytree(checkpoints["instruct_xmlr"], folder)
    for name in ("checkpoint.json", "recipe.yaml"):
        (folder / name).unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("mask_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for special in ("special_tokens_map.json",):
        (folder / special).unlink(missing_ok=True)
    with pytest.raises(BackboneError, match="no mask token"):
        NarXlmr(str(folder))


def test_settings_of_scoring_name_the_known_ones(checkpoints):
    folder = str(checkpoints["instruct_xmlr"])
    with pytest.raises(ValueError, match="unknown scorer 'any_ordr'. Did you mean 'any_order'.*confidence_chain"):
        NarXlmr(folder, scorer="any_ordr")
    with pytest.raises(ValueError, match="unknown compat estimator 'lada'. Did you mean 'llada'"):
        NarXlmr(folder, compat="lada")
    with pytest.raises(ValueError, match="racing=true works with"):
        NarXlmr(folder, scorer="pll", racing=True)
    with pytest.raises(ValueError, match="rows=0"):
        NarXlmr(folder, rows=0)


def test_constructor_errors_are_sentences(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_RESULTS", str(tmp_path))
    with pytest.raises(NoCheckpoint, match="make tables"):
        NarXlmr()
    with pytest.raises(BackboneError, match="--model ar"):
        NarXlmr(str(checkpoints["decoder_it"]))
    with pytest.raises(BackboneError, match="--model nar_xlmr"):
        AR(str(checkpoints["instruct_xmlr"]))
    with pytest.raises(BackboneError, match="--model encdec"):
        AR(str(checkpoints["mt0"]))
    with pytest.raises(ValueError, match="batch_size"):
        NarXlmr(str(checkpoints["instruct_xmlr"]), batch_size="many")
    with pytest.raises(ValueError, match="dtype"):
        NarXlmr(str(checkpoints["instruct_xmlr"]), dtype="float99")


def test_a_narrow_network_takes_one_thread_unless_told(monkeypatch):
    def threads(*widths, device="cpu"):
        torch.set_num_threads(2)
        for width in widths:
            fit_threads(SimpleNamespace(hidden_size=width), device)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        assert threads(NARROW) == 2  # the tests run with OMP_NUM_THREADS
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert [threads(NARROW + 1), threads(NARROW, device="cuda")] == [2, 2]
        assert [threads(NARROW), threads(NARROW, NARROW, NARROW + 1), threads(NARROW + 1, NARROW)] == [1, 2, 1]
    finally:
        torch.set_num_threads(before)


def test_the_newest_local_checkpoint_is_used_and_named(checkpoints, tmp_path, monkeypatch, capsys):
    import shutil

    shutil.copytree(checkpoints["instruct_xmlr"], tmp_path / "toy" / "checkpoints" / "instruct_xmlr-0")
    shutil.copytree(checkpoints["instruct_xmlr"], tmp_path / "smoke" / "checkpoints" / "instruct_xmlr-9")
    monkeypatch.setenv("ANYORDER_RESULTS", str(tmp_path))
    adapter = NarXlmr()
    assert adapter.pretrained.endswith("instruct_xmlr-0") and "instruct_xmlr-0" in capsys.readouterr().out


@pytest.mark.parametrize("name,ours", [("bloomz", AR), ("mt0", ED)])
def test_autoregressive_scores_and_answers_equal_stock_lm_eval(checkpoints, name, ours):
    from lm_eval.models import huggingface

    folder = str(checkpoints[name])
    stock_class: Any = huggingface.HFLM
    stock = stock_class(
        pretrained=folder, backend="seq2seq" if name == "mt0" else "causal", device="cpu", dtype="float32"
    )
    mine = ours(folder, device="cpu")
    pairs = PAIRS[:3]
    found, expected = (model.loglikelihood(requests(pairs), disable_tqdm=True) for model in (mine, stock))
    assert [greedy for _, greedy in found] == [
        greedy for _, greedy in expected
    ]  # rounding: other shapes of one product
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], rel=1e-6)
    asked = requests([("say red", {"until": ["\n"], "max_gen_toks": 6})], "generate_until")
    assert mine.generate_until(asked, disable_tqdm=True) == stock.generate_until(asked, disable_tqdm=True)
    assert mine.tally.kind == "exact" and mine.tally.scored == 4
    if name == "bloomz":
        texts = requests([("red blue green " * 150,)], "loglikelihood_rolling")
        whole = [model.loglikelihood_rolling(texts, disable_tqdm=True) for model in (mine, stock)]
        assert whole[0] == pytest.approx(whole[1], rel=1e-6)


def test_an_oracle_length_asked_for_by_the_task_is_remembered(checkpoints):
    adapter = NarXlmr(str(checkpoints["instruct_xmlr"]))
    asked = {"until": ["\n"], "max_gen_toks": 6, "length": "oracle", "steps": 2, "do_sample": False, "temperature": 0.0}
    adapter.generate_until(requests([("say red", asked)], "generate_until"), disable_tqdm=True)
    assert adapter.tally.oracle_length and (adapter.tally.settings or {}).get("steps") == 2
    with pytest.raises(ValueError, match="Did you mean 'steps'"):
        adapter.generate_until(requests([("say", {**asked, "step": 3})], "generate_until"), disable_tqdm=True)
    with pytest.raises(ValueError, match="whole number"):
        adapter.configure(rows="many")


def test_the_model_s_temperature_counts_where_a_task_names_none(checkpoints):
    """Our tasks say `do_sample: false`, which lm-eval reads as temperature 0."""
    path = Path(__file__).parents[1] / "tasks/z_bench/_z_bench.yaml"
    task: Any = {**load_yaml(path, resolve_func=False)["generation_kwargs"], "max_gen_toks": 6}
    assert task["do_sample"] is False and "temperature" not in task

    def answers(given: dict[str, Any], **settings: Any) -> list[str]:
        model: Any = DiffusionXlmr(str(checkpoints["diffusionllm"]), **settings)
        return model.generate_until(
            requests([(text, given) for text in ("say red", "say blue dog", "one two")], "generate_until"),
            disable_tqdm=True,
        )

    greedy = answers(task)
    drawn = [answers(task, temperature=5.0, seed=seed) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1] and greedy not in drawn
    assert answers({**task, "temperature": 0.0}, temperature=5.0) == greedy
    assert answers(task, seed=2) == greedy


def test_a_judge_or_a_chat_that_says_greedy_gets_greedy(checkpoints):
    from harness.judges.answers import Writing, write_answers

    folder = str(checkpoints["diffusionllm"])
    plain, warm = DiffusionXlmr(folder), DiffusionXlmr(folder, temperature=5.0)
    dialogues: Any = [[{"role": "user", "content": text}] for text in ("say red", "say blue dog")]
    greedy, drawn = ([Writing(6, temperature=t, seed=1)] * 2 for t in (0.0, 5.0))
    assert write_answers(warm, dialogues, greedy) == write_answers(plain, dialogues, greedy)
    assert write_answers(warm, dialogues, drawn) != write_answers(plain, dialogues, greedy)
    assert plain.identity() != warm.identity()


def test_bfloat16_runs_and_agrees_roughly(checkpoints):
    exact = NarXlmr(str(checkpoints["instruct_xmlr"]))
    half = NarXlmr(str(checkpoints["instruct_xmlr"]), dtype="bfloat16")
    a, b = ([s for s, _ in m.loglikelihood(requests(PAIRS[:3]), disable_tqdm=True)] for m in (exact, half))
    assert np.allclose(a, b, rtol=0.05) and next(half.backbone.model.parameters()).dtype == torch.bfloat16


def test_a_compiled_network_writes_the_same_and_is_told_apart(checkpoints, monkeypatch):
    plain, traced = torch.compile, []

    def compiled(*arguments, **options):  # traced by torch's own compiler, run without code generation
        traced.append(options)
        return plain(*arguments, **options, backend="eager")

    monkeypatch.setattr(torch, "compile", compiled)
    one, other = (NarXlmr(str(checkpoints["instruct_xmlr"]), compile=flag) for flag in (False, True))
    asked = [(f"say {text}", {"until": ["\n"], "max_gen_toks": 6, "steps": 3}) for text in ("red", "dog cat sun")]
    first, second = (m.generate_until(requests(asked, "generate_until"), disable_tqdm=True) for m in (one, other))
    assert first == second and traced == [{"dynamic": True}]
    assert other.identity() == {**one.identity(), "compiled": True}
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BackboneError, match="compile=true needs a C\\+\\+ compiler"):
        NarXlmr(str(checkpoints["instruct_xmlr"]), compile=True, device="cpu")


TWO = """
import sys, json
from lm_eval.api.instance import Instance
from lm_eval import simple_evaluate
from harness.registration import task_manager
manager = task_manager(["mini_story"])
r = simple_evaluate(model="nar_xlmr", model_args={"pretrained": sys.argv[1], "rows": 8}, tasks=["mini_story"], task_manager=manager,
                    bootstrap_iters=0, device="cpu", batch_size=8)
if r is not None:
    samples = sorted(r["samples"]["mini_story"], key=lambda s: s["doc_id"])
    print("RESULT", json.dumps([[s["doc_id"], s["acc"], *(float(x[0]) for x in s["filtered_resps"])] for s in samples]))
"""


@pytest.mark.slow
def test_two_processes_give_the_same_numbers(checkpoints, tmp_path):
    from trainers.world import build

    build(tmp_path / "corpus", records=200, items_scale=0.005)
    script = tmp_path / "two.py"
    script.write_text(TWO)
    env = {
        **os.environ,
        "ANYORDER_CORPUS": str(tmp_path / "corpus"),
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": os.getcwd(),
    }
    folder = str(checkpoints["instruct_xmlr"])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    outputs = [
        subprocess.run(
            [sys.executable, *how, str(script), folder], env=env, capture_output=True, text=True, timeout=900
        )
        for how in ([], launch)
    ]
    lines = [[line for line in done.stdout.splitlines() if line.startswith("RESULT")] for done in outputs]
    assert lines[0] and lines[1], [done.stderr[-2000:] for done in outputs]
    one, two = (np.array(json.loads(found[0].removeprefix("RESULT "))) for found in lines)
    assert len(one) > 4 and np.allclose(one, two, atol=1e-4)
