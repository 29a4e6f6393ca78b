"""Suites and recipes that are shipped: every one loads, and fits the others."""

from pathlib import Path

import pytest

from harness.config import ConfigError
from harness.suites import Suite, load_suite, suites_folder
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
