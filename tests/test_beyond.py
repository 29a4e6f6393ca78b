"""The recipes beside the mini suite's (suites/beyond.yaml): planned, trained a few steps, and answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.api.instance import Instance

from harness.evaluate import load_model
from harness.suites import load_suite
from trainers.checkpoint import train_checkpoint
from trainers.plan import plan
from trainers.recipe import load_recipe

SYSTEMS = {system.name: system for system in load_suite("beyond").systems}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_planned_trained_and_evaluated(name, checkpoints, tmp_path):
    root, system = next(iter(checkpoints.values())).parent, SYSTEMS[name]
    recipe, tokenizer = load_recipe(Path(system.recipe), steps=2), str(root / "tokenizer")
    planned = plan(recipe, tokenizer_path=tokenizer, corpus=root / "corpus", probe_seconds=0.1)
    record = train_checkpoint(recipe, corpus=root / "corpus", tokenizer_path=tokenizer, out=tmp_path / name)
    assert planned.parameters == record.parameters and record.steps == 2
    model = load_model(system.adapter, {"pretrained": str(tmp_path / name)}, batch_size=2, device="cpu")
    choices = [Instance("loglikelihood", {"id": "0"}, ("say one", f" {word}"), 0) for word in ("one", "two")]
    for choice in choices:
        choice.task_name, choice.doc_id = "t", 0
    scored = model.loglikelihood(choices)
    assert len(scored) == 2 and all(score < 0 for score, _ in scored) and scored[0] != scored[1]
