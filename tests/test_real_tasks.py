"""Every task on the real files with every adapter, by the `run` command itself: 20 items each, tiny random networks."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from shared_files import REAL, needs_real

from harness import data, sandbox
from harness.__main__ import parser, run
from harness.data_report import document_arguments, tasks_without_files
from harness.records import RunRecord, read_run
from harness.registration import MODELS
from harness.selection import asked_for

pytestmark = needs_real
LIMIT = 20
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
    assert {task: why for task, why in expected_gaps().items() if why not in left_out[task]} == {}
    for task in asked_for("all"):
        if task not in left_out:
            check(read_run(tmp_path / "out" / task), adapter)


def expected_gaps() -> dict[str, str]:
    """{task: words of the reason}: the files that `harness data` misses, and what is no file of a mirror at all."""
    gaps = dict.fromkeys(tasks_without_files(), f"ANYORDER_DATA={REAL} holds none of its files")
    for task in gaps:
        if document_arguments()[task]["subset"] != data.ALL:
            gaps[task] = "in the mirror, there is no "
    for task in asked_for("all"):
        if task.startswith("im_"):
            gaps[task] = "reads lm-eval's own source on the hub; a mirror has no files for it"
        if task.startswith("mini_"):
            gaps[task] = "no embedded corpus in "
        if task.startswith("anyorder_tydiqa_"):
            gaps[task] = "this copy is unlabelled"
    if sandbox.problem():
        gaps["anyorder_humaneval"] = str(sandbox.problem())
    return gaps


@functools.cache
def count(benchmark: str, subset: str, split: str) -> int:
    """Documents of the mirror."""
    return len(data.documents_of(benchmark, subset, split))


def check(record: RunRecord, adapter: str) -> None:
    """One run is whole: all its items, nothing unscored, numbers that are numbers."""
    arguments = document_arguments()[record.task]
    size = count(arguments["benchmark"], arguments["subset"], arguments["split"])
    prompts = 5 if record.task.startswith("xp3_") else 1
    assert (record.adapter, record.n_items) == (adapter, min(LIMIT, size * prompts)), record.task
    assert record.n_scored >= record.n_items and record.n_unscored == 0, record.task
    assert record.values and all(math.isfinite(value) for value in record.values.values()), record.task
