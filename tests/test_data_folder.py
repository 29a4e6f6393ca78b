"""The setting `data` of a task: the same documents and the same run as with ANYORDER_DATA, which it wins over."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from small_files import XNLI_LINES, write_file, write_manifest, write_mirror

from harness import data
from harness.__main__ import main
from harness.data_folder import mirror_folder
from harness.data_report import sources_table, tasks_without_files
from harness.identity import data_identity, options_identity
from harness.mirror import DataError
from harness.registration import task_manager, task_paths
from harness.selection import leaf_tasks

XNLI: dict[str, Any] = {"benchmark": "xnli", "subset": "en", "split": "validation"}
load: Any = data.load  # called with settings of wrong types, too
SEVERAL = ["xp3_xnli_en", "anyorder_mmlu", "anyorder_mgsm_sw", "anyorder_wmt14_de_en", "anyorder_bbh_cot", "xp3_rte"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture
def other(tmp_path, monkeypatch) -> Path:
    """Another mirror, with one file, which ANYORDER_DATA names."""
    write_file(tmp_path / "other", "xnli/dev-en.tsv", XNLI_LINES[:1])
    write_manifest(tmp_path / "other")
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "other"))
    data._say_once.cache_clear()
    return tmp_path / "other"


@pytest.fixture
def hub(monkeypatch) -> list[str]:
    """The hub, out of reach: the repositories that were asked for."""
    asked = []

    def refused(repository=None, *names, **arguments):
        asked.append(repository or arguments["path"])
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refused)  # lm-eval's own tasks
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refused)
    return asked


def rows_of(names: list[str], settings: dict[str, Any] | None = None) -> dict[str, list[Any]]:
    tasks = task_manager(names, metadata=settings).load(names)["tasks"]
    return {name: list(task.eval_docs) for name, task in tasks.items()}


# -- documents


def test_the_same_documents_and_the_same_run_as_by_the_variable(mirror, other, monkeypatch):
    given = {"data": str(mirror)}
    by_setting = rows_of(SEVERAL, given)
    manager = task_manager(SEVERAL)
    options: list[dict[str, Any]] = [{"limit": 2, "metadata": given}, {"metadata": {**given, "convention": "plain"}}]
    identities = {
        name: [data_identity(manager, name, 2, given), *(options_identity(manager, name, o) for o in options)]
        for name in SEVERAL
    }
    monkeypatch.setenv("ANYORDER_DATA", str(mirror))
    assert rows_of(SEVERAL) == by_setting and all(by_setting.values())
    options = [{"limit": 2, "metadata": None}, {"metadata": {"convention": "plain"}}]
    for name in SEVERAL:
        same = [data_identity(manager, name, 2), *(options_identity(manager, name, o) for o in options)]
        assert identities[name] == same and str(mirror) not in str(same)
    assert options_identity(manager, SEVERAL[0], {"metadata": {}}) == {"metadata": {}}  # as it was before the setting


def test_settings_called_data_of_other_loaders_are_theirs(mirror):
    """lm-eval hands its metadata to every loader; what `data` means to one that is not ours is not known."""
    manager = task_manager(["mini_nli"])
    options = {"metadata": {"data": "x"}}
    assert options_identity(manager, "mini_nli", options) == {}
    assert options_identity(manager, "their_own_task", options) == options


def test_the_setting_wins_over_the_variable(mirror, other, hub):
    assert [len(load(**XNLI, **more)["validation"]) for more in ({}, {"data": str(mirror)}, {"data": None})] == [
        1,
        3,
        1,
    ]
    assert hub == []
    with pytest.raises(DataError, match=r"XNLI \(en\) at facebook/xnli@.* could not be reached .*Set data=DIR to read"):
        load(**XNLI, data="hub")
    assert hub == ["facebook/xnli"]
    assert data_identity(task_manager(SEVERAL), SEVERAL[0], metadata={"data": "hub"})["xnli/en/validation"].startswith(
        "hub:facebook/xnli@"
    )


@pytest.mark.parametrize("wrong", [5, True, "", ["a"], {"a": "b"}])
def test_a_setting_that_is_no_text_is_one_sentence(other, wrong):
    sentence = re.escape(f"data should be the folder of a mirror, or 'hub', got {wrong!r}.")
    with pytest.raises(DataError, match=f"^{sentence}$"):
        load(**XNLI, data=wrong)
    for names in (["xp3_xnli"], ["xp3_rte"]):
        with pytest.raises(DataError, match=f"^{sentence}$"):
            task_manager(names, metadata={"data": wrong}).load(names)


def test_errors_name_what_the_user_gave(mirror, other, tmp_path, hub):
    with pytest.raises(DataError, match=r"^data=/no/such is not a folder: name a mirror, or set data to hub to read"):
        load(**XNLI, data="/no/such")
    bulgarian, small = {**XNLI, "subset": "bg"}, {"data": str(other)}
    with pytest.raises(DataError, match=f"there is no {other}/xnli/dev-bg.tsv: set data to hub to read from the hub"):
        load(**bulgarian, **small)
    with pytest.raises(DataError, match=f"XCOPA: data={other} holds none of its files"):
        load(benchmark="xcopa", subset="all", split="validation", **small)
    with pytest.raises(DataError, match=r"Z-Bench has no copy on the hub .*: set data=DIR to a local mirror"):
        load(benchmark="z_bench", subset="common", split="test", data="hub")
    with pytest.raises(DataError, match="unknown setting 'dat' of the tasks. Did you mean 'data'"):
        load(**XNLI, dat=str(mirror))
    assert hub == []


# -- everything that asks where documents come from


def test_groups_are_cut_to_the_mirror_of_the_setting(mirror, other, caplog):
    manager = task_manager(["xp3_xnli"], metadata={"data": str(mirror)})
    assert len(manager.load(["xp3_xnli"])["tasks"]) == 15 and "left out" not in caplog.text
    manager = task_manager(["xp3_xnli"], metadata={"data": str(other)})
    assert list(manager.load(["xp3_xnli"])["tasks"]) == ["xp3_xnli_en"]
    assert f"xp3_xnli: data={other} holds 1 of 15 tasks; left out: XNLI 1 of 15 (without ar bg" in caplog.text
    with pytest.raises(DataError, match=f"xp3_xcopa: data={other} holds none of its 12 files .*set data to hub"):
        manager.load(["xp3_xcopa"])
    with pytest.raises(DataError, match="data=/no/such is not a folder"):
        task_manager(["xp3_xnli"], metadata={"data": "/no/such"}).load(["xp3_xnli"])


def own_task(folder: Path, name: str, *lines: str) -> None:
    base = task_paths()[0] / "xnli/en.yaml"
    write_file(folder, f"{name}.yaml", [f"include: {base}", f"task: {name}", *lines])


def test_a_task_s_own_yaml_may_name_its_mirror(mirror, other, tmp_path, caplog):
    folder = tmp_path / "tasks"
    pair = "dataset_kwargs: {benchmark: xnli, subset: SUBSET, split: validation, data: 'FOLDER'}"
    own_task(folder, "mine_big", pair.replace("SUBSET", "sw").replace("FOLDER", str(mirror)))
    own_task(folder, "mine_small", pair.replace("SUBSET", "sw").replace("FOLDER", str(other)))
    own_task(folder, "mine_variable")
    write_file(folder, "mine.yaml", ["group: mine", "task: [mine_big, mine_small, mine_variable]"])
    manager = task_manager(["mine"], [folder])
    tasks = manager.load(["mine"])["tasks"]
    assert {name: len(task.eval_docs) for name, task in tasks.items()} == {"mine_big": 15, "mine_variable": 5}
    assert f"mine: data={other} holds 0 of 1 tasks; left out: XNLI 0 of 1 (without sw)." in caplog.text
    assert set(data_identity(manager, "mine_big")) == {"xnli/dev-sw.tsv"}
    with pytest.raises(
        DataError, match=r"mine_big: its YAML fixes data \(dataset_kwargs\), which metadata cannot change"
    ):
        task_manager(["mine_big"], [folder], {"data": str(other)}).load(["mine_big"])


def test_the_command_line_wins_over_a_task_s_metadata(mirror, other, tmp_path):
    folder = tmp_path / "tasks"
    lines = ["custom_dataset: !function harness.data.load", "test_split: test", "output_type: generate_until",
             "doc_to_text: question", "doc_to_target: answer", f"metadata: {{data: {mirror}}}",
             "dataset_kwargs: {benchmark: mgsm, subset: en, split: test}"]  # fmt: skip
    write_file(folder, "mine.yaml", ["task: mine", *lines])
    manager = task_manager(["mine"], [folder])
    assert len(manager.load(["mine"])["tasks"]["mine"].eval_docs) == 1
    assert set(data_identity(manager, "mine")) == {"mgsm/mgsm_en.tsv"}
    given = {"data": str(other)}
    with pytest.raises(DataError, match=f"there is no {other}/mgsm/mgsm_en.tsv"):
        task_manager(["mine"], [folder], given).load(["mine"])
    assert data_identity(manager, "mine", metadata=given) == {}


def test_published_examples_come_from_the_mirror_of_the_questions(mirror, other, tmp_path):
    def prompt(given: Path) -> str:
        task = task_manager(["anyorder_mgsm_sw"], metadata={"data": str(given)}).load("anyorder_mgsm_sw")["tasks"]
        return task["anyorder_mgsm_sw"].fewshot_context(task["anyorder_mgsm_sw"].eval_docs[0], 2)

    assert prompt(mirror).startswith("sw-Question: Sum 1?\nsw-Answer: 1 + 0 = 1. It is 1.\n\nsw-Question: Sum 2?")
    questions = tmp_path / "questions"
    shutil.copytree(mirror / "mgsm", questions / "mgsm")
    (questions / "mgsm/exemplars.py").unlink()
    write_manifest(questions)
    with pytest.raises(
        DataError, match=f"no train documents in 'sw' in the mirror, there is no {questions}/mgsm/exemp"
    ):
        prompt(questions)


def test_tasks_that_cannot_be_had_are_named_by_the_setting(mirror, other, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(mirror))
    names, left_out = ["xp3_xnli", "xp3_rte", "im_piqa"], {}
    tasks, _ = leaf_tasks(task_manager(names, metadata={"data": str(other)}), names, left_out)
    assert tasks == ["xp3_xnli_en"] and len(left_out) == 14 + 1 + 1
    assert f"there is no {other}/super_glue/RTE/val.jsonl" in left_out["xp3_rte"]
    assert "a mirror has no files for it: set data to hub to read from the hub." in left_out["im_piqa"]


def test_lm_evals_own_tasks_read_the_hub_where_the_setting_says_so(other, hub):
    with pytest.raises(DataError, match="im_piqa: lm-eval's own source .* cannot be loaded"):
        task_manager(["im_piqa"], metadata={"data": "hub"}).load(["im_piqa"])
    assert len(hub) == 1


def test_what_a_mirror_has_is_listed(mirror, other, tmp_path):
    table = sources_table(str(mirror))
    assert table.startswith(f"documents come from the mirror {mirror} (--data), nothing else")
    assert re.search(r"the mirror has files for (\d+) of \1 tasks", table) and tasks_without_files(str(mirror)) == []
    assert sources_table("hub").startswith("documents come from the hub (--data hub)\n")
    assert "xp3_xnli_sw" in tasks_without_files(str(other)) and "xp3_xnli_en" not in tasks_without_files(str(other))
    assert sources_table().startswith(f"documents come from the mirror {other} (ANYORDER_DATA), nothing else")


def test_the_listing_s_options(mirror, monkeypatch, capsys):
    def status(*options: str) -> int:
        monkeypatch.setattr("sys.argv", ["harness", "data", *options])
        return main()

    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    assert status("--data", str(mirror)) == 0 and f"the mirror {mirror} (--data)" in capsys.readouterr().out
    for more in (["--check", str(mirror)], ["--fetch", "mgsm", "--into", str(mirror)]):
        assert status("--data", str(mirror), *more) == 2
        assert (
            "error: --data lists what a mirror has; --check DIR and --into DIR name theirs." in capsys.readouterr().err
        )
    assert status("--data", "/no/such") == 2 and "error: data=/no/such is not a folder" in capsys.readouterr().err


def test_the_run_command_s_option_is_the_setting(mirror, tmp_path, monkeypatch, capsys):
    def status(*options: str) -> int:
        monkeypatch.setattr("sys.argv", ["harness", "run", "--data", str(mirror), *options])
        return main()

    asked = ["--model", "ar", "--tasks", "xp3_rte", "--output_path", str(tmp_path)]
    assert status(*asked, "--metadata", '{"data": "hub"}') == 2
    assert "error: --data and 'data' in --metadata both say where documents come from" in capsys.readouterr().err
    assert status("--suite", "mini", "--system", "mt0", "--seed", "0") == 2
    assert "error: --data goes with --model and --tasks; an evaluation of a suite says" in capsys.readouterr().err
    assert status("--model", "ar", "--tasks", "xp3_rte,copa", "--output_path", str(tmp_path)) == 2
    assert "is read by our tasks, and copa loads its documents by itself: run it without" in capsys.readouterr().err


def test_the_variable_by_itself_is_as_before(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", "")
    assert mirror_folder() is None is mirror_folder("hub") and mirror_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    assert mirror_folder() == tmp_path and mirror_folder("hub") is None
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "none"))
    with pytest.raises(
        DataError, match=r"^ANYORDER_DATA=.*/none is not a folder: name a mirror, or unset ANYORDER_DATA"
    ):
        mirror_folder()
