"""Full against clean: the split by hand, its interval by simulation, and files that are not there or of other data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
import yaml

from harness.records import digest_of, sha256_file
from harness.suites import CorpusPlan
from reports.cells import Scores, TableError
from reports.contamination_table import full_against_clean, mixture_of, read_found, subset
from reports.frame import load_results
from reports.provenance import explain
from reports.render import to_csv
from reports.tables import build_tables, load_specs
from trainers.contamination import Contamination, write

SPEC = {"contamination": load_specs()["contamination"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("contamination")
    suite = synthetic.make_suite(systems=("decoder_it", "mt0")).model_copy(update={"corpus": CorpusPlan()})
    tasks = synthetic.write_groups(base / "tasks")
    root = synthetic.write_results(base / suite.name, suite, per_language=4, speed=False)
    (root / "corpus" / "train.jsonl").write_text("{}\n")
    return suite, root, tasks


def write_found(root, dirty: dict[str, set[int]], skip: str = "", place: str = "corpus", items: Sequence[Path] = ()):
    """contamination.csv of every task: `dirty` task → doc_ids that are not clean; NLI by file and row, others by task."""
    found = {}
    for task in (*synthetic.HELDIN, *synthetic.HELDOUT):
        for number in range(24):
            name = f"nli.jsonl:{number + 1}" if task == "mini_nli" else f"{task}:{number}"
            found[name] = Contamination(number in dirty.get(task, set()), 0.0, False)
    found.pop(skip, None)
    write(found, root / place / "contamination.csv", [root / "corpus" / "train.jsonl"], items)


def table(made, root=None):
    suite, own, tasks = made
    return build_tables(load_results(suite, root or own, tasks), SPEC)["contamination"]


def test_full_clean_and_difference_are_those_of_the_samples(made):
    suite, root, tasks = made
    dirty = {"mini_nli": {0, 3, 4, 9}, "mini_copa": set(range(24))}
    write_found(root, dirty)
    got = table(made)
    lines = [
        [json.loads(line) for line in open(root / f"runs/mt0-{seed}/main/mini_nli/samples.jsonl")] for seed in (0, 1)
    ]
    full = np.mean([[line["acc"] for line in seed] for seed in lines])
    clean = np.mean([[line["acc"] for line in seed if line["doc_id"] not in dirty["mini_nli"]] for seed in lines])
    cells = {column: got.cells["nli:mt0", column] for column in ("items", "removed", "full", "clean", "difference")}
    assert [cells[c].value for c in ("items", "removed")] == [24, 4]
    assert cells["full"].value == pytest.approx(100 * full) and cells["clean"].value == pytest.approx(100 * clean)
    assert cells["difference"].value == pytest.approx(100 * (clean - full))
    assert cells["difference"].facts["low"] < cells["difference"].value < cells["difference"].facts["high"]
    main = build_tables(load_results(suite, root, tasks), {"main": load_specs()["main"]})["main"]
    assert cells["full"].facts["stderr"] == main.cells["mt0", "nli"].facts["stderr"]
    assert got.cells["copa:mt0", "clean"].text == "·"  # nothing is left of it
    assert got.cells["story:mt0", "difference"].text == "+0.0" or got.cells["story:mt0", "removed"].value == 0
    (root / "tables").mkdir(exist_ok=True)
    (root / "tables" / "contamination.csv").write_text(to_csv(got))
    chain = "\n".join(map(str, explain(suite, root, "contamination/nli:mt0/clean")))
    assert sha256_file(root / "corpus" / "contamination.csv") in chain and "runs/mt0-0/main/mini_nli" in chain


def test_nobody_looked_is_a_dash_with_the_command(made, tmp_path):
    root = shutil.copytree(made[1], tmp_path / "toy")
    (root / "corpus" / "contamination.csv").unlink(missing_ok=True)
    got = table(made, root)
    assert got.cells["nli:mt0", "clean"].text == "—" and got.cells["nli:mt0", "full"].value is not None
    assert "python -m trainers contamination results/toy/corpus/train.jsonl" in "".join(got.footnotes)


def test_files_of_other_data_are_refused(made, tmp_path):
    root = shutil.copytree(made[1], tmp_path / "toy")
    write_found(root, {}, skip="mini_copa:7")
    with pytest.raises(TableError, match="lists no item mini_copa:7"):
        table(made, root)
    write_found(root, {})
    (root / "corpus" / "train.jsonl").write_text("{} \n")
    with pytest.raises(TableError, match="train.jsonl, which its record seals, was changed"):
        table(made, root)
    (root / "corpus" / "contamination.json").write_text("[]")
    with pytest.raises(TableError, match="cut off, changed or of another version"):
        table(made, root)


def test_table_and_items_are_sealed_wherever_they_lie(made, tmp_path):
    root = shutil.copytree(made[1], tmp_path / "toy")
    samples = root / "runs/mt0-0/main/mini_nli/samples.jsonl"
    write_found(root, {}, items=[samples])
    recorded = json.loads((root / "corpus" / "contamination.json").read_text())
    assert list(recorded["items"]) == ["../runs/mt0-0/main/mini_nli/samples.jsonl"]
    results = load_results(made[0], root, made[2])
    assert read_found(results, Path("corpus")) is not None
    before = samples.read_text()
    samples.write_text(before + "\n")
    with pytest.raises(TableError, match="mini_nli/samples.jsonl, which its record seals, was changed"):
        read_found(results, Path("corpus"))
    samples.unlink()
    with pytest.raises(TableError, match="mini_nli/samples.jsonl, which its record seals, is gone"):
        read_found(results, Path("corpus"))
    samples.write_text(before)
    with open(root / "corpus" / "contamination.csv", "a") as file:
        file.write("mini_nli:99,0,0.0000,0,1\n")
    with pytest.raises(TableError, match="contamination.csv, which its record seals, was changed"):
        read_found(results, Path("corpus"))


def test_each_system_is_held_against_the_rows_it_was_trained_on(made, tmp_path):
    root = shutil.copytree(made[1], tmp_path / "toy")
    write_found(root, {"mini_nli": {0, 1}})
    mixture = {"source": "sources", "sources": [{"name": "corpus"}]}
    for seed in (0, 1):
        (root / f"checkpoints/mt0-{seed}/recipe.yaml").write_text(yaml.safe_dump({"mixture": mixture}))
        subset = {"mixture": {"source": "embedded", "records": 500}}
        (root / f"checkpoints/decoder_it-{seed}/recipe.yaml").write_text(yaml.safe_dump(subset))
    got, place = table(made, root), f"checkpoints/mixtures/{digest_of(mixture)}"
    assert got.cells["nli:decoder_it", "removed"].value == 2 and got.cells["nli:mt0", "clean"].text == "—"
    notes = " ".join(got.footnotes)
    assert f"contamination results/toy/{place} --items results/toy/corpus/eval/*.jsonl`" in notes
    assert "Decoder IT: trained on the corpus's first 500 rows" in notes
    write_found(root, {"mini_nli": {0, 1, 2}}, place=place)
    got = table(made, root)
    assert [got.cells[f"nli:{system}", "removed"].value for system in ("decoder_it", "mt0")] == [2, 3]
    assert got.cells["nli:mt0", "clean"].facts["measured"] == f"{place}/contamination.csv"


@pytest.mark.parametrize("right", [0.5, 0.9])
def test_the_interval_covers_the_true_difference(right):
    """Contaminated items are easier by 0.08; 95 % or a little more (Newcombe's interval is on the safe side)."""
    rng, runs, inside = np.random.default_rng(0), 1500, 0
    dirty = np.arange(200) < 40
    chance = np.where(dirty, right + 0.08, right)
    truth = chance[~dirty].mean() - chance.mean()
    for _ in range(runs):
        values = (rng.random(200) < chance).astype(float)[:, None]
        value, low, high = full_against_clean(*subset(_scores(values), ~dirty))
        assert value == pytest.approx(values[~dirty].mean() - values.mean())
        inside += low <= truth <= high
    assert 0.94 <= inside / runs <= 0.975


def _scores(values_IS: np.ndarray) -> Scores:
    count = len(values_IS)
    return Scores(
        items=pd.Index([f"t/{i}" for i in range(count)]), values_IS=values_IS, predictions_IS=values_IS, chance_I=values_IS[:, 0],
        strata=None, seeds=(0,), runs=(), kinds=(), oracle_length=False, approximate=False, documents=np.arange(count),
    )  # fmt: skip


def test_a_mixture_is_looked_for_where_training_puts_it(tmp_path):
    """Reports may not import trainers: the two must agree on the folder's name."""
    from trainers.checkpoint import mixture_folder
    from trainers.recipe import load_recipe

    recipe = load_recipe(Path("trainers/recipes/sweeps/im.yaml@ratio_2,it"))
    suite = synthetic.make_suite(systems=("mt0",), seeds=(0,))
    root = synthetic.write_results(tmp_path / "toy", suite, per_language=1, speed=False)
    folder = root / "checkpoints" / "mt0-0"
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    results = load_results(suite, root, synthetic.write_groups(tmp_path / "tasks"))
    assert root / (mixture_of(results, "mt0") or "") == mixture_folder(recipe, folder)
