"""Every recipe of every family loads; every kind of training among them runs two steps at toy size."""

import json
from pathlib import Path

import pytest

from harness.records import read_checkpoint
from harness.suites import ConfigError
from tests.conftest import WORDS
from trainers.checkpoint import train_checkpoint
from trainers.families import split, variants
from trainers.recipe import Recipe, load_recipe

FAMILIES = sorted(Path("trainers/recipes/systems").glob("*.yaml"))
ALL = [path for file in FAMILIES for path in variants(file)]
SMALL = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
TOY = {
    "bloom": dict(hidden_size=16, n_layer=1, n_head=2),
    "mt5": dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2),
    "t5": dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"),
    "llama": dict(**SMALL, intermediate_size=24, num_key_value_heads=2),
    "qwen3": dict(**SMALL, intermediate_size=24, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True),
    "opt": dict(**SMALL, ffn_dim=24, word_embed_proj_dim=16),
    "xlm-roberta": dict(**SMALL, intermediate_size=24, max_position_embeddings=300),
    "xlm-roberta-xl": dict(**SMALL, intermediate_size=24, max_position_embeddings=300),
    "modernbert": dict(**SMALL, intermediate_size=24, cls_token_id=0, sep_token_id=2, max_position_embeddings=300),
}
ROWS = {
    "xp3": lambda q, a: {"inputs": q, "targets": a},
    "flan": lambda q, a: {"inputs": q, "targets": a},
    "p3": lambda q, a: {"prompt": q, "completion": a},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "belle": lambda q, a: {"instruction": q, "input": "x", "output": a},
    "messages": lambda q, a: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]},
    "lima": lambda q, a: {"conversations": ["who", "me", q, a]},
}


def toy(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with a tiny network and a few rows in its own formats; everything else as it is."""
    data = recipe.model_dump()
    data["backbone"] = {
        "family": recipe.backbone.family, "shape": TOY[str(recipe.backbone.family)], "decoder": recipe.backbone.decoder,
    }  # fmt: skip
    for source in data["mixture"]["sources"]:
        path = folder / f"{source['format']}.jsonl"
        rows = [
            ROWS[source["format"]](f"say {WORDS[i % 16]} {WORDS[i % 5]}", f"{WORDS[i % 11]} {WORDS[i % 3]}")
            for i in range(60)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source.update(files=[str(path)], hub=None)
    if data["mixture"]["records"]:
        data["mixture"]["records"] = 40
    data["training"] |= {
        "steps": 2, "epochs": None, "batch_size": 4, "max_length": 200, "micro_tokens": 400, "dtype": "float32",
    }  # fmt: skip
    if recipe.training.packing:
        data["training"]["max_length"] = 60
    if data["length"]:
        data["length"] |= {
            "classes": 20,
            "heads": 2,
            "inner": 16,
            "steps": min(2, data["length"]["steps"]),
            "batch_size": 4,
        }
    return Recipe(**data)


def kind(recipe: Recipe) -> str:
    """What decides whether a recipe runs: two recipes of one kind differ in sizes, rates and files only."""
    training = recipe.training.model_dump(include={"optimiser", "packing", "blocks", "lora", "neftune_alpha", "schedule", "gradient_checkpointing", "too_long"})  # fmt: skip
    rest = recipe.model_dump(include={"objective", "layout", "template"})
    settings = rest["objective"]["settings"]
    settings["kl_weight"] = settings.get("kl_weight", 0) > 0
    length = recipe.length and (recipe.length.kind, recipe.length.steps > 0)
    return json.dumps([recipe.backbone.family, recipe.backbone.decoder, training, rest, length], default=str)


KINDS = {kind(recipe): path for path in reversed(ALL) for recipe in [load_recipe(path)]}


def test_every_system_has_its_recipes():
    recipes = {load_recipe(path).name: path for path in ALL}
    assert len(recipes) == len(ALL)
    wanted = [
        f"bloomz_{size}_{data}" for size in ("560m", "1b1", "1b7", "3b", "7b1") for data in ("xp3", "xp3mt", "p3")
    ]
    wanted += [f"mt0_{size}_xp3" for size in ("small", "base", "large", "xl", "xxl")]
    wanted += [f"instruct_xmlr_{size}" for size in ("base", "large", "xl", "xxl")]
    wanted += [f"diffusionllm_{s}_{d}" for s in ("base", "large", "xl", "xxl") for d in ("iwslt14", "wmt14", "gigaword10k", "flan2022")]  # fmt: skip
    methods = ("it", "im", "im_released", "neftune", "im_neftune", "kl", "continual")
    wanted += [f"im_{s}_lima_{m}_adam_paper" for s in ("llama2_7b", "llama2_13b", "opt_6b7") for m in methods]
    wanted += [f"multilingual_{b}" for b in ("llama_7b", "bloomz_7b1_mt", "galactica_6b7", "flan_t5_xxl")]
    wanted += ["any_order_modernbert_base", "any_order_mmbert_base", "any_order_decoder_600m"]
    assert not set(wanted) - set(recipes)
    assert load_recipe(recipes["diffusionllm_xxl_flan2022"]).training.steps == 4000
    assert load_recipe(recipes["im_llama2_7b_lima_it_adam_paper"]).training.epochs == 10


@pytest.mark.parametrize("path", KINDS.values(), ids=lambda path: path.name)
def test_every_kind_of_recipe_trains_two_steps(path, tokenizer, tmp_path):
    recipe = toy(load_recipe(path), tmp_path)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "out"
    train_checkpoint(recipe, corpus=None, tokenizer_path=str(tmp_path / "tokenizer"), out=out)
    record = read_checkpoint(out, verify=True)
    assert record.steps == 2 and 0 < record.final_loss < 1000 and record.recipe == recipe.name


def test_unknown_choices_and_settings_name_the_nearest():
    bloomz = Path("trainers/recipes/systems/bloomz.yaml")
    assert split(Path("a/b.yaml@x,y")) == (Path("a/b.yaml"), ["x", "y"])
    assert load_recipe(bloomz).name == "bloomz_560m_xp3"
    with pytest.raises(ConfigError, match="3b"):
        load_recipe(Path(f"{bloomz}@3B"))
    with pytest.raises(ConfigError, match="both choices of 'size'"):
        load_recipe(Path(f"{bloomz}@3b,7b1"))
