"""Judged tables: numbers of the judge's own summaries with their intervals, models not judged, files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic_results as synthetic

from harness.judges import trust
from harness.judges.mt_bench import Bench
from harness.judges.mt_summary import summary_of_pairs, summary_of_ratings
from reports.cells import TableError
from reports.frame import load_results
from reports.provenance import explain
from reports.render import to_csv
from reports.tables import build_tables, load_specs

SPECS = {name: spec for name, spec in load_specs().items() if spec.form == "judged"}


@pytest.fixture
def made(tmp_path):
    suite = synthetic.make_suite(seeds=(0,), systems=("decoder_it", "mt0"))
    root = synthetic.write_results(tmp_path / "results" / suite.name, suite, per_language=1, speed=False)
    return suite, root, synthetic.write_groups(tmp_path / "tasks")


def tables(made):
    return {name: t for name, t in build_tables(load_results(*made), SPECS).items() if name in SPECS}


def write(path: Path, summary: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary))


def mt_bench_summary() -> dict:
    """What the harness says of two questions of two turns."""
    questions = [{"question_id": i, "category": c, "turns": ["a", "b"]} for i, c in ((1, "writing"), (2, "math"))]
    bench = Bench(questions, {}, {}, False)
    said = {"decoder_it-0": {i: {"choices": [{"turns": ["x" * i, "y"]}]} for i in (1, 2)}}
    scores = {(1, 1): 8, (1, 2): 6, (2, 1): 3, (2, 2): -1}
    rows = [{"model": "decoder_it-0", "question_id": q, "turn": t, "score": s} for (q, t), s in scores.items()]
    return {"mode": "single", "judge": "org/gpt", "calls": {}, **summary_of_ratings(bench, rows, said)}


def test_ratings_stand_by_turn_and_category_and_a_model_not_judged_is_a_dash(made):
    write(made[1] / "judge/mt_bench/summary_org__gpt_single.json", mt_bench_summary())
    table = tables(made)["mt_bench"]
    cells = {column.key: table.cells["org_gpt.decoder_it-0", column.key] for column in table.columns}
    assert cells["average"].value == pytest.approx(17 / 3) and cells["average"].text.startswith("5.67 [")
    assert (cells["first_turn"].value, cells["second_turn"].value, cells["unscored"].text) == (5.5, 6.0, "1")
    assert (cells["writing"].value, cells["math"].value, cells["coding"].text) == (7.0, 3.0, "·")
    assert [row.labels for row in table.rows] == [("org__gpt", "Decoder IT, seed 0"), ("org__gpt", "mT0, seed 0")]
    assert table.cells["org_gpt.mt0-0", "average"].text == "—"
    assert "not judged (mt0-0): `python -m harness judge mt-bench --judge JUDGE --suite toy`" in table.footnotes[-1]
    (made[1] / "tables").mkdir(exist_ok=True)
    (made[1] / "tables" / "mt_bench.csv").write_text(to_csv(table))
    chain = "\n".join(map(str, explain(made[0], made[1], "mt_bench/org_gpt.decoder_it-0/math")))
    assert "summary_org__gpt_single.json sha256" in chain and "checkpoints/decoder_it-0" in chain


def test_pairs_alpaca_eval_z_bench_and_trust(made):
    root = made[1]
    bench = Bench([{"question_id": 1, "category": "writing", "turns": ["a"]}], {}, {}, False)
    said = {m: {1: {"choices": [{"turns": ["x"]}]}} for m in ("decoder_it-0", "mt0-0")}
    row = {"model_1": "decoder_it-0", "model_2": "mt0-0", "question_id": 1, "turn": 1, "g1_winner": "model_1"}
    rows = [row | {"g2_winner": "model_1"}, row | {"g2_winner": "model_2"}]
    write(root / "judge/mt_bench/summary_j_pairwise-all.json", {"judge": "j", **summary_of_pairs(bench, rows, said)})
    of = trust.mean_of([0.0, 100.0, 100.0])
    won = {"leaderboard": {"n_total": 3, "length_controlled_winrate": 41.5}, "win_rate": of.as_dict() if of else None, "missing": 1, "length": None}  # fmt: skip
    for version in (1, 2):
        write(root / f"judge/alpaca_eval/summary_j_v{version}.json", {"judge": "j", "models": {"mt0-0": won}})
    half = trust.share_of(1, 2)
    graded = {"grade": None, "right": half.as_dict() if half else None, "calls": {"unscored": 2}}
    write(root / "judge/z_bench/summary_j_zh.json", {"domain": {"models": {"mt0-0": graded}}})
    agreement = {
        k: e.as_dict() if e else None for k, e in trust.agreement_of_ratings([8, 7, 2, 5], [9, 7, 1, 5]).items()
    }
    write(root.parent / "judge/trust_j.json", {"judge": "j", "ratings": {"agreement": agreement}})
    got = tables(made)
    assert set(got) == {"mt_bench_pairs", "alpaca_eval", "z_bench_judged", "judge_trust"}
    pairs = got["mt_bench_pairs"].cells
    assert pairs["j.all_pairs.decoder_it-0", "win_rate"].value == 75 and pairs["j.all_pairs.mt0-0", "ties"].text == "1"
    assert pairs["j.all_pairs.mt0-0", "disagreement"].value == 50
    alpaca = got["alpaca_eval"].cells
    assert alpaca["j.version_2.mt0-0", "length_controlled"].text == "41.5"
    assert alpaca["j.version_1.mt0-0", "win_rate"].value == pytest.approx(200 / 3)
    z = got["z_bench_judged"].cells
    assert z["j.chinese_rubric.mt0-0", "domain_right"].text == "50.0 [9.5, 90.5]"
    assert z["j.chinese_rubric.mt0-0", "domain_grade"].text == z["j.chinese_rubric.mt0-0", "basic_right"].text == "·"
    assert got["judge_trust"].cells["j", "equal"].value == 50 and got["judge_trust"].cells["j", "kappa"].text == "·"
    assert [row.labels for row in got["judge_trust"].rows] == [("j",)]


def test_no_judge_no_table_and_a_broken_summary_is_named(made):
    assert tables(made) == {}
    write(made[1] / "judge/mt_bench/summary_j_single.json", [1])
    with pytest.raises(TableError, match="summary_j_single.json is no summary"):
        tables(made)
    write(made[1] / "judge/mt_bench/summary_j_single.json", {"models": {"mt0-0": {"average": {"value": 3}}}})
    with pytest.raises(TableError, match=r"models.\*.average is no estimate"):
        tables(made)


def test_the_scripted_judge_is_called_by_its_name(made):
    write(made[1] / "judge/mt_bench/summary_scripted_single.json", mt_bench_summary())
    assert "no language model" in "".join(tables(made)["mt_bench"].footnotes)
