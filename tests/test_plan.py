"""Plans: known parameter counts without weights, a probe of real steps, sentences for what cannot be planned; commands."""

import importlib
import json
from pathlib import Path

import pytest

from harness.records import read_checkpoint
from tests.conftest import WORDS
from tests.forked import Forked
from tests.test_recipes import ALL
from trainers import sample
from trainers.__main__ import _without_launch, main, parser
from trainers.batches import PackedPlan
from trainers.checkpoint import training_examples
from trainers.mixture import build
from trainers.networks import load_tokenizer
from trainers.plan import meta_network, own_plan, plan
from trainers.recipe import Recipe, load_recipe
from trainers.stages import Stages

SYSTEMS = Path("trainers/recipes/systems")
# mT5: transformers 5.23 builds it with tied embeddings; the published 0.30 and 3.74 billion count the output matrix, too


@pytest.mark.parametrize(
    "recipe,billions",
    [
        ("bloomz.yaml@560m", 0.559), ("bloomz.yaml@3b", 3.00), ("bloomz.yaml@7b1", 7.07), ("mt0.yaml@small", 0.172), ("mt0.yaml@xl", 3.23),
        ("instruct_xmlr.yaml@base", 0.278), ("instruct_xmlr.yaml@xl", 3.48), ("diffusionllm.yaml@xxl", 10.7),
        ("instruction_modelling.yaml@llama2_7b", 6.74), ("instruction_modelling.yaml@opt_6b7", 6.66), ("multilingual_instruct.yaml@flan_t5_xxl", 11.1),
    ],
)  # fmt: skip
def test_published_sizes_are_planned_without_weights(recipe, billions):
    planned = plan(load_recipe(SYSTEMS / recipe), rate=1e14)
    assert planned.parameters / 1e9 == pytest.approx(billions, rel=0.02)
    if planned.steps:
        assert planned.seconds == pytest.approx(6 * planned.parameters_without_embeddings * planned.tokens / 1e14)  # type: ignore[operator]
    assert planned.memory["weights"] == 4 * planned.parameters


def test_every_recipe_is_planned():
    seen = set()
    for path in ALL:
        recipe = load_recipe(path)
        key = recipe.backbone.model_dump_json()
        if key not in seen:
            seen.add(key)
            assert plan(recipe, probe_seconds=0).parameters == sum(p.numel() for p in meta_network(recipe).parameters())
    assert len(seen) >= 20


def test_the_probe_runs_real_steps(checkpoints):
    root = checkpoints["mt0"].parent
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer")}
    for name in ("mt0", "diffusionllm"):
        planned = plan(load_recipe(Path(f"trainers/recipes/mini/{name}.yaml"), steps=3), **where, probe_seconds=0.2)
        assert planned.seconds is not None and planned.seconds > 0 and "probe of" in planned.seconds_from
        record = read_checkpoint(checkpoints[name])
        assert planned.parameters == record.parameters and planned.tokens == pytest.approx(record.tokens, rel=0.2)


def epochs_over(folder: Path, training: dict, **mixture) -> Recipe:
    """mini/decoder_it for three epochs over 300 rows of many lengths, some of them twice."""
    rows = [(f"say {' '.join(WORDS[(i * k) % 13] for k in range(i % 23))} {i % 250}", WORDS[i % 7]) for i in range(300)]
    text = "".join(json.dumps({"inputs": q, "targets": a}) + "\n" for q, a in rows)
    (folder / "rows.jsonl").write_text(text)
    data = load_recipe(Path("trainers/recipes/mini/decoder_it.yaml")).model_dump()
    source = {"name": "s", "format": "xp3", "files": [str(folder / "rows.jsonl")]}
    data["mixture"] = {"source": "sources", "sources": [source], **mixture}
    settings = {"steps": None, "epochs": 3, "batch_size": 4, "bucket_batches": 1, "max_length": 60, **training}
    return Recipe(**{**data, "training": {**data["training"], **settings}})


KINDS_OF_ROWS = [
    ({}, {}), ({"packing": True}, {}), ({"blocks": True}, {}), ({"max_length": 30}, {}), ({}, {"records": 700}),
    ({"packing": True}, {"share": 0.5, "dedupe": False}), ({}, {"source": "jsonl", "sources": ()}),
]  # fmt: skip


@pytest.mark.parametrize("training,mixture", KINDS_OF_ROWS)
def test_epochs_are_planned_as_they_are_trained(training, mixture, checkpoints, tmp_path, monkeypatch):
    root = checkpoints["mt0"].parent / "tokenizer"
    recipe, tokenizer = epochs_over(tmp_path, training), load_tokenizer(str(root))
    if "source" in mixture:
        mixture = {**mixture, "files": (str(tmp_path / "rows.jsonl"),)}
    recipe = Recipe(**{**recipe.model_dump(), "mixture": {**recipe.mixture.model_dump(), **mixture}})
    folder = _built(recipe, tmp_path) if recipe.mixture.source == "sources" else tmp_path
    examples = training_examples(recipe, None, tokenizer, folder)
    trained = Stages(recipe, None, examples, None, "none", None)  # type: ignore[arg-type]
    planned = plan(recipe, tokenizer_path=str(root), probe_seconds=0)
    assert planned.steps == trained.training.steps and "3 epochs of" in planned.steps_from
    assert planned.tokens == pytest.approx(trained.seen()["tokens"], rel=0.03)
    monkeypatch.setattr(sample, "ALL", 100)
    monkeypatch.setattr(sample, "FEW", 60)
    some = plan(recipe, tokenizer_path=str(root), probe_seconds=0)
    assert some.steps == pytest.approx(planned.steps, rel=0.15) and "about" in some.steps_from
    monkeypatch.setattr(sample, "COUNTED", 10)
    none = plan(recipe, tokenizer_path=str(root), probe_seconds=0)
    assert none.steps is None and none.tokens is None and "too large to be counted" in none.steps_from
    assert "steps unknown" in "\n".join(none.lines())


def test_the_probe_packs_as_training_does(checkpoints, tmp_path):
    root = checkpoints["mt0"].parent / "tokenizer"
    recipe, tokenizer = epochs_over(tmp_path, {"packing": True, "batch_size": 1000}), load_tokenizer(str(root))
    examples = training_examples(recipe, None, tokenizer, _built(recipe, tmp_path))
    probed = own_plan(recipe, examples, 4)
    assert isinstance(probed, PackedPlan) and len(probed[0]) == 4 and sum(len(row) for row in probed[0]) > 4  # type: ignore[arg-type]
    planned = plan(recipe, tokenizer_path=str(root), probe_seconds=0.05)
    assert "probe of" in planned.seconds_from
    per_row = sum(len(e) + 1 for e in examples) / len([row for step in probed.epoch(0) for row in step])
    assert planned.tokens_per_step == pytest.approx(1000 * per_row, rel=0.1)


def _built(recipe: Recipe, folder: Path) -> Path:
    build(recipe.mixture, folder / "mixture")
    return folder / "mixture"


def command(log: Path, *arguments: str) -> tuple[int, str]:
    """A command line in a process of its own: (exit status, what it printed)."""

    def run() -> int:
        import sys

        sys.argv = ["trainers", *arguments]
        sys.stdout = sys.stderr = log.open("w")
        return main()

    status = Forked(run).wait()
    return status, log.read_text()


def test_the_commands_work_together(checkpoints, tmp_path):
    log, rows = tmp_path / "log", tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"inputs": f"say red {i}", "targets": "red cat"}) + "\n" for i in range(30)))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        Path("trainers/recipes/mini/decoder_it.yaml").read_text()
        + f"mixture: {{source: sources, sources: [{{name: s, format: xp3, files: [{rows}]}}]}}\n"
    )
    status, text = command(log, "mixture", str(recipe), "--out", str(tmp_path / "mixture"))
    assert status == 0 and "30 training rows" in text, text
    status, text = command(
        log, "plan", str(recipe), "--probe", "0", "--tokenizer", str(checkpoints["mt0"].parent / "tokenizer")
    )
    assert status == 0 and "measured on 30 examples" in text, text
    items = tmp_path / "items.jsonl"
    items.write_text('{"q": "say red 3 red cat"}\n{"q": "nothing of this is known there"}\n')
    status, text = command(log, "contamination", str(tmp_path / "mixture"), "--items", str(items))
    assert status == 0 and "1 of 2 items are clean" in text, text
    assert (tmp_path / "mixture" / "contamination.csv").read_text().splitlines()[1].startswith("items.jsonl:1,1,")
    found = ("losses", str(checkpoints["decoder_it"]), "--records", str(rows), "--out", str(tmp_path / "l.csv"))
    status, text = command(log, *found)
    assert status == 0 and "30 examples" in text, text
    status, text = command(log, "mixture", "trainers/recipes/mini/mt0.yaml", "--out", str(tmp_path / "m"))
    assert status == 2 and "mixture.source is embedded" in text and "Traceback" not in text
    status, text = command(log, "ls", "trainers/recipes/mini")
    assert status == 0 and len(text.splitlines()) == 7


def test_launch_takes_its_own_arguments_out():
    argv = ["train", "r.yaml", "--launch", "fsdp2", "--processes=4", "--out", "x", "--seed", "1"]
    assert _without_launch(argv) == ["train", "r.yaml", "--out", "x", "--seed", "1"]
    assert parser().parse_args(argv).launch == "fsdp2"


@pytest.mark.parametrize(
    "package,line",
    [
        ("trainers", "train r.yaml --out x --laun fsdp2"),  # its processes would start processes, and those more
        ("trainers", "train r.yaml --out x --launch fsdp2 --process 4"),
        ("harness", "speed --sui mini"),
        ("harness", "judge scripted --sui mini"),
        ("reports", "build --sui mini"),
    ],
)
def test_options_are_written_out(package, line):
    with pytest.raises(SystemExit):
        importlib.import_module(f"{package}.__main__").parser().parse_args(line.split())


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed2", "deepspeed3"])
def test_launch_files_are_accelerates(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(f"trainers/launch/{name}.yaml")
    assert str(config.distributed_type).split(".")[-1] in ("MULTI_GPU", "FSDP", "DEEPSPEED")
