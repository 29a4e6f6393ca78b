"""Suites, recipes and records: strict YAML with helpful errors, seals that notice changes."""

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config import ConfigError
from harness.records import CheckpointRecord, RecordError, digest_of, read_checkpoint, seal, write_atomically
from harness.suites import Suite, load_suite, suites_folder
from trainers.batches import BatchPlan, PackedPlan
from trainers.recipe import Recipe, load_recipe

RECIPES = sorted(Path("trainers/recipes/mini").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(suites_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_suite_loads_and_its_recipes_exist(path):
    suite = load_suite(path.stem)
    assert suite.name == path.stem
    for system in suite.systems:
        recipe = load_recipe(Path(system.recipe))
        assert recipe.adapter == system.adapter
        assert (recipe.mixture.source == "embedded") <= (suite.corpus is not None)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_every_system_has_its_size(name):
    used = {Path(system.recipe.split("@")[0]).stem.removesuffix("_small") for system in load_suite(name).systems}
    assert used == {path.stem.removesuffix("_small") for path in Path("trainers/recipes/systems").glob("*.yaml")}
    methods = {bool(load_recipe(Path(s.recipe)).objective.settings.get("instruction_loss")) for s in load_suite(name).systems if "instruction_modelling" in s.recipe}  # fmt: skip
    assert methods == {True, False}


@pytest.mark.parametrize(
    "change,sentence",
    [
        ({"length": {"kind": "pooled_embedding", "probe": 4, "steps": 5}}, "kind: transformer"),
        ({"length": {"kind": "transformer", "probe": 4}}, "a stage of its own"),
        ({"length": {"kind": "transformer", "probe": 4, "steps": 5}, "layout": {"name": "isolated"}}, "joint"),
    ],
)
def test_a_probe_needs_a_head_that_can_read_it(change, sentence):
    recipe = load_recipe(Path("trainers/recipes/mini/diffusionllm.yaml")).model_dump()
    with pytest.raises(ValueError, match=sentence):
        Recipe(**{**recipe, **change})


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_recipe_loads(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem and recipe.family in ("causal", "seq2seq", "masked")


def test_mini_recipes_are_matched():
    mini = [load_recipe(path) for path in RECIPES if path.parent.name == "mini"]
    assert (
        len(
            {
                (r.training.steps, r.training.batch_size, r.training.bucket_batches, r.mixture, r.training.max_length)
                for r in mini
            }
        )
        == 1
    )


def test_an_unknown_suite_gets_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'mini'"):
        load_suite("minni")


def test_a_judge_section_names_a_system_of_the_suite():
    suite = load_suite("mini")
    assert suite.judge is not None and suite.judge.baseline == "decoder_it"
    with pytest.raises(ValueError, match="judge.baseline: unknown system 'nobody'"):
        Suite(**{**suite.model_dump(), "judge": {"baseline": "nobody"}})


def test_a_scoring_section_names_systems_of_the_suite():
    suite = load_suite("smoke")
    assert suite.scoring is not None
    wrong = suite.scoring.model_dump() | {"autoregressive": "nobody"}
    with pytest.raises(ValueError, match="scoring.autoregressive: unknown system 'nobody'"):
        Suite(**{**suite.model_dump(), "scoring": wrong})


def test_recipe_id_follows_what_can_change_the_weights():
    recipe = load_recipe(Path("trainers/recipes/mini/mt0.yaml"))
    renamed = recipe.model_copy(update={"label": "other"})
    reseeded = recipe.model_copy(update={"seed": 5})
    assert recipe.recipe_id({"a": "1"}) == renamed.recipe_id({"a": "1"})
    assert len({recipe.recipe_id({"a": "1"}), reseeded.recipe_id({"a": "1"}), recipe.recipe_id({"a": "2"})}) == 3


def test_batches_are_the_same_for_all_and_cover_everything():
    lengths = [(7 * i) % 31 for i in range(1000)]
    plan = list(BatchPlan(lengths, 10, 150, seed=1, window=5))
    assert (
        plan
        == list(BatchPlan(lengths, 10, 150, seed=1, window=5))
        != list(BatchPlan(lengths, 10, 150, seed=2, window=5))
    )
    assert sorted(i for batch in plan[:100] for i in batch) == list(range(1000))
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in plan]
    assert sum(spread) / len(spread) < 10  # bucketed: a random batch of ten would spread over about 25
    with pytest.raises(ConfigError, match="larger than"):
        BatchPlan([1, 2], 10, 1, 0, 1)


def plain_epoch(lengths, batch_size: int, seed: int, window: int, room: int | None, epoch: int) -> list:
    """An epoch's batches, with Python's own lists."""
    rng = random.Random(f"{seed}/batches/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if room is not None:
        rows, free = [], 0
        for index in order:
            if lengths[index] > room:
                continue
            if lengths[index] > free:
                rows.append([])
                free = room
            rows[-1].append(index)
            free -= lengths[index]
        return [rows[at : at + batch_size] for at in range(0, len(rows) - batch_size + 1, batch_size)]
    made = []
    for start in range(0, len(order), batch_size * window):
        part = sorted(order[start : start + batch_size * window], key=lambda index: lengths[index])
        batches = [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        rng.shuffle(batches)
        made += [batch for batch in batches if len(batch) == batch_size]
    return made


@pytest.mark.parametrize(
    "examples,batch,window,room",
    [(103, 10, 3, None), (40, 7, 1, None), (10, 10, 2, None), (103, 4, 1, 40), (57, 2, 1, 29)],
)
def test_the_order_of_batches_is_that_of_plain_lists(examples, batch, window, room):
    lengths = [1 + (7 * i) % 31 for i in range(examples)]
    wanted = [one for epoch in range(4) for one in plain_epoch(lengths, batch, 5, window, room, epoch)]
    if room is None:
        found = BatchPlan(lengths, batch, len(wanted), 5, window)
    else:
        found = PackedPlan(lengths, batch, len(wanted), 5, room)
    assert list(found) == wanted
    assert found[len(wanted) // 2] == wanted[len(wanted) // 2]  # back in an earlier epoch
    assert all(type(index) is int for index in found[0]) or room is not None


@pytest.mark.parametrize("room", [None, 64])
def test_a_plan_takes_a_few_bytes_an_example(room):
    lengths: Any = np.full(100_000, 20, dtype=np.int32)
    tracemalloc.start()
    plan = BatchPlan(lengths, 100, 5, 0, 1) if room is None else PackedPlan(lengths, 100, 5, 0, room)
    plan[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / len(lengths) < 40


def test_a_changed_checkpoint_is_named(tmp_path, checkpoints):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(checkpoints["mt0"], folder)
    assert isinstance(read_checkpoint(folder, verify=True), CheckpointRecord)
    (folder / "recipe.yaml").write_text("changed")
    with pytest.raises(RecordError, match="recipe.yaml was changed"):
        read_checkpoint(folder, verify=True)
    (folder / "checkpoint.json").unlink()
    with pytest.raises(RecordError, match="did not finish"):
        read_checkpoint(folder)


def test_seals_and_digests(tmp_path, checkpoints):
    record = read_checkpoint(checkpoints["mt0"])
    seal(record, tmp_path)
    assert read_checkpoint(tmp_path) == record
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_an_unwritable_place_is_one_sentence_and_leaves_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(RecordError, match="cannot write"):
        write_atomically(blocked / "record.json", "{}")
    assert list(tmp_path.iterdir()) == [blocked]
