"""Several answers to a problem: copies of one, and problems that a limit cuts, are refused before anything is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from shared_files import REAL, needs_real

from harness import sandbox
from harness.__main__ import parser, run
from harness.adapters.autoregressive import Autoregressive
from harness.adapters.diffusion import DiffusionXlmr
from harness.adapters.repeated import check_samples
from harness.backbones import BackboneError

ADAPTERS: dict[str, Any] = {"decoder_it": Autoregressive, "diffusionllm": DiffusionXlmr}


def asked(problems: int, samples: int, missing: int = 0, **settings: Any) -> list[Instance]:
    documents = [
        {"id": f"h/t/{p}#{n}", "source_id": f"t/{p}", "samples": samples}
        for p in range(problems)
        for n in range(samples)
    ]
    arguments = ("say red", {"until": ["\n"], "max_gen_toks": 4, **settings})
    kept = documents[: len(documents) - missing]
    return [Instance("generate_until", document, arguments, 0, ("code", i, 1)) for i, document in enumerate(kept)]


def test_whole_problems_of_drawn_answers_pass_and_so_do_single_greedy_ones():
    check_samples(asked(3, 4), lambda _: True)
    check_samples(asked(3, 1), lambda _: False)
    check_samples(asked(3, 4, missing=2), lambda _: True, processes=2)  # the others may have them


@pytest.mark.parametrize("samples", [5, None, "five", ["a", "b"]])
def test_a_column_of_another_task_is_none_of_ours(samples):
    documents = [{"samples": samples, "question": "q"}, {"samples": samples, "id": "a#b"}]
    check_samples([Instance("generate_until", d, ("q", {}), 0, ("other", 0, 1)) for d in documents], lambda _: False)


def test_a_cut_problem_is_named():
    with pytest.raises(BackboneError, match="code: 4 answers .* of h/t/2 only 3 would be written.*a multiple of 4"):
        check_samples(asked(3, 4, missing=1), lambda _: True)


@pytest.mark.parametrize("name", ADAPTERS)
def test_copies_of_one_answer_are_refused_and_drawn_ones_written(checkpoints, name):
    adapter = ADAPTERS[name](str(checkpoints[name]), device="cpu")
    with pytest.raises(
        BackboneError, match="code: 3 answers .* without sampling all are the same one: add --gen_kwargs"
    ):
        adapter.generate_until(asked(2, 3, do_sample=False), disable_tqdm=True)
    drawn = {"do_sample": True, "temperature": 5.0}
    assert len(set(adapter.generate_until(asked(2, 3, **drawn), disable_tqdm=True))) > 1
    with pytest.raises(BackboneError, match="only 2 would be written"):
        adapter.generate_until(asked(2, 3, missing=1, **drawn), disable_tqdm=True)


@needs_real
@pytest.mark.skipif(bool(sandbox.problem()), reason=f"no sandbox: {sandbox.problem()}")
def test_pass_at_k_of_whole_problems_by_the_command(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    command = ["run", "--model", "diffusion_xlmr", "--model_args", f"pretrained={checkpoints['diffusionllm']},steps=1"]
    command += ["--tasks", "anyorder_humaneval", "--metadata", json.dumps({"samples": 10}), "--device", "cpu"]
    command += ["--gen_kwargs", "max_gen_toks=4,do_sample=true,temperature=1.0", "--output_path", str(tmp_path)]
    with pytest.raises(BackboneError, match="only 2 would be written"):
        run(parser().parse_args([*command, "--limit", "12"]))
    run(parser().parse_args([*command, "--limit", "20"]))
    values = json.loads((tmp_path / "anyorder_humaneval/run.json").read_text())["values"]
    assert {"pass@1,executed", "pass@10,executed"} <= values.keys() and "pass@100,executed" not in values
