"""Every recipe of every family loads; every kind of training among them runs two steps at toy size, on one process and on two."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.config import ConfigError
from harness.records import read_checkpoint
from tests.conftest import WORDS
from tests.forked import Forked, free_port, join_processes
from trainers.checkpoint import train_checkpoint, training_examples
from trainers.encode import Example, blocks, encode
from trainers.families import split, variants
from trainers.mixture import build
from trainers.recipe import Recipe, load_recipe

FAMILIES = sorted(Path("trainers/recipes/systems").glob("*.yaml"))
ALL = {path: load_recipe(path) for file in FAMILIES for path in variants(file)}
SMALL = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
STILL = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # processes draw dropout of their own
TOY = {
    "bloom": dict(hidden_size=16, n_layer=1, n_head=2),
    "mt5": dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, dropout_rate=0.0),
    "t5": dict(
        d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, dropout_rate=0.0, feed_forward_proj="gated-gelu"
    ),
    "llama": dict(**SMALL, intermediate_size=24, num_key_value_heads=2),
    "qwen3": dict(**SMALL, intermediate_size=24, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True),
    "opt": dict(**SMALL, ffn_dim=24, word_embed_proj_dim=16, dropout=0.0),
    "xlm-roberta": dict(**SMALL, **STILL, intermediate_size=24, max_position_embeddings=300),
    "xlm-roberta-xl": dict(**SMALL, **STILL, intermediate_size=24, max_position_embeddings=300),
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


def toy(recipe: Recipe, folder: Path, packing: bool = False) -> Recipe:
    """The recipe with a tiny network and a few rows in its own formats; everything else (but `packing`) as it is."""
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
        if not path.exists():
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source.update(files=[str(path)], hub=None)
    if data["mixture"]["records"]:
        data["mixture"]["records"] = 40
    data["training"] |= {
        "steps": 2, "epochs": None, "batch_size": 4, "max_length": 200, "micro_tokens": 400, "dtype": "float32",
    }  # fmt: skip
    if recipe.training.packing or packing:
        data["training"] |= {"max_length": 60, "packing": True}
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


KINDS = {kind(recipe): path for path, recipe in reversed(ALL.items())}


def test_every_system_has_its_recipes():
    recipes = {recipe.name: path for path, recipe in ALL.items()}
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
    sizes = {n: load_recipe(recipes[f"im_llama2_7b_tulu_size_{n}k_im_adam_paper"]) for n in (1, 5, 10, 20, 35)}
    for thousands, recipe in sizes.items():
        (source,) = recipe.mixture.sources
        assert (source.nearest_ratio, source.limit) == (10, 1000 * thousands)
    assert load_recipe(recipes["diffusionllm_xxl_flan2022"]).training.steps == 4000
    assert load_recipe(recipes["im_llama2_7b_lima_it_adam_paper"]).training.epochs == 10


def test_tokens_weigh_the_same_where_the_loss_is_per_token():
    """Batches of one length would weigh the tokens of short examples more; blocks are all of one length."""
    for path, recipe in ALL.items():
        if recipe.objective.settings.get("normalise") == "token" and not recipe.training.blocks:
            assert recipe.training.packing or recipe.training.bucket_batches == 1, path


CASES = [(path, False) for path in KINDS.values()]
CASES += [(Path(f"trainers/recipes/systems/{name}"), True) for name in ("mt0.yaml", "instruct_xmlr.yaml", "diffusionllm.yaml", "any_order.yaml@decoder_600m")]  # fmt: skip


class Toys:
    """Toy trainings of recipes, each once per number of processes."""

    def __init__(self, root: Path, tokenizer):
        self.root = root
        tokenizer.save_pretrained(root / "tokenizer")

    def recipe(self, path: Path, packing: bool) -> Recipe:
        return toy(load_recipe(path), self.root, packing)

    def train(self, path: Path, packing: bool, processes: int = 1) -> Path:
        out = self.root / str(processes) / f"{path.name}{'+packing' if packing else ''}"
        if not out.exists():
            tokenizer = str(self.root / "tokenizer")
            train_checkpoint(self.recipe(path, packing), corpus=None, tokenizer_path=tokenizer, out=out)
        return out


@pytest.fixture(scope="module")
def toys(tmp_path_factory, tokenizer):
    return Toys(tmp_path_factory.mktemp("toys"), tokenizer)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].name}{'+packing' if case[1] else ''}")
def test_every_kind_of_recipe_trains_two_steps(case, toys):
    record = read_checkpoint(toys.train(*case), verify=True)
    assert record.steps == 2 and 0 < record.final_loss < 1000 and record.recipe == load_recipe(case[0]).name


@pytest.mark.parametrize("name", ["bloomz.yaml", "mt0.yaml", "instruct_xmlr.yaml", "diffusionllm.yaml"])
def test_bfloat16_trains_to_about_the_loss_of_float32(name, toys, tokenizer):
    """As every recipe of a system has it: one of each objective."""
    path = Path(f"trainers/recipes/systems/{name}")
    assert load_recipe(path).training.dtype == "bfloat16"
    exact, recipe = read_checkpoint(toys.train(path, False)), toys.recipe(path, False)
    half = recipe.model_copy(update={"training": recipe.training.model_copy(update={"dtype": "bfloat16"})})
    out = toys.root / "bfloat16" / name
    made = train_checkpoint(half, corpus=None, tokenizer_path=str(toys.root / "tokenizer"), out=out)
    assert made.final_loss == pytest.approx(exact.final_loss, rel=0.02) and made.final_loss != exact.final_loss
    weights = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def work(case) -> str:
    """What decides how processes share a recipe's work: several kinds do it alike."""
    recipe = load_recipe(case[0])
    training = recipe.training
    own = (
        training.optimiser,
        training.packing or case[1],
        training.blocks,
        bool(training.lora),
        bool(training.neftune_alpha),
    )
    reference = recipe.objective.settings.get("kl_weight", 0) != 0
    return repr(
        (recipe.objective.name, recipe.backbone.decoder, reference, bool(recipe.length and recipe.length.steps), own)
    )


def test_every_kind_of_work_is_shared_by_two_processes(toys):
    shared = list({work(case): case for case in CASES}.values())
    for path, packing in shared:  # the rows' files are written here, not by two processes at a time
        toys.recipe(path, packing)

    def train(rank: int) -> None:
        join_processes(rank, 2, port)
        for case in shared:
            toys.train(*case, processes=2)

    port = free_port()
    assert [child.wait() for child in [Forked(train, rank) for rank in range(2)]] == [0, 0]
    for case in shared:
        training, folders = load_recipe(case[0]).training, [toys.train(*case, processes=n) for n in (1, 2)]
        one, two = (read_checkpoint(folder, verify=True) for folder in folders)
        assert two.recipe_id == one.recipe_id and two.examples == one.examples
        if training.neftune_alpha is None and training.lora is None:  # noise and dropout are each process's own
            curves = [[float(r.split(",")[2]) for r in (f / "training.csv").read_text().split()[1:]] for f in folders]
            assert curves[0] == pytest.approx(curves[1], rel=1e-4), case


def test_unknown_choices_and_settings_name_the_nearest():
    bloomz = Path("trainers/recipes/systems/bloomz.yaml")
    assert split(Path("a/b.yaml@x,y")) == (Path("a/b.yaml"), ["x", "y"])
    assert load_recipe(bloomz).name == "bloomz_560m_xp3"
    with pytest.raises(ConfigError, match="3b"):
        load_recipe(Path(f"{bloomz}@3B"))
    with pytest.raises(ConfigError, match="both choices of 'size'"):
        load_recipe(Path(f"{bloomz}@3b,7b1"))


def test_continual_pretraining_joins_whole_texts(tokenizer, tmp_path):
    texts = [("say " + "red blue " * 40, "cat dog " * 30), ("say sun", "moon")]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in texts]
    (tmp_path / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = toy(load_recipe(Path("trainers/recipes/systems/instruction_modelling.yaml@dolly_3k,continual")), tmp_path)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_length": 8})})
    build(recipe.mixture, tmp_path / "mixture")
    made = training_examples(recipe, None, tokenizer, tmp_path / "mixture")
    ends = [token for e in made for token in e.target].count(tokenizer.eos_token_id)
    whole = sum(
        len(e) + 1
        for e in encode([{"inputs": q, "targets": a} for q, a in texts], tokenizer, recipe.template, 10_000).examples
    )
    assert whole > 100 and len(made) == whole // 8 and all(len(e.target) == 8 for e in made) and ends in (1, 2)
    cut = [Example((5,), (6, 7), (0,), closed=False), Example((8,), (9,), (0,))]
    assert [e.target for e in blocks(cut, 3, eos=2)] == [(5, 6, 7), (8, 9, 2)]
