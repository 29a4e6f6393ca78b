"""Published numbers: complete, with their source, recomputed where the papers gave parts; ours beside them; claims."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from scipy import stats

from harness.suites import Suite
from reports.beside import beside, beside_table
from reports.claims import OrderClaim, RecomputeClaim, SuiteClaim, check_claims, claims_table, load_claims
from reports.frame import load_results
from reports.published import (
    COLUMNS,
    L1,
    Match,
    PublishedError,
    PublishedSpec,
    load_published,
    load_published_specs,
    parameters,
    published_folder,
    published_table,
)
from reports.published_figures import gains, published_figure, ratio_figure

SPECS = load_published_specs()


def test_every_number_has_a_paper_a_version_and_a_table():
    for path in published_folder().glob("*.csv"):
        frame = load_published(path.stem)
        assert list(frame.columns[: len(COLUMNS)]) == COLUMNS
        assert (frame[["paper", "version", "table", "metric"]].to_numpy() != "").all()
        assert np.isfinite(frame["value"].to_numpy()).all()
        assert not frame.duplicated([name for name in COLUMNS if name != "value"]).any()


@pytest.mark.parametrize("name", SPECS)
def test_every_published_table_is_built_with_its_sources(name):
    table = published_table(name, SPECS[name])
    keys = [row.key for row in table.rows], [column.key for column in table.columns]
    assert table.cells and all(len(set(k)) == len(k) and not any("/" in x for x in k) for k in keys)
    assert all(cell.facts["source"] and cell.value is not None for cell in table.cells.values())


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.figure != "none"])
def test_published_figures_have_no_overlapping_titles(name):
    figure = published_figure(SPECS[name])
    assert figure is not None
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_visible() and axes.get_title()]
    boxes += [axes._left_title.get_window_extent(renderer) for axes in figure.axes if axes.get_visible()]  # type: ignore[attr-defined]
    boxes = [box for box in boxes if box.width > 0]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_figure_4_has_the_labels_of_the_paper():
    # sentence completion pools the 13 languages of XCOPA and XStoryCloze; labels printed in the paper's figure
    frame = load_published("xmtf")
    keep = (frame["table"] == "Table 9") & (frame["prompt"] == "EN") & (frame["metric"] == "median_acc_5prompts")
    frame = pd.DataFrame(frame[keep & frame["lang"].isin(L1)])
    models = ["XGLM-7.5B", "BLOOM", "mTk-13B", "BLOOMZ-P3", "BLOOMZ", "mT0-13B"]
    printed = {
        ("XCOPA", "XStoryCloze"): [51.8, 52.9, 50.4, 80.5, 82.6, 86.0],
        ("XNLI",): [33.3, 33.6, 34.8, 47.4, 55.3, 57.7],
        ("XWinograd",): [50.3, 50.6, 54.7, 54.6, 66.3, 74.6],
    }
    for tasks, labels in printed.items():
        means = pd.DataFrame(frame[frame["task"].isin(list(tasks))]).groupby("model")["value"].mean()
        assert [means[model] for model in models] == pytest.approx(labels, abs=0.051), tasks


def test_instruction_modelling_gain_grows_with_the_length_ratio():
    table = gains()
    assert len(table) == 7
    assert table.loc["Less MMLU Chat", "gain"] == pytest.approx(100 * (9.78 / 4.42 - 1))
    assert table.loc["LIMA", "ratio"] == pytest.approx(0.0942)
    assert np.corrcoef(stats.rankdata(table["gain"]), stats.rankdata(table["ratio"]))[0, 1] > 0.5
    assert ratio_figure().axes


def test_all_published_medians_and_means_are_recomputed():
    found = {finding.claim.name: finding for finding in check_claims(load_claims(), None)}
    assert found["xmtf_table9_medians"].evidence.startswith("332 of 332")  # the 284 of the paper's figures among them
    assert found["im_table1_means"].evidence.startswith("23 of 23")
    assert found["im_helps_on_long_instructions"].verdict == "supported"
    assert found["multitask_finetuning_generalises"].verdict == "mixed"
    assert found["mini_im_over_it"].verdict.startswith("not testable")
    table = claims_table(list(found.values()))
    assert len(table.cells) == 4 * len(found)


def test_claims_can_fail():
    wrong = OrderClaim(
        kind="order", name="a", text="", source="", paper="instruction_modelling", where={"table": ("Table 2",)},
        column="system", first="IM", second="IT", pair_by=("model",),
    )  # fmt: skip
    bad = RecomputeClaim(
        kind="recompute", name="b", text="", source="", paper="instruction_modelling",
        where={"table": ("Table 1",), "metric": ("category_mean_pct",)}, combine="median",
        whole={"task": ("Mean of 6 categories (18 NLP tasks)",)}, pair_by=("system", "model"), tolerance=0.01,
    )  # fmt: skip
    none = wrong.model_copy(update={"first": "nobody"})
    verdicts = [finding.verdict for finding in check_claims([wrong, bad, none], None)]
    assert verdicts == ["contradicted", "contradicted", "not testable: no published pair"]


def test_a_cell_of_several_numbers_and_unknown_columns_are_errors():
    spec = SPECS["im_table2"].model_copy(update={"rows": ("metric",)})
    with pytest.raises(PublishedError, match="7 numbers"):
        published_table("x", spec)
    with pytest.raises(PublishedError, match="unknown column 'colour'"):
        published_table("x", SPECS["im_table2"].model_copy(update={"rows": ("colour",)}))
    with pytest.raises(PublishedError, match="Known: diffusionllm"):
        load_published("nothing")
    assert (parameters("560M"), parameters("7.1B"), parameters("39-43M")) == (5.6e8, 7.1e9, None)


@pytest.fixture(scope="module")
def xnli(tmp_path_factory):
    """A suite of one system that ran one published task, right on 45 % and on 90 % of its items."""
    base = tmp_path_factory.mktemp("beside")
    suite = synthetic.make_suite(systems=("bloomz",))
    data = suite.model_dump() | {"evaluations": [{"name": "main", "tasks": ["mini_nli", "mini_copa"]}], "speed": None}
    suite = Suite.model_validate(data)
    root = base / "toy"
    (root / "corpus").mkdir(parents=True)
    (root / "corpus/manifest.json").write_text("{}")
    for seed in suite.seeds:
        synthetic.write_checkpoint(root, "bloomz", seed)
        for task, share in (("mini_nli", 0.45), ("mini_copa", 0.9)):
            lines = synthetic.samples(task, share, 50, random.Random(f"{seed} {task}"))
            synthetic.write_run(root, suite, "bloomz", seed, "main", task, lines)
    return load_results(suite, root, synthetic.write_groups(base / "tasks"))


def spec_with(*matches: Match) -> PublishedSpec:
    return PublishedSpec(
        title="t", paper="z_bench", tables=("Z-Bench",), rows=("model",), columns=("subset",), matches=matches
    )


def match(task: str, subset: str, **more) -> Match:
    return Match(where={"subset": subset}, systems={"ERNIE Bot (0317)": "bloomz"}, tasks=(task,), metric="acc", **more)


def test_ours_matches_differs_or_cannot_be_compared(xnli):
    # published: basic 42.86, advanced 20.1
    spec = spec_with(
        match("mini_nli", "basic"), match("mini_copa", "advanced"), match("mini_copa", "domain", why="other prompts")
    )
    found = list(beside(xnli, {"z": spec}))
    assert [(entry.published, entry.verdict) for entry in found] == [
        (42.86, "match"),
        (20.1, "differs"),
        (28.21, "not comparable: other prompts"),
    ]
    table = beside_table(xnli, {"z": spec})
    assert table is not None
    row = table.rows[1].key
    assert table.cells[row, "difference"].value == pytest.approx((found[1].cell.value or 0) - 20.1)
    assert len(table.cells[row, "ours"].runs) == 2
    assert beside_table(xnli, {"z": spec_with()}) is None


def test_a_suite_claim_needs_significance(xnli):
    side = {"system": "bloomz"}
    claim = SuiteClaim.model_validate(
        {
            "kind": "suite",
            "name": "c",
            "text": "",
            "source": "",
            "first": side,
            "second": side,
            "tasks": ["mini_nli"],
            "metric": "acc",
        }
    )
    assert check_claims([claim], xnli)[0].verdict == "undecided"
    other = claim.model_copy(update={"second": claim.first.model_copy(update={"system": "mt0"})})
    assert "has no system mt0" in check_claims([other], xnli)[0].verdict
