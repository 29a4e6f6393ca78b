"""Instruction Modelling's analyses: pairs, gains and fits by hand; a whole analysis of toy checkpoints."""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from harness.config import ConfigError
from tests.conftest import WORDS
from trainers.__main__ import parser
from trainers.analysis import Subject, analyse, fits, gains, subject, unseen, written
from trainers.analysis_tables import TABLES, GainRow, LossRow, SummaryRow, columns, distributions, fit_of, write
from trainers.checkpoint import train_checkpoint
from trainers.commands import run
from trainers.losses import load
from trainers.mixture import read_records
from trainers.recipe import Recipe, load_recipe

SWEEP = Path("trainers/recipes/sweeps/im.yaml")


def given(data: str, method: str, seed: int = 0, words: int = 3) -> Subject:
    """A subject of the sweep, with two training records of so many instruction words."""
    record = {"inputs": " ".join(["w"] * words), "targets": "a b c"}
    recipe = load_recipe(Path(f"{SWEEP}@{data},{method}"), seed=seed)
    return Subject(Path(f"{method}_{data}-{seed}"), recipe, [record] * 2)


def test_methods_ratios_and_pairs():
    it, im, other = given("rows_500", "it"), given("rows_500", "im"), given("rows_500", "im", seed=1)
    assert (it.method, im.method) == ("it", "im") and it.ratio == 1.0 and given("ratio_4", "it", words=15).ratio == 4.0
    assert it.key() == im.key() != other.key() and im.key("seed") == other.key("seed")
    sizes = {given(f"rows_{n}", "im").key("seed", "records", "share", "limit") for n in (500, 2000, 8000)}
    ratios = {given(f"ratio_{n}", "im").key("seed", "nearest_ratio") for n in (1, 2, 4, 8)}
    assert len(sizes) == len(ratios) == 1 and sizes != ratios
    released: dict[str, Any] = im.recipe.model_dump() | {
        "objective": {"name": "causal", "settings": {"instruction_loss": True, "template_loss": True, "kl_weight": 0.1}}
    }
    assert Subject(Path("x"), Recipe(**released), []).method == "im_released+kl"


def test_gains_and_fits_by_hand():
    subjects, rows, summary = [], [], []
    for words, gain in [(3, 20.0), (15, 30.0), (27, 10.0)]:
        for method, losses in (("it", [1.0, 3.0]), ("im", [1.0 - gain / 100, 3.0 - 3 * gain / 100])):
            one = given(f"ratio_{words // 6 * 2 or 1}", method, words=words)  # ratios 1, 4, 7
            subjects.append(one)
            name = one.folder.name
            rows += [LossRow(name, method, "test", n, loss, 5) for n, loss in enumerate(losses)]
            for part, mean in (("train", 0.5), ("test", sum(losses) / 2)):
                summary.append(SummaryRow(name, method, 0, 2, one.ratio, part, 2, mean, 0, 0, 0, 0, None))
    found = gains(subjects, rows, summary)
    assert [row.gain for row in found] == pytest.approx([20, 30, 10]) and [row.ratio for row in found] == [1, 4, 7]
    assert all(row.gain_standard_error == pytest.approx(0, abs=1e-9) for row in found)  # the same share of every loss
    (fit,) = fits(subjects, found)
    by_hand = fit_of("im_sweep_ratio_1_im", "im", "ratio", [1, 4, 7], [20, 30, 10])
    assert (fit.slope, fit.slope_standard_error) == pytest.approx((by_hand.slope, by_hand.slope_standard_error))
    assert (fit.sweep, fit.method, fit.against) == ("im_sweep_ratio_1_im", "im", "ratio")
    assert (fit.points, fit.lowest, fit.highest) == (3, 1, 7)
    paper = fit_of("paper", "im", "ratio", [0.1, 1, 10], [18.85 * math.log10(x) + 25.83 for x in (0.1, 1, 10)])
    assert (paper.slope, paper.intercept, paper.r_squared) == pytest.approx((18.85, 25.83, 1.0))
    assert fits(subjects[:4], found[:2]) == []  # two points make no fit


def test_fits_of_other_methods_and_recipes_can_be_told_apart():
    subjects, rows = [], []
    for words, data in [(27, "ratio_8"), (3, "ratio_1"), (15, "ratio_4")]:
        im = given(data, "im", words=words)
        plain: dict[str, Any] = im.recipe.model_dump()
        settings = {"settings": plain["objective"]["settings"] | {"template_loss": True}}
        released = plain | {"objective": plain["objective"] | settings}
        longer = plain | {"name": f"longer_{data}", "training": plain["training"] | {"epochs": 9}}
        for recipe in (plain, released, longer):
            one = Subject(Path(str(len(subjects))), Recipe(**recipe), im.trained_on)
            subjects.append(one)
            rows.append(GainRow("it", one.folder.name, 0, 2, one.ratio, 0, 0, 0, 0, float(words), 0))
    assert [(fit.sweep, fit.method, fit.against, fit.points) for fit in fits(subjects, rows)] == [
        ("im_sweep_ratio_1_im", "im", "ratio", 3),
        ("im_sweep_ratio_1_im", "im_released", "ratio", 3),
        ("longer_ratio_1", "im", "ratio", 3),
    ]


def test_distributions_hold_every_example_once():
    rows = [LossRow(name, "it", "test", n, loss, 1) for name in "ab" for n, loss in enumerate([0.0, 0.4, 4.0])]
    found = distributions(rows, bins=4)
    assert [(row.low, row.high) for row in found[:4]] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [row.count for row in found] == [2, 0, 0, 1] * 2


def test_unseen_records_come_from_no_training_set():
    one = given("rows_500", "it")
    records = [
        {"inputs": "w w w", "targets": "a b c"},
        {"inputs": "x", "targets": "y"},
        {"inputs": "z", "targets": "y"},
    ]
    assert unseen(records, [one], 1) == records[2:] and unseen(records, [one], 9) == records[1:]
    with pytest.raises(ConfigError, match="--test FILE"):
        unseen(records[:1], [one], 5)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, tokenizer):
    """A corpus, and IT and IM trained on three sizes of it for a few steps."""
    root, rng = tmp_path_factory.mktemp("sweep"), random.Random(0)
    (root / "corpus").mkdir()
    rows = []
    for number in range(300):
        words = " ".join(rng.choices(WORDS, k=rng.randint(3, 6)))
        rows.append(json.dumps({"inputs": f"say {words} {number}", "targets": words, "language": "en"}))
    (root / "corpus" / "train.jsonl").write_text("\n".join(rows) + "\n")
    (root / "corpus" / "manifest.json").write_text("{}")
    tokenizer.save_pretrained(root / "tokenizer")
    folders = []
    for size in (40, 80, 160):
        for method in ("it", "im"):
            recipe = load_recipe(Path(f"{SWEEP}@rows_500,{method}"), steps=4)
            mixture = recipe.mixture.model_copy(update={"records": size})
            folders.append(root / f"{method}-{size}")
            where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer"), "out": folders[-1]}
            train_checkpoint(recipe.model_copy(update={"mixture": mixture}), **where)
    return root, folders


def test_a_whole_analysis(sweep, checkpoints, tmp_path):
    root, folders = sweep
    subjects = [subject(folder, root / "corpus") for folder in folders]
    masked = subject(checkpoints["diffusionllm"], checkpoints["diffusionllm"].parent / "corpus")
    test = unseen(read_records([root / "corpus" / "train.jsonl"], None), subjects, 30)
    found = analyse([*subjects, masked], test, examples=20, answers=4)
    assert {name: len(rows) for name, rows in found.items() if name in ("summary", "gains", "fits")} == {
        "summary": 14, "gains": 3, "fits": 1,
    }  # fmt: skip
    assert [row.training_examples for row in found["gains"]] == [40, 80, 160]
    bleu = {(row.checkpoint, row.part): row.bleu for row in found["summary"]}
    assert all((value is None) == (part == "test" or name == "diffusionllm") for (name, part), value in bleu.items())
    for row in found["summary"]:
        own = [r.nats_per_token for r in found["losses"] if (r.checkpoint, r.part) == (row.checkpoint, row.part)]
        assert len(own) == row.examples and sum(own) / len(own) == pytest.approx(row.mean)
    write(found, tmp_path)
    for name in TABLES:
        with open(tmp_path / f"{name}.csv", newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        assert list(table[0]) == columns(name) and len(table) == len(found[name])


def test_a_suite_below_another_folder_of_results(sweep, tmp_path, capsys):
    made, folders = sweep
    root = tmp_path / "elsewhere" / "toy"
    (root / "checkpoints").mkdir(parents=True)
    (root / "corpus").symlink_to(made / "corpus")
    systems = [
        {"name": folder.name.replace("-", "_"), "recipe": "-", "adapter": "ar", "label": "-", "paradigm": "-"}
        for folder in folders
    ]
    plans = {"evaluations": [{"name": "main", "tasks": ["mini_heldin"]}], "analysis": {"examples": 9, "answers": 0}}
    suite = {"name": "toy", "description": "-", "seeds": [0], "systems": systems} | plans
    (tmp_path / "toy.yaml").write_text(json.dumps(suite))
    command = ["analysis", "--suite", str(tmp_path / "toy.yaml"), "--results", str(tmp_path / "elsewhere")]
    with pytest.raises(ConfigError, match="elsewhere/toy/checkpoints/it_40-0"):
        run(parser().parse_args(command))
    for folder in folders:
        (root / "checkpoints" / (folder.name.replace("-", "_") + "-0")).symlink_to(folder)
    run(parser().parse_args(command))
    printed = capsys.readouterr().out
    assert "im_sweep_rows_500_im (im): gain = " in printed and str(root / "analysis" / "fits.csv") in printed
    assert {path.stem for path in (root / "analysis").iterdir()} == set(TABLES)


def test_answers_do_not_depend_on_the_batch(sweep):
    from trainers.encode import encode

    loaded = load(str(sweep[1][0]))
    records = read_records([sweep[0] / "corpus" / "train.jsonl"], 9)
    examples = encode(records, loaded.tokenizer, "plain", 200).examples
    together = written(loaded.network, loaded.tokenizer, examples)
    longest = max(range(9), key=lambda n: len(examples[n].target))
    for number in range(9):
        pair = written(loaded.network, loaded.tokenizer, [examples[number], examples[longest]])
        assert pair[0] == together[number]
