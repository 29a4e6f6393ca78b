"""Tables of the larger suites: parallel items are one unit, seen and other languages stand apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import synthetic_results as synthetic

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
