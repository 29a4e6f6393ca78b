"""Tables: known numbers, absent runs, honest marks, and the three formats."""

from __future__ import annotations

import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic

from harness.config import ConfigError
from reports import statistics
from reports.cells import Cell, TableError
from reports.frame import load_results
from reports.render import CSV_COLUMNS, latex_escape, markdown_escape, notes, to_csv, to_latex, to_markdown
from reports.tables import Line, Table, TableSpec, build_tables, load_specs
from reports.terminal import display_width


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("tables")
    suite = synthetic.make_suite()
    tasks = synthetic.write_groups(base / "tasks")
    return suite, synthetic.write_results(base / suite.name, suite, per_language=4), tasks


@pytest.fixture(scope="module")
def results(made):
    return load_results(*made)


@pytest.fixture(scope="module")
def tables(results):
    return build_tables(results, load_specs())


def raw(results, system, task, metric, evaluation="main", language=None):
    """Items × seeds straight from the item frame."""
    rows = results.items
    rows = rows[(rows.system == system) & (rows.task == task) & (rows.metric == metric)]
    rows = rows[rows.evaluation == evaluation]
    rows = rows if language is None else rows[rows.language == language]
    return rows.pivot(index="item", columns="seed", values="value").to_numpy(float)


def test_every_shipped_table_is_built(tables):
    shipped = "main main_detail language corpus ablation estimators lengths variance speed"
    assert list(tables) == shipped.split()
    assert all(not table.missing for table in tables.values())


def test_main_cell_is_the_mean_over_seeds_of_item_means(results, tables):
    cell = tables["main"].cells[("mt0", "story")]
    y = raw(results, "mt0", "mini_story", "acc")
    everyone = [raw(results, system, "mini_story", "acc") for system in synthetic.SYSTEMS]
    expected = statistics.estimate(y, statistics.seed_spread(everyone))
    assert cell.value == pytest.approx(100 * y.mean(0).mean())
    assert cell.facts["stderr"] == pytest.approx(100 * expected.stderr)
    assert (cell.facts["low"], cell.facts["high"]) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert cell.facts["seed_sd"] == pytest.approx(100 * y.mean(0).std(ddof=1))
    assert cell.facts["n_items"] == 24 and len(cell.runs) == 2
    assert cell.text.startswith(f"{cell.value:.1f} ± {cell.facts['stderr']:.1f} ({cell.facts['seed_sd']:.1f})")


def test_the_same_cell_has_the_same_error_in_every_table(tables):
    main = tables["main"].cells[("instruct_xmlr", "retell")].facts
    assert tables["lengths"].cells[("instruct_xmlr:main", "retell")].facts["stderr"] == main["stderr"]
    copa = tables["main"].cells[("diffusionllm", "copa")].facts["stderr"]
    assert tables["estimators"].cells[("diffusionllm:main", "copa")].facts["stderr"] == copa
    im = tables["main"].cells[("decoder_im", "copa")].facts["stderr"]
    assert tables["ablation"].cells[("decoder:copa", "im")].facts["stderr"] == im


def test_chance_items_kind_and_sizes(tables):
    cells = tables["main"].cells
    assert (cells[("chance", "nli")].text, cells[("chance", "copa")].text) == ("33.3", "50.0")
    assert cells[("chance", "retell")].text == "none" and cells[("items", "nli")].text == "24"
    assert (cells[("decoder_it", "kind")].text, cells[("diffusionllm", "kind")].text) == ("exact", "bound")
    assert (cells[("mt0", "parameters")].text, cells[("mt0", "tokens")].text) == ("0.12 M", "2.90 M")


def test_marks_are_holm_over_all_tested_cells(results, tables):
    table = tables["main"]
    tested = {key: cell for key, cell in table.cells.items() if "p" in cell.facts}
    assert len(tested) == 7 * 6
    adjusted = statistics.holm([cell.facts["p"] for cell in tested.values()])
    for cell, p_holm in zip(tested.values(), adjusted, strict=True):
        assert cell.facts["p_holm"] == p_holm
        assert cell.text.endswith("*") == (p_holm <= 0.05)
    y = raw(results, "bloomz", "mini_nli", "acc")
    expected = statistics.above_chance(y, np.full(len(y), 1 / 3))
    assert table.cells[("bloomz", "nli")].facts["p"] == pytest.approx(expected)
    assert "p" not in table.cells[("bloomz", "heldin_cls")].facts


def test_detail_spells_out_the_main_table(tables):
    main, detail = tables["main"], tables["main_detail"]
    assert len(detail.rows) == 7 * 12
    cell = main.cells[("bloomz", "winograd")]
    row = "bloomz:winograd"
    assert detail.cells[(row, "mean")].value == cell.value
    assert detail.cells[(row, "interval")].text == f"{cell.facts['low']:.1f} – {cell.facts['high']:.1f}"
    seeds = [float(part.split("=")[1]) for part in cell.facts["seed_values"].split(";")]
    assert detail.cells[(row, "seeds")].text == " / ".join(f"{value:.1f}" for value in seeds)


def test_language_cells_weigh_tasks_equally(results, tables):
    cell = tables["language"].cells[("heldout:mt0", "sw")]
    tasks = ("mini_nli", "mini_copa", "mini_story", "mini_winograd")
    means = [raw(results, "mt0", task, "acc", language="sw").mean() for task in tasks]
    assert cell.value == pytest.approx(100 * np.mean(means))
    assert cell.facts["chance"] == pytest.approx(100 * (1 / 3 + 1.5) / 4)
    assert [column.key for column in tables["language"].columns] == list(synthetic.LANGUAGES)


def test_ablation_is_paired_with_the_reference(results, tables):
    table = tables["ablation"]
    a, b = (raw(results, name, "mini_copa", "acc") for name in ("decoder_neftune", "decoder_it"))
    cell = table.cells[("decoder:copa", "neftune_difference")]
    assert cell.value == pytest.approx(100 * (a - b).mean())
    everyone = [raw(results, system, "mini_copa", "acc") for system in synthetic.SYSTEMS]
    expected = statistics.paired_difference(a, b, statistics.seed_spread(everyone))
    assert cell.facts["p"] == pytest.approx(expected.p)
    assert table.cells[("decoder:copa", "neftune_p_items")].value == pytest.approx(expected.p_items)
    p_cells = [cell for (_, column), cell in table.cells.items() if column.endswith("_p")]
    assert [c.facts["p_holm"] for c in p_cells] == statistics.holm([c.facts["p"] for c in p_cells])
    assert len(cell.runs) == 4


def test_estimators_show_cost_kind_and_agreement(results, tables):
    cells = tables["estimators"].cells
    assert (cells[("instruct_xmlr:main", "kind")].text, cells[("instruct_xmlr:pll", "kind")].text) == (
        "bound",
        "pseudo",
    )
    assert cells[("instruct_xmlr:main", "rows_per_item")].value == pytest.approx(4 * (2 + 2) / 2)
    assert cells[("instruct_xmlr:pll", "seconds")].value == pytest.approx(1000 * 5 * (2 + 2) / 2 / 900, rel=0.01)
    same = []
    for task in ("mini_copa", "mini_story"):
        rows = results.items
        rows = rows[(rows.system == "instruct_xmlr") & (rows.task == task) & (rows.metric == "acc")]
        wide = rows.pivot(index=["item", "seed"], columns="evaluation", values="prediction")
        same += (wide["main"] == wide["pll"]).tolist()
    assert cells[("instruct_xmlr:pll", "agreement")].value == pytest.approx(100 * np.mean(same))
    assert {row.key.split(":")[0] for row in tables["estimators"].rows} == {
        *synthetic.PARALLEL,
        "chance",
        "items",
    }


def test_oracle_rows_are_marked_and_explained(tables):
    table = tables["lengths"]
    marked = {row.key: row.labels[1].endswith("†") for row in table.rows if ":" in row.key}
    assert marked == {f"{s}:{e}": e == "oracle_length" for s in synthetic.PARALLEL for e in ("main", "oracle_length")}
    assert any(note.startswith("†") for note in notes(table, "toy"))


def test_speed_ratios_are_against_the_cached_decoder_at_the_same_batch(made, tables):
    frame = pd.read_csv(made[1] / "speed/decoding.csv")
    frame = frame[frame.batch_size == 32].set_index(["mode", "seed"])["tokens_per_second_median"]
    expected = (frame["xmlr_4"] / frame["decoder_kv"]).mean()
    cells = tables["speed"].cells
    assert cells[("xmlr_4:32", "ratio")].value == pytest.approx(expected)
    assert cells[("decoder_kv:1", "ratio")].value == pytest.approx(1.0)
    assert cells[("xmlr_4:32", "tokens_per_second")].value == pytest.approx(frame["xmlr_4"].mean())


def test_missing_runs_are_dashes_with_the_command_never_zero(made, tmp_path):
    suite, root, tasks = made
    shutil.copytree(root, tmp_path / "r")
    shutil.rmtree(tmp_path / "r/runs/decoder_it-1/main/mini_nli")
    shutil.rmtree(tmp_path / "r/speed")
    tables = build_tables(load_results(suite, tmp_path / "r", tasks), load_specs())
    cell = tables["main"].cells[("decoder_it", "nli")]
    # One seed of two is not a mean over seeds.
    assert (cell.text, cell.value, cell.runs) == ("—", None, ())
    assert tables["main"].cells[("decoder_im", "nli")].value is not None
    assert tables["ablation"].cells[("decoder:nli", "im_difference")].text == "—"
    assert tables["main_detail"].cells[("decoder_it:nli", "mean")].text == "—"
    assert tables["speed"].cells[("xmlr_4:32", "ratio")].text == "—"
    text = to_markdown(tables["main"], suite.name)
    assert "— not run yet (`decoder_it-1/main/mini_nli`): `make tables SUITE=toy`" in text
    row = next(
        line for line in to_csv(tables["main"]).splitlines() if line.startswith("main,decoder_it,") and ",nli," in line
    )
    assert set(row.split("NLI")[1]) == {","}
    assert "not measured yet" in to_markdown(tables["speed"], suite.name)


def test_an_empty_suite_has_tables_of_dashes(made, tmp_path):
    suite, _, tasks = made
    tables = build_tables(load_results(suite, tmp_path, tasks), load_specs())
    assert len(tables["main"].missing) == 7 * 2 * 12
    scores = [cell for (row, _), cell in tables["main"].cells.items() if row in synthetic.SYSTEMS]
    assert {cell.text for cell in scores} == {"—"}


def test_tables_without_rows_or_tasks_are_left_out(made, tmp_path):
    suite = synthetic.make_suite(name="small", systems=("mt0",))
    synthetic.write_results(tmp_path, suite, per_language=1, speed=False)
    tables = build_tables(load_results(suite, tmp_path, made[2]), load_specs())
    assert list(tables) == ["main", "main_detail", "language", "corpus", "speed"]
    assert list(build_tables(load_results(suite, tmp_path, tmp_path), {})) == ["other_tasks"]


def test_one_seed_says_so_and_has_no_spread(made, tmp_path):
    suite = synthetic.make_suite(seeds=(0,), systems=("decoder_it", "decoder_im"))
    synthetic.write_results(tmp_path, suite, per_language=2)
    tables = build_tables(load_results(suite, tmp_path, made[2]), load_specs())
    cell = tables["main"].cells[("decoder_it", "heldin_cls")]
    assert cell.facts["seed_sd"] is None and "(" not in cell.text
    assert cell.facts["low"] == cell.facts["low_items"]


def test_a_metric_that_no_run_has_is_an_error(results):
    spec = load_specs()["main"]
    wrong = spec.groups[0].model_copy(update={"metric": "f2"})
    with pytest.raises(TableError, match="no metric 'f2'; it has: acc, acc_norm"):
        build_tables(results, {"x": spec.model_copy(update={"groups": (wrong,)})})


def test_specs_are_strict(tmp_path):
    (tmp_path / "x.yaml").write_text("title: X\nform: scores\ngruops: []\n")
    with pytest.raises(ConfigError, match="unknown key 'gruops', did you mean 'groups'"):
        load_specs(tmp_path)
    (tmp_path / "x.yaml").write_text("title: X\nform: scores\n")
    with pytest.raises(ConfigError, match="needs at least one"):
        load_specs(tmp_path)


def test_csv_is_tidy_and_unrounded(tables):
    frame = pd.read_csv(io.StringIO(to_csv(tables["main"])))
    assert list(frame.columns) == list(CSV_COLUMNS)
    row = frame[(frame.row == "mt0") & (frame.column == "nli")].iloc[0]
    assert row["value"] == tables["main"].cells[("mt0", "nli")].value and row["unit"] == "%"
    assert row["runs"].split() == list(tables["main"].cells[("mt0", "nli")].runs)


def test_markdown_is_aligned_and_rectangular(tables):
    for table in tables.values():
        lines = [line for line in to_markdown(table, "toy").splitlines() if line.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        assert len({display_width(line) for line in lines}) == 1
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_latex_is_balanced_and_rectangular(tables):
    for table in tables.values():
        text = to_latex(table, "toy_suite")
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}") and text.count("$") % 2 == 0
        assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
        columns = len(table.stubs) + len(table.columns)
        align = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
        assert align and len(align[1]) == columns
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}
        assert len(rows) == len(table.rows) + 1
        assert re.search(r"[^\x00-\x7f]", text) is None


def test_hostile_labels_stay_text():
    bad = "<script>|`x`|</script> [a](b) _c_ & 100 % $x^2$ \\ {y} ~\n#"
    spec = TableSpec(title="T", form="speed")
    table = Table("t", spec, ("S",), (Line("r", (bad,)),), (Line("c", (bad,)),), {("r", "c"): Cell(bad)})
    text = to_markdown(table, "s")
    assert "<script>" not in text.replace("\\<", "") and "](b)" not in text.replace("\\](", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows)
    assert markdown_escape("*a*") == r"\*a\*"
    assert latex_escape("50 % & x_1 {a} \\ ~^#$ [") == (
        r"50 \% \& x\_1 \{a\} \textbackslash{} \textasciitilde{}\textasciicircum{}\#\$ {[}"
    )
    assert to_csv(table).count(bad.replace("\n", "\n")) == 3
