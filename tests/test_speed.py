"""Decoding speed: few-shot prompts, settings of a mode, and marks of what is an approximation."""

from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.adapters.settings import MaskedSettings
from harness.config import ConfigError
from harness.speed import COLUMNS, few_shot, settings_of
from harness.suites import SpeedMode
from reports.frame import load_results
from reports.render import to_markdown
from reports.speed_table import COLUMNS as READ
from reports.tables import build_tables, load_specs

TASK = SimpleNamespace(doc_to_text=lambda doc: doc["q"], doc_to_target=lambda doc: " " + doc["a"])


def test_examples_stand_before_the_question_with_their_answers():
    docs = [{"q": f"q{i}?", "a": f"a{i}"} for i in range(3)]
    assert few_shot(docs, TASK, 0) == ["q0?", "q1?", "q2?"]
    assert few_shot(docs, TASK, 2) == ["q1? a1\nq2? a2\nq0?", "q2? a2\nq0? a0\nq1?", "q0? a0\nq1? a1\nq2?"]


def test_settings_of_a_mode_are_checked():
    masked = SimpleNamespace(decode_tokens=None, asked=MaskedSettings())
    mode = SpeedMode(name="m", system="s", label="M", settings={"steps": 4})
    settings = settings_of(masked, mode, 32)
    assert settings is not None and (settings.steps, settings.max_gen_toks) == (4, 32)
    assert settings_of(SimpleNamespace(), mode.model_copy(update={"settings": {}}), 32) is None
    with pytest.raises(ConfigError, match="speed.modes.m: an autoregressive system has no decoder settings"):
        settings_of(SimpleNamespace(), mode, 32)
    with pytest.raises(ConfigError, match="own lengths; take length=predicted or fixed"):
        settings_of(masked, mode.model_copy(update={"settings": {"length": "oracle"}}), 32)


def test_what_is_written_is_what_is_read():
    assert list(COLUMNS) == READ


def test_an_approximate_mode_is_marked_and_explained(tmp_path):
    suite = synthetic.make_suite(seeds=(0,), systems=("decoder_it", "diffusionllm"))
    synthetic.write_results(tmp_path / "toy", suite, per_language=1)
    path = tmp_path / "toy" / "speed" / "decoding.csv"
    frame = pd.read_csv(path)
    frame.loc[frame["mode"] == "diffusion_50", "approximate"] = True
    frame.to_csv(path, index=False)
    table = build_tables(load_results(suite, tmp_path / "toy"), {"speed": load_specs()["speed"]})["speed"]
    text = to_markdown(table, "toy")
    assert "DiffusionLLM reparameterized 50 ≈" in text and "DiffusionLLM reparameterized 10 ≈" not in text
    assert "≈ written with a block-wise cache" in text


def test_a_run_with_a_block_cache_is_marked_in_tables_of_scores(tmp_path):
    suite = synthetic.make_suite(seeds=(0,), systems=("decoder_it", "diffusionllm"))
    tasks = synthetic.write_groups(tmp_path / "tasks")
    results = load_results(suite, synthetic.write_results(tmp_path / "toy", suite, per_language=1), tasks)
    for key, record in results.runs.items():
        if key.system == "diffusionllm" and record.kind is None:
            results.runs[key] = record.model_copy(update={"settings": {"block_cache": "dual"}})
    main = build_tables(results, {"main": load_specs()["main"]})["main"]
    assert [row.labels[0] for row in main.rows][:2] == ["Decoder IT", "DiffusionLLM ≈"]
    assert "≈ written with a block-wise cache" in to_markdown(main, "toy")
