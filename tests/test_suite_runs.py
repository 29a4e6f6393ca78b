"""`python -m harness run` on the suite: settings and included files belong to a run's identity."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from small_files import nli_lines, write_file, write_manifest, write_mirror

from harness import __main__ as command
from harness.adapters.autoregressive import Autoregressive, EncoderDecoder
from harness.backbones import BackboneError
from harness.evaluate import evaluate_model
from harness.mirror import DataError
from harness.records import read_run


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(autouse=True)
def here(mirror, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(mirror))


def run(checkpoint: Path, out: Path, tasks: str, *more: str) -> None:
    line = [
        "run",
        "--model",
        "ar",
        "--model_args",
        f"pretrained={checkpoint}",
        "--tasks",
        tasks,
        "--output_path",
        str(out),
    ]
    evaluate_model(command.parser().parse_args([*line, "--gen_kwargs", "max_gen_toks=4", *more]))


def test_prompts_and_conventions_make_another_run(checkpoints, tmp_path, capsys):
    checkpoint, identities = checkpoints["decoder_it"], []
    for number, settings in enumerate([{}, {"convention": "plain"}, {"prompts": "can we infer"}, {}]):
        run(checkpoint, tmp_path / str(number), "xp3_xnli_en", "--metadata", json.dumps(settings))
        identities.append(read_run(tmp_path / str(number) / "xp3_xnli_en").run_id)
    assert len(set(identities)) == 3 and identities[0] == identities[3]
    record = read_run(tmp_path / "2" / "xp3_xnli_en")
    assert record.n_items == 3 and set(record.values) >= {"acc,none", "acc_median,none", "n_skipped,none"}
    assert "acc_median" in capsys.readouterr().out


def test_the_wording_of_a_promptsource_file_belongs_to_the_identity(tmp_path):
    from harness.promptsource import digest_of_prompts

    path = tmp_path / "templates.yaml"
    path.write_text("a")
    first = digest_of_prompts({"prompts": f"promptsource:{path}"})
    assert first == digest_of_prompts({"prompts": f"promptsource:{tmp_path}"}) and first is not None
    path.write_text("b")
    assert digest_of_prompts({"prompts": f"promptsource:{path}"}) != first
    assert digest_of_prompts({"prompts": "can we infer"}) is None is digest_of_prompts(None)


def test_a_mirror_by_the_setting_is_the_run_that_the_variable_made(checkpoints, mirror, tmp_path, monkeypatch):
    checkpoint, asked = checkpoints["decoder_it"], "xp3_rte,anyorder_mgsm_sw"
    shots = ("--num_fewshot", "0")
    run(checkpoint, tmp_path, asked, *shots)
    first = {task: read_run(tmp_path / task) for task in asked.split(",")}
    copy = tmp_path / "copy"
    shutil.copytree(mirror, copy)
    monkeypatch.setenv("ANYORDER_DATA", "/no/such")
    for more in (["--data", str(mirror)], ["--metadata", json.dumps({"data": str(copy)})]):
        run(checkpoint, tmp_path, asked, *shots, *more)
        assert {task: read_run(tmp_path / task) for task in first} == first  # sealed at the same time: not made again
    run(checkpoint, tmp_path / "again", asked, *shots, "--data", str(mirror))
    for task, record in first.items():
        again = read_run(tmp_path / "again" / task)
        assert (again.run_id, again.values, again.data) == (record.run_id, record.values, record.data)
        assert again.files["samples.jsonl"] == record.files["samples.jsonl"]
    write_file(copy, "super_glue/RTE/val.jsonl", nli_lines(("not_entailment", "entailment")))
    write_manifest(copy)
    run(checkpoint, tmp_path, "xp3_rte", *shots, "--data", str(copy))
    assert read_run(tmp_path / "xp3_rte").run_id != first["xp3_rte"].run_id


def write_three(root: Path) -> Path:
    """A mirror with RTE alone, of three questions."""
    write_file(root, "super_glue/RTE/val.jsonl", nli_lines(("entailment", "not_entailment", "entailment")))
    write_manifest(root)
    return root


def test_an_evaluation_of_a_suite_has_settings_for_its_tasks(checkpoints, tmp_path):
    from harness.evaluate import evaluate_system
    from harness.suites import Suite

    system = {"name": "decoder_it", "recipe": "r.yaml", "adapter": "ar", "label": "D", "paradigm": "autoregressive"}
    asked = [
        {"name": "main", "tasks": ["xp3_rte"]},
        {"name": "one", "tasks": ["xp3_rte"], "metadata": {"prompts": "should assume"}},
        {"name": "there", "tasks": ["xp3_rte"], "metadata": {"data": str(write_three(tmp_path / "three"))}},
    ]
    suite = Suite.model_validate(
        {"name": "s", "description": "d", "seeds": (0,), "systems": (system,), "evaluations": asked}
    )
    (tmp_path / "s" / "checkpoints").mkdir(parents=True)
    (tmp_path / "s" / "checkpoints" / "decoder_it-0").symlink_to(checkpoints["decoder_it"])
    evaluate_system(suite, "decoder_it", 0, tmp_path)
    runs = tmp_path / "s" / "runs" / "decoder_it-0"
    assert [read_run(runs / name / "xp3_rte").n_items for name in ("main", "one", "there")] == [2 * 5, 2, 3 * 5]


def test_examples_are_shown_where_a_run_asks_for_them(checkpoints, tmp_path, capsys):
    run(checkpoints["decoder_it"], tmp_path, "anyorder_mgsm_sw", "--num_fewshot", "2")
    assert read_run(tmp_path / "anyorder_mgsm_sw").n_shot == 2 and "not followed" not in capsys.readouterr().out
    sample = json.loads((tmp_path / "anyorder_mgsm_sw/samples.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert sample["arguments"]["gen_args_0"]["arg_0"].count("\n\n") >= 2
    with pytest.raises(DataError, match="--num_fewshot 2: this task has no examples beside its prompts"):
        run(checkpoints["decoder_it"], tmp_path, "xp3_xcopa_en", "--num_fewshot", "2")


def test_a_decoder_says_what_it_cannot_take(checkpoints, tmp_path):
    with pytest.raises(BackboneError, match="--model ar has no setting 'scorer', which is one of nar_xlmr"):
        Autoregressive(str(checkpoints["decoder_it"]), scorer="any_order")
    with pytest.raises(BackboneError, match="cannot load .* unexpected keyword argument 'colour'"):
        Autoregressive(str(checkpoints["decoder_it"]), colour="red")
    with pytest.raises(BackboneError, match="max_gen_toks=256 leaves no room for a prompt: the model holds 256 tokens"):
        run(checkpoints["decoder_it"], tmp_path, "anyorder_z_bench_common", "--gen_kwargs", "max_gen_toks=256")


@pytest.mark.parametrize(("model", "system"), [(Autoregressive, "decoder_it"), (EncoderDecoder, "mt0")])
def test_prompts_that_are_cut_are_counted(checkpoints, model, system):
    loaded = model(str(checkpoints[system]), max_length=40)
    prompts = ["red blue " * 60, "red blue", "red " * 30]
    asked = [
        Instance("generate_until", {}, (prompt, {"max_gen_toks": 4, "until": []}), number)
        for number, prompt in enumerate(prompts)
    ]
    room = 40 - (4 if model is Autoregressive else 0)
    loaded.generate_until(asked, disable_tqdm=True)
    assert loaded.tally.truncated == sum(len(loaded.tok_encode(prompt)) > room for prompt in prompts) >= 1
