"""Every task of the suite with every adapter: made-up documents, tiny networks, a few items each."""

from __future__ import annotations

import math
from typing import Any

import pytest
from small_files import write_corpus, write_mirror
from test_tasks import runnable, values_of

from harness import registration
from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.adapters.diffusion import DiffusionXlmr
from harness.adapters.masked_lm import NarXlmr

ADAPTERS: dict[str, Any] = {
    "instruct_xmlr": NarXlmr,
    "diffusionllm": DiffusionXlmr,
    "decoder_it": Autoregressive,
    "mt0": EncoderDecoder,
}
BOUNDED = {"acc", "acc_norm", "acc_median", "acc_mean", "acc_max", "acc_min", "exact_match", "f1", "rouge_l", "pass@1"}

MAYBE_ABSENT = "language_agreement"  # of one answer without letters there is no language


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Any]:
    """All tasks, loaded once; answers of at most four tokens."""
    root = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYORDER_CORPUS", str(write_corpus(root / "corpus")))
        patch.setenv("ANYORDER_DATA", str(write_mirror(root / "mirror")))
        manager = registration.task_manager(["mini_nli"])
        loaded = dict(manager.load(runnable(manager))["tasks"])
    for task in loaded.values():
        if task.OUTPUT_TYPE == "generate_until":
            task.config.generation_kwargs = {**task.config.generation_kwargs, "max_gen_toks": 4}
    return loaded


@pytest.mark.parametrize("system", ADAPTERS)
def test_every_task_runs(tasks, checkpoints, system):
    from lm_eval import evaluator

    model = ADAPTERS[system](str(checkpoints[system]), batch_size=32)
    result = dict(evaluator.evaluate(model, {"tasks": tasks, "groups": {}, "group_map": {}}, limit=1) or {})
    values = values_of(result, list(tasks))
    assert {task for task, _ in values} == set(tasks)
    assert all(math.isfinite(value) for (_, metric), value in values.items() if not metric.startswith(MAYBE_ABSENT))
    assert all(0 <= value <= 1 for (_, metric), value in values.items() if metric in BOUNDED)
    assert model.tally.unscored == 0 and model.tally.scored > 0


def test_an_encoder_decoder_scores_the_end_where_the_convention_says_so(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    model = EncoderDecoder(str(checkpoints["mt0"]))
    scored = {}
    for convention in ("encoder_decoder", "plain"):
        manager = registration.task_manager(
            ["xp3_rte"], metadata={"convention": convention, "prompts": "should assume"}
        )
        task = manager.load(["xp3_rte"])["tasks"]["xp3_rte"]
        document = task.eval_docs[0]
        option = task.doc_to_choice(document)[0]
        ends = model.tok_encode(option, add_special_tokens=False)[-1] == model.tokenizer.eos_token_id
        scored[convention] = (option, ends, task.doc_to_text(document))
    assert scored["encoder_decoder"][:2] == ("Yes</s>", True) and scored["plain"][:2] == ("Yes", False)
    assert scored["encoder_decoder"][2] == scored["plain"][2]
