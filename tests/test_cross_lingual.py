"""Tables of the larger suites: parallel items are one unit, seen and other languages stand apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import synthetic_results as synthetic
from scipy import stats

from harness.suites import Suite
from reports.frame import load_results
from reports.tables import build_tables, load_specs

TASKS = ("xp3_xcopa_et", "xp3_xcopa_id", "xp3_xcopa_ht")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two systems on three languages of one benchmark; every system is right on the same questions in all of them."""
    root = tmp_path_factory.mktemp("xcopa") / "toy"
    data = synthetic.make_suite(systems=("bloomz", "instruct_xmlr")).model_dump()
    suite = Suite.model_validate(
        data | {"evaluations": [{"name": "main", "tasks": TASKS}], "speed": None, "seeds": (0,)}
    )
    (root / "corpus").mkdir(parents=True)
    (root / "corpus/manifest.json").write_text("{}")
    for system, share in (("bloomz", 0.6), ("instruct_xmlr", 0.7)):
        synthetic.write_checkpoint(root, system, 0)
        for task in TASKS:
            lines = synthetic.samples("mini_copa", share, 10, random.Random(system))
            for line in lines:
                line["doc"]["language"] = task[-2:]
            synthetic.write_run(root, suite, system, 0, "main", task, lines)
    return build_tables(load_results(suite, root, Path("tasks")), load_specs())


def test_a_question_in_three_languages_counts_once(tables):
    cell = tables["instruct_xmlr_main"].cells["bloomz", "xcopa"]
    share = cell.value / 100
    assert cell.facts["n_items"] == 3 * 60
    assert cell.facts["stderr_items"] == pytest.approx(100 * (share * (1 - share) / 59) ** 0.5)


def test_seen_and_other_languages_are_apart(tables):
    cells = tables["instruct_xmlr_generalisation"].cells
    assert cells["bloomz", "xcopa_seen"].facts["n_items"] == 60  # id
    assert cells["bloomz", "xcopa_other"].facts["n_items"] == 120  # et, ht
    assert "other_tasks" not in tables


def test_five_prompts_of_a_question_count_once(tmp_path):
    """The error of a question asked five times is that of one question, and a star over chance is no easier to get."""
    suite = Suite.model_validate(
        synthetic.make_suite(systems=("bloomz",)).model_dump()
        | {"evaluations": [{"name": "main", "tasks": ["xp3_xwinograd_fr"]}], "speed": None, "seeds": (0,)}
    )
    root = tmp_path / "toy"
    (root / "corpus").mkdir(parents=True)
    (root / "corpus/manifest.json").write_text("{}")
    synthetic.write_checkpoint(root, "bloomz", 0)
    once = synthetic.samples("mini_copa", 0.62, 10, random.Random(3))
    lines = []
    for line in once:
        for prompt in range(5):
            doc = line["doc"] | {"id": f"{line['doc_id']}/p{prompt}", "source_id": f"test/{line['doc_id']}", "language": "fr", "template": f"p{prompt}"}  # fmt: skip
            lines.append(line | {"doc_id": 5 * line["doc_id"] + prompt, "doc": doc})
    synthetic.write_run(root, suite, "bloomz", 0, "main", "xp3_xwinograd_fr", lines)
    cell = build_tables(load_results(suite, root, Path("tasks")), load_specs())["instruct_xmlr_main"].cells[
        "bloomz", "xwinograd"
    ]
    values = [line["acc"] for line in once]
    share = sum(values) / len(values)
    assert cell.facts["n_items"] == 300 and cell.value == pytest.approx(100 * share)
    assert cell.facts["stderr_items"] == pytest.approx(100 * (share * (1 - share) / (len(values) - 1)) ** 0.5)
    t = (share - 0.5) / (share * (1 - share) / (len(values) - 1)) ** 0.5
    assert cell.facts["p"] == pytest.approx(float(stats.t.sf(t, len(values) - 1)))
