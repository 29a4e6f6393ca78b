"""Length accuracy: shares and closed gaps by hand, and lines of a real checkpoint."""

from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.adapters.masked_lm import NarXlmr
from harness.config import ConfigError, read_yaml
from harness.decoders.length import BEAM_RULES
from harness.length_accuracy import columns, length_lines, summary
from harness.suites import LengthPlan
from reports.cells import TableError
from reports.frame import load_results
from reports.length_table import RULES
from reports.render import to_markdown
from reports.tables import build_tables, load_specs

PLAN = LengthPlan(beam=3, beam_scores=("with_length", "content_mean"), systems=("s",))


def line(kind, reference, lengths, oracle, predicted, beam):
    facts = {"suite": "toy", "system": "s", "seed": 0, "task": "t", "kind": kind}
    scores = {"oracle": oracle, "predicted": predicted, "with_length": beam, "content_mean": predicted}
    return {**facts, "reference": reference, "lengths": lengths, **scores}


def test_shares_and_gaps_by_hand():
    lines = [
        line("a", 4, [4, 5, 3], 1.0, 1.0, 1.0),  # exact
        line("a", 4, [5, 4, 3], 1.0, 0.0, 1.0),  # off by one, in the beam, found by the beam
        line("b", 4, [7, 6, 5], 1.0, 0.0, 0.0),  # off by three
        line("b", 4, [3, 6, 5], 1.0, 0.0, 0.0),
    ]
    whole, a, b = summary(lines, PLAN)
    assert (whole["kind"], a["kind"], b["kind"]) == ("all", "a", "b") and whole["items"] == 4
    assert (whole["exact"], whole["within_one"], whole["in_beam"]) == (0.25, 0.75, 0.5)
    assert (whole["oracle"], whole["predicted"], whole["with_length"]) == (1.0, 0.25, 0.5)
    assert whole["with_length_gap_closed"] == pytest.approx(1 / 3, abs=1e-4) and whole["content_mean_gap_closed"] == 0
    assert a["with_length_gap_closed"] == 1.0 and set(whole) == set(columns(PLAN))


def test_no_lead_of_the_oracle_is_no_number():
    (row,) = summary([line("", 4, [4], 1.0, 1.0, 1.0)], PLAN)
    assert row["kind"] == "all" and row["with_length_gap_closed"] == ""


def test_lines_of_a_checkpoint_do_not_depend_on_the_batch(checkpoints):
    model = NarXlmr(str(checkpoints["instruct_xmlr"]))
    docs = [{"q": f"say {text}", "a": text, "task": "copy"} for text in ("red", "dog cat sun", "moon tree")]
    task = SimpleNamespace(
        doc_to_text=lambda doc: doc["q"],
        doc_to_target=lambda doc: doc["a"],
        config=SimpleNamespace(generation_kwargs={"max_gen_toks": 8}),
        process_results=lambda doc, results: {"exact_match": float(results[0].strip() == doc["a"])},
    )
    lines = length_lines(model, PLAN, task, docs, batch_size=3)
    assert lines == length_lines(model, PLAN, task, docs, batch_size=1)
    assert [found["reference"] for found in lines] == [len(model.encoder.ids(" " + doc["a"])) for doc in docs]
    assert all(len(found["lengths"]) == 3 and found["kind"] == "copy" for found in lines)


def test_a_wrong_plan_is_explained(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("beam: 1\nsystems: [a]\n")
    with pytest.raises(ConfigError, match="beam: Input should be greater than or equal to 2"):
        read_yaml(path, LengthPlan)
    path.write_text("beam_scores: [mean]\nsystems: [a]\n")
    with pytest.raises(ConfigError, match="beam_scores"):
        read_yaml(path, LengthPlan)


def test_the_table_averages_seeds_and_says_what_is_missing(tmp_path):
    suite = synthetic.make_suite(systems=("decoder_it", "instruct_xmlr"))
    plan = PLAN.model_copy(update={"systems": ("instruct_xmlr",)})
    suite, spec = suite.model_copy(update={"lengths": plan}), {"length_accuracy": load_specs()["length_accuracy"]}
    root = synthetic.write_results(tmp_path / "toy", suite, per_language=1)
    empty = build_tables(load_results(suite, root), spec)["length_accuracy"]
    assert empty.cells["instruct_xmlr:all", "exact"].text == "—" and "not measured yet" in to_markdown(empty, "toy")
    rows = [{"system": "instruct_xmlr", "seed": seed, "kind": "all", "items": 8, "exact": 0.5 + seed / 4, "within_one": 1,
             "in_beam": 1, "oracle": 0.9, "predicted": 0.5, "with_length": 0.7, "content_mean": 0.1} for seed in (0, 1)]  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "speed" / "lengths.csv", index=False)
    table = build_tables(load_results(suite, root), spec)["length_accuracy"]
    texts = {column.key: table.cells["instruct_xmlr:all", column.key].text for column in table.columns}
    assert texts == {"items": "8", "exact": "62.5", "within_one": "100.0", "in_beam": "100.0", "oracle": "90.0",
                     "predicted": "50.0", "with_length": "70.0", "content_mean": "10.0", "gap_closed": "50 %"}  # fmt: skip
    (root / "speed" / "lengths.csv").write_text("system,kind\n")
    with pytest.raises(TableError, match="lacks the columns items, exact"):
        build_tables(load_results(suite, root), spec)


def test_every_ranking_rule_has_a_label():
    assert set(RULES) == set(BEAM_RULES)
