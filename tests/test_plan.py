"""Plans: known parameter counts without weights, a probe of real steps, sentences for what cannot be planned; commands."""

import importlib
import json
from pathlib import Path

import pytest

from harness.records import read_checkpoint
from tests.forked import Forked
from tests.test_recipes import ALL
from trainers.__main__ import _without_launch, main, parser
from trainers.plan import meta_network, plan
from trainers.recipe import load_recipe

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
        if key not in seen and "xxl" not in path.name and "13b" not in path.name:
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
