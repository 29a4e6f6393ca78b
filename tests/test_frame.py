"""Sealed runs become tidy frames; what is not sealed does not exist, what was changed is refused by name."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.records import RecordError, read_run, seal, sha256_file
from reports.expected import RunKey, expand, task_groups, tasks_folder
from reports.frame import _directions, load_results, runs_frame
from reports.samples import FrameError, chosen

SYSTEMS = ("decoder_it", "instruct_xmlr")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("frame")
    suite = synthetic.make_suite(systems=SYSTEMS)
    tasks = synthetic.write_groups(base / "tasks")
    return suite, synthetic.write_results(base / suite.name, suite, per_language=3), tasks


@pytest.fixture
def copied(made, tmp_path):
    suite, root, tasks = made
    shutil.copytree(root, tmp_path / suite.name)
    return suite, tmp_path / suite.name, tasks


def reseal(folder: Path, **changes) -> None:
    record = read_run(folder, verify=False)
    files = {name: sha256_file(folder / name) for name in record.files}
    seal(record.model_copy(update={"files": files} | changes), folder)


def test_item_frame_has_one_row_per_run_item_and_metric(made):
    suite, root, tasks = made
    results = load_results(suite, root, tasks)
    assert results.missing == () and len(results.runs) == 2 * (12 + 12 + 3 + 4 + 4)
    nli = results.of("decoder_it", "main", "mini_nli", "acc")
    assert nli is not None and len(nli) == 2 * 18 and set(nli["seed"]) == {0, 1}
    assert set(nli["chance"]) == {1 / 3} and set(nli["kind"]) == {"exact"} and set(nli["label"]) == {"Decoder IT"}
    assert set(nli["language"]) == set(synthetic.LANGUAGES) and set(nli["world_task"]) == {"nli"}
    retell = results.of("decoder_it", "main", "mini_retell", "token_f1")
    assert retell is not None and bool(np.isnan(retell["chance"].to_numpy(float)).all())
    assert results.of("decoder_it", "main", "mini_retell", "exact_match") is not None
    oracle = results.of("instruct_xmlr", "oracle_length", "mini_retell", "token_f1")
    assert oracle is not None and set(oracle["oracle_length"]) == {True}


def test_item_values_are_those_of_the_samples(made):
    suite, root, tasks = made
    results = load_results(suite, root, tasks)
    path = root / "runs/decoder_it-1/main/mini_copa/samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows = results.of("decoder_it", "main", "mini_copa", "acc")
    assert rows is not None
    rows = rows[rows["seed"] == 1].set_index("item")
    for line in lines:
        row = rows.loc[line["doc"]["id"]]
        assert row["value"] == line["acc"]
        assert (row["prediction"] == line["doc"]["gold"]) == bool(line["acc"])


def test_runs_frame_carries_costs(made):
    suite, root, tasks = made
    frame = runs_frame(load_results(suite, root, tasks))
    row = frame[(frame.system == "instruct_xmlr") & (frame.evaluation == "pll") & (frame.task == "mini_copa")].iloc[0]
    assert (row["n_items"], row["n_rows"], row["kind"]) == (18, 18 * 2 * 5, "pseudo")
    assert len(frame) == 70


def test_progress_counts_the_runs_that_are_read_and_the_cache_reads_none(made):
    steps = []
    (made[1] / "cache" / "items.parquet").unlink(missing_ok=True)
    first = load_results(*made, progress=lambda done, total: steps.append((done, total)))
    again = load_results(*made, progress=lambda done, total: steps.append((-1, total)))
    pd.testing.assert_frame_equal(first.items, again.items)
    assert steps == [(number, 70) for number in range(1, 71)]


def test_an_unsealed_run_is_missing(copied):
    suite, root, tasks = copied
    (root / "runs/decoder_it-0/main/mini_nli/run.json").unlink()
    results = load_results(suite, root, tasks)
    assert results.missing == (RunKey("decoder_it", 0, "main", "mini_nli"),)


def test_a_changed_file_is_refused_by_name(copied):
    suite, root, tasks = copied
    path = root / "runs/decoder_it-0/main/mini_nli/samples.jsonl"
    path.write_text(path.read_text().replace('"acc": 0.0', '"acc": 1.0'))
    with pytest.raises(RecordError, match=r"decoder_it-0/main/mini_nli/samples\.jsonl was changed"):
        load_results(suite, root, tasks)


def test_a_run_in_the_wrong_place_is_refused(copied):
    suite, root, tasks = copied
    source, place = root / "runs/decoder_it-0/main/mini_nli", root / "runs/decoder_it-1/main/mini_nli"
    shutil.rmtree(place)
    shutil.copytree(source, place)
    with pytest.raises(FrameError, match="checkpoint seed '0' but lies under '1'"):
        load_results(suite, root, tasks)


def test_broken_samples_name_file_and_line(copied):
    suite, root, tasks = copied
    folder = root / "runs/decoder_it-0/main/mini_nli"
    path = folder / "samples.jsonl"
    path.write_text(path.read_text()[:-20])
    reseal(folder)
    with pytest.raises(FrameError, match=r"samples\.jsonl, line 18: not one of lm-eval's samples"):
        load_results(suite, root, tasks)


def test_an_item_scored_twice_is_refused(copied):
    suite, root, tasks = copied
    folder = root / "runs/decoder_it-0/main/mini_nli"
    path = folder / "samples.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    reseal(folder)
    with pytest.raises(FrameError, match="'mini_nli-0' is scored twice"):
        load_results(suite, root, tasks)


def test_filters_and_metrics_that_are_no_numbers(copied):
    suite, root, tasks = copied
    folder = root / "runs/decoder_it-0/main/mini_nli"
    line = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    line["metrics"], line["bleu"], line["nothing"] = ["acc", "bleu", "nothing"], ["a", "b"], None
    lines = [line, line | {"filter": "strict", "acc": 0.25}]
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    reseal(folder)
    items = load_results(suite, root, tasks).items
    rows = items[(items.system == "decoder_it") & (items.task == "mini_nli") & (items.seed == 0)]
    assert dict(zip(rows["metric"], rows["value"], strict=True)) == {
        "acc,none": line["acc"],
        "acc,strict": 0.25,
    }


def test_documents_of_other_benchmarks_need_no_keys_of_ours(copied):
    suite, root, tasks = copied
    folder = root / "runs/decoder_it-0/main/mini_nli"
    line = {"doc_id": 7, "doc": {"premise": "x"}, "filter": "none", "metrics": ["acc"], "acc": 1.0}
    (folder / "samples.jsonl").write_text(json.dumps(line) + "\n")
    reseal(folder)
    items = load_results(suite, root, tasks).items
    row = items[(items.system == "decoder_it") & (items.task == "mini_nli") & (items.seed == 0)].iloc[0]
    assert row["item"] == "7" and row[["language", "template", "chance"]].isna().all()


def test_unscored_requests_limits_and_other_weights_are_noted(copied):
    suite, root, tasks = copied
    reseal(root / "runs/decoder_it-0/main/mini_nli", n_unscored=2, n_scored=52, limit=18.0)
    folder = root / "runs/decoder_it-0/main/mini_copa"
    reference = read_run(folder).checkpoint.model_copy(update={"weights_sha256": "f" * 64})
    reseal(folder, checkpoint=reference)
    notes = " ".join(load_results(suite, root, tasks).notes)
    assert "mini_nli: 2 of 54 requests got no score" in notes and "limited to 18 items" in notes
    assert "mini_copa: made with weights ffffffffffff" in notes


def test_no_results_folder_says_what_to_run(made, tmp_path):
    with pytest.raises(FrameError, match="make tables SUITE=toy"):
        load_results(made[0], tmp_path / "nowhere", made[2])


def test_groups_expand_in_order_without_repeats(tmp_path):
    (tmp_path / "a.yaml").write_text("group: outer\ntask:\n  - inner\n  - group: inner\n  - task: z\n")
    (tmp_path / "b.yaml").write_text("# c\ngroup: inner\ntask: [x, y]\nx: !function u.f\n")
    (tmp_path / "c.yaml").write_text("task: x\ngroups: no\n")
    groups = task_groups(tmp_path)
    assert groups == {"outer": ("inner", "inner", "z"), "inner": ("x", "y")}
    assert expand(["outer", "w", "x"], groups) == ["x", "y", "z", "w"]


def test_the_shipped_groups_hold_the_twelve_tasks():
    groups = task_groups(tasks_folder())
    assert set(expand(["mini_heldin"], groups)) == set(synthetic.HELDIN)
    assert set(expand(["mini_heldout"], groups)) == set(synthetic.HELDOUT)


def test_chosen_takes_the_first_of_equals():
    assert chosen([["-2.0", "False"], ["-1.0", "False"], ["-1.0", "True"]], 3) == 1.0
    for nothing in (None, [], ["text"], [["-1.0", "False"]]):
        assert chosen(nothing, 2) != chosen(nothing, 2)


def test_a_cache_of_other_samples_is_not_used(made, tmp_path):
    suite, root, tasks = made
    shutil.copytree(root, tmp_path / "toy")
    before = load_results(suite, tmp_path / "toy", tasks).items
    lines = synthetic.samples("mini_nli", 1.0, 3, random.Random(5))
    synthetic.write_run(tmp_path / "toy", suite, "decoder_it", 0, "main", "mini_nli", lines)
    after = load_results(suite, tmp_path / "toy", tasks).items
    assert len(before) == len(after)
    ours = (
        (after["system"] == "decoder_it")
        & (after["seed"] == 0)
        & (after["task"] == "mini_nli")
        & (after["metric"] == "acc")
    )
    assert after.loc[ours, "value"].eq(1.0).all() and not before.loc[ours, "value"].eq(1.0).all()
    (tmp_path / "toy/cache/items.parquet").write_bytes(b"torn")
    pd.testing.assert_frame_equal(load_results(suite, tmp_path / "toy", tasks).items, after)


def test_metrics_of_opposite_direction_are_never_averaged(made):
    results = load_results(*made)
    both = dataclasses.replace(results, higher_is_better={("a", "score"): True, ("b", "score"): False})
    with pytest.raises(FrameError, match="higher is better in a, lower in b"):
        both.upward(["a", "b"], "score")
    assert both.upward(["a"], "score") and not both.upward(["b"], "score")


def test_what_lm_eval_gives_no_direction_has_none(made, tmp_path):
    (tmp_path / "results.json").write_text(
        json.dumps({"higher_is_better": {"z": {"characters": None, "answered": True}}})
    )
    results = dataclasses.replace(load_results(*made), higher_is_better=_directions(tmp_path, "z"))
    assert results.upward(["z"], "characters") is None and results.upward(["z"], "answered") is True
    assert results.upward(["z"], "unknown") is True
