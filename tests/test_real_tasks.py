"""Every task on the real files with every adapter, by the `run` command itself: 20 items each, tiny random networks."""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from shared_files import REAL, needs_real

from harness import data, sandbox
from harness.__main__ import parser, run
from harness.data_report import document_arguments
from harness.records import RunRecord, read_run
from harness.registration import MODELS, task_manager
from harness.selection import asked_for, leaf_tasks

pytestmark = needs_real
LIMIT = 20
ALL, RUN = 184, 76  # tasks of ours, and those of them that the mirror can run
HUMANEVAL = ("anyorder_humaneval", "im_humaneval")
NO_FILE = "in the mirror, there is no |holds none of its files"
NO_FILES = """
    anyorder_gigaword anyorder_mlsum anyorder_mlsum_es xp3_mlsum_es anyorder_xlsum
    anyorder_mgsm_bn anyorder_mgsm_sw anyorder_mgsm_te
    anyorder_wmt14_en_fr anyorder_wmt14_en_hi anyorder_wmt14_fr_en anyorder_wmt14_hi_en
    xp3_wmt14_en_fr xp3_wmt14_en_hi xp3_wmt14_fr_en xp3_wmt14_hi_en
    diffusionllm_bbh_nlp_1shot diffusionllm_mmlu_1shot diffusionllm_mmlu_2shot
    diffusionllm_iwslt14_de_en_3shot diffusionllm_iwslt14_en_de_3shot
    xp3_anli_r1 xp3_anli_r2 xp3_anli_r3 xp3_anli_permuted xp3_anli_ablated
    xp3_cb xp3_cb_permuted xp3_cb_ablated xp3_rte xp3_rte_permuted xp3_rte_ablated
    xp3_winogrande xp3_winogrande_permuted xp3_winogrande_ablated
    xp3_xcopa_ht xp3_xcopa_qu xp3_xcopa_ta xp3_xnli_bg xp3_xnli_ur
    xp3_xstorycloze_ar xp3_xstorycloze_en xp3_xstorycloze_es xp3_xstorycloze_eu xp3_xstorycloze_hi xp3_xstorycloze_id
    xp3_xstorycloze_my xp3_xstorycloze_ru xp3_xstorycloze_sw xp3_xstorycloze_te xp3_xstorycloze_zh
    xp3_xstorycloze_permuted xp3_xstorycloze_ablated
"""
ELSEWHERE = {  # start of the tasks' names: how many there are, words of the reason
    "im_": (34, "reads lm-eval's own source on the hub; a mirror has no files for it"),
    "mini_": (12, "no embedded corpus in "),
    "anyorder_tydiqa_": (9, "this copy is unlabelled"),
}
POSITIONS = 4096  # most prompts fit; BIG-Bench Hard's and eight-shot ones in some scripts are cut from the left
SHAPES: dict[str, tuple[str, str, dict[str, Any]]] = {  # adapter: family, kind, shape
    "nar_xlmr": ("xlm-roberta-xl", "masked", dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=POSITIONS + 4)),
    "diffusion_xlmr": ("xlm-roberta-xl", "masked", dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=POSITIONS + 4)),
    "ar": ("llama", "causal", dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=POSITIONS)),
    "encdec": ("mt5", "seq2seq", dict(d_model=8, d_kv=8, d_ff=8, num_layers=1, num_decoder_layers=1, num_heads=1)),
}  # fmt: skip
SETTINGS = {
    "nar_xlmr": "rows=4,steps=2,length=fixed",
    "diffusion_xlmr": "rows=4,steps=2,length=fixed",
    "encdec": "max_length=512",  # T5 adds a bias to every pair of tokens: whole prompts of BIG-Bench Hard would take minutes
}


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Any:
    """A tokenizer of two thousand tokens of the mirror's languages, all bytes among them."""
    from trainers.networks import load_tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("words")
    files = [*sorted(REAL.glob("xnli/dev-*.tsv")), *sorted(REAL.glob("bbh/cot-prompts/*.txt")), *sorted(REAL.glob("mgsm/*.tsv"))]  # fmt: skip
    train_tokenizer([path.read_text(encoding="utf-8")[:4_000] for path in files], 2000, folder)
    made = load_tokenizer(str(folder))
    made.model_max_length = POSITIONS
    return made


@pytest.fixture(scope="module")
def networks(tmp_path_factory, words) -> dict[str, Path]:
    """A folder with a random network for each adapter."""
    from trainers.networks import build_network
    from trainers.recipe import BackboneSpec

    root = tmp_path_factory.mktemp("networks")
    for seed, (adapter, (family, kind, shape)) in enumerate(SHAPES.items()):
        network = build_network(BackboneSpec(family=family, shape=shape, initializer_std=0.5), kind, words, seed)
        network.save_pretrained(root / adapter)
        words.save_pretrained(root / adapter)
    return {adapter: root / adapter for adapter in SHAPES}


def test_every_adapter_is_here():
    assert set(SHAPES) == set(MODELS)


@pytest.mark.parametrize("adapter", SHAPES)
def test_every_task_runs_or_is_named_with_its_reason(adapter, networks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    monkeypatch.setenv("ANYORDER_CORPUS", str(tmp_path / "none"))
    settings = ",".join(filter(None, [f"pretrained={networks[adapter]}", SETTINGS.get(adapter, "")]))
    command = ["run", "--model", adapter, "--model_args", settings, "--tasks", "all", "--skip_missing"]
    command += ["--limit", str(LIMIT), "--gen_kwargs", "max_gen_toks=4", "--output_path", str(tmp_path / "out")]
    run(parser().parse_args([*command, "--device", "cpu", "--batch_size", "16"]))
    left_out = json.loads((tmp_path / "out/left_out.json").read_text(encoding="utf-8"))
    shown = capsys.readouterr().out
    assert f"left out {len(left_out)} of {len(asked_for('all'))} tasks, which cannot be run here:" in shown
    assert all(f"  {task}: {reason}\n" in shown for task, reason in left_out.items())
    assert left_out.keys() == expected_gaps().keys()
    for task in asked_for("all"):
        if task not in left_out:
            check(read_run(tmp_path / "out" / task), adapter)


def expected_gaps() -> dict[str, str]:
    """{task: words of the reason}."""
    gaps: dict[str, str] = dict.fromkeys(NO_FILES.split(), NO_FILE)
    for start, (number, words) in ELSEWHERE.items():
        found = [task for task in asked_for("all") if task.startswith(start) and task not in HUMANEVAL]
        assert len(found) == number, start
        gaps |= dict.fromkeys(found, words)
    if sandbox.problem():
        gaps |= dict.fromkeys(HUMANEVAL, re.escape(str(sandbox.problem())))
    return gaps


def test_how_many_tasks_there_are_and_how_many_the_mirror_can_run(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    monkeypatch.setenv("ANYORDER_CORPUS", str(tmp_path / "none"))
    left_out: dict[str, str] = {}
    tasks, _ = leaf_tasks(task_manager(asked_for("all")), asked_for("all"), left_out)
    assert len(tasks) + len(left_out) == ALL
    assert len(tasks) == RUN - len(HUMANEVAL) * bool(sandbox.problem())
    assert {task: why for task, why in left_out.items() if not re.search(expected_gaps().get(task, "^$"), why)} == {}
    assert left_out.keys() == expected_gaps().keys()


@functools.cache
def count(benchmark: str, subset: str, split: str) -> int:
    """Documents of the mirror."""
    return len(data.documents_of(benchmark, subset, split))


def check(record: RunRecord, adapter: str) -> None:
    """One run is whole: all its items, nothing unscored, numbers that are numbers."""
    arguments = document_arguments()[record.task]
    size = count(arguments["benchmark"], arguments["subset"], arguments["split"])
    prompts = {"xp3_mlsum_es": 3}.get(record.task, 5 if record.task.startswith("xp3_") else 1)
    assert (record.adapter, record.n_items) == (adapter, min(LIMIT, size * prompts)), record.task
    assert record.n_scored >= record.n_items and record.n_unscored == 0, record.task
    translated = {
        metric for metric in (key.split(",")[0] for key in record.values) if metric.startswith(("bleu", "chrf"))
    }
    assert set(record.signatures) == {metric for metric in translated if not metric.endswith("_stderr")}, record.task
    assert record.values and all(math.isfinite(value) for value in record.values.values()), record.task
