"""The median over prompts beside xMTF's Table 9: by hand, its interval by simulation, and what may be compared."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.suites import Suite
from reports.beside import beside, median_over_prompts
from reports.cells import Scores
from reports.frame import load_results
from reports.published import load_published_specs

TABLE9 = {"xmtf_table9": load_published_specs()["xmtf_table9"]}


def scores(values_QPS: np.ndarray) -> Scores:
    questions, prompts, seeds = values_QPS.shape
    place = [(q, p) for q in range(questions) for p in range(prompts)]
    return Scores(
        items=pd.Index([f"t/{q}/{p}" for q, p in place]), values_IS=values_QPS.reshape(-1, seeds), predictions_IS=np.empty((0, 0)),
        chance_I=np.empty(0), strata=None, seeds=tuple(range(seeds)), runs=(), kinds=(), oracle_length=False, approximate=False,
        clusters=np.array([f"q{q}" for q, _ in place], dtype=object), prompts=np.array([f"p{p}" for _, p in place], dtype=object),
    )  # fmt: skip


def test_the_median_is_that_of_the_prompts_means_for_each_seed():
    values = (np.random.default_rng(0).random((40, 5, 2)) < 0.6).astype(float)
    value, low, high = median_over_prompts(scores(values))
    assert value == pytest.approx(np.mean([np.median(values[:, :, s].mean(0)) for s in (0, 1)]))
    assert low < value < high


def test_its_interval_covers_the_true_median():
    """Questions whose five answers go together, prompts of different difficulty; 95 ± 3 %."""
    rng, chances, inside, runs = np.random.default_rng(1), np.array([0.45, 0.5, 0.55, 0.6, 0.7]), 0, 300
    for seed in range(runs):
        same = rng.random((120, 1))
        draws = np.where(rng.random((120, 5)) < 0.7, same, rng.random((120, 5)))
        _, low, high = median_over_prompts(scores((draws < chances)[:, :, None].astype(float)), draws=300, seed=seed)
        inside += low <= 0.55 <= high
    assert inside / runs == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("wording", ["ours", "promptsource"])
def test_table_9_stands_beside_ours_with_the_model_of_our_size(tmp_path, wording):
    metadata = {"prompts": "promptsource:templates"} if wording == "promptsource" else {}
    suite = Suite.model_validate(
        synthetic.make_suite(systems=("bloomz",), seeds=(0,)).model_dump()
        | {"evaluations": [{"name": "main", "tasks": ["xp3_xnli_fr"], "metadata": metadata}], "speed": None}
    )
    root = tmp_path / "toy"
    (root / "corpus").mkdir(parents=True)
    (root / "corpus/manifest.json").write_text("{}")
    synthetic.write_checkpoint(root, "bloomz", 0)
    lines = []
    for line in synthetic.samples("mini_nli", 0.5, 20, random.Random(0)):
        for prompt in range(5):
            about = {"id": f"{line['doc_id']}/{prompt}", "source_id": str(line["doc_id"]), "template": f"p{prompt}"}
            lines.append(line | {"doc_id": 5 * line["doc_id"] + prompt, "doc": line["doc"] | about})
    synthetic.write_run(root, suite, "bloomz", 0, "main", "xp3_xnli_fr", lines)
    (found,) = beside(load_results(suite, root, Path("tasks")), TABLE9)
    assert "BLOOMZ-560M".lower() in found.column and found.row.startswith("xnli.fr_validation.en")
    assert found.cell.value == pytest.approx(100 * np.mean([line["acc"] for line in lines]))
    if wording == "ours":
        assert found.verdict.startswith("not comparable: five prompts of our wording")
    else:
        assert found.verdict == "not comparable: published 560M parameters, ours 0.20M"


def _asked(asked: dict[str, tuple[str, float]], clusters: list[str] | None) -> Scores:
    """Scores of one seed: item → (prompt, score)."""
    prompts, values = zip(*asked.values(), strict=True)
    full = scores(np.array(values)[:, None, None])
    known = None if clusters is None else np.array(clusters, dtype=object)
    documents = np.array([int(item.rpartition("/")[2]) for item in asked])
    return replace(
        full, items=pd.Index(list(asked)), clusters=known, documents=documents, prompts=np.array(prompts, dtype=object)
    )


def test_a_draw_without_a_prompt_is_the_median_of_the_others():
    """Only question a has prompt q. All 27 draws by hand: each is likelier than 2.5 %, so the limits are the extremes."""
    asked = {"t/0": ("p", 1.0), "t/1": ("q", 0.0), "t/2": ("p", 0.0), "t/3": ("p", 1.0)}
    by_question = {"a": {"p": 1.0, "q": 0.0}, "b": {"p": 0.0}, "c": {"p": 1.0}}
    medians = []
    for draw in itertools.product("abc", repeat=3):
        means = [
            np.mean([by_question[q][prompt] for q in draw if prompt in by_question[q]])
            for prompt in "pq"
            if any(prompt in by_question[q] for q in draw)
        ]
        medians.append(np.median(means))
    value, low, high = median_over_prompts(_asked(asked, ["a", "a", "b", "c"]))
    assert value == pytest.approx((2 / 3 + 0) / 2) and (low, high) == (min(medians), max(medians)) == (0.0, 1.0)


def test_equal_doc_ids_of_two_tasks_are_two_questions():
    asked = {"s/0": ("p", 1.0), "s/1": ("p", 1.0), "t/0": ("p", 0.0), "t/1": ("p", 0.0)}
    value, low, high = median_over_prompts(_asked(asked, None))
    assert value == 0.5 and low == 0.0 and high == 1.0  # of 256 draws 16 are all s: more than 2.5 %
