"""Selection: what a command line's names mean; tasks that cannot be had are errors, or named with their reason."""

from __future__ import annotations

import pytest
from small_files import write_file, write_manifest, write_mirror

from harness import registration
from harness.config import ConfigError
from harness.mirror import DataError
from harness.selection import asked_for, leaf_tasks, left_out_lines


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    root = write_mirror(tmp_path / "mirror")
    monkeypatch.setenv("ANYORDER_DATA", str(root))
    monkeypatch.setenv("ANYORDER_CORPUS", str(tmp_path / "none"))
    for language in ("de", "sw"):
        (root / f"xnli/dev-{language}.tsv").unlink()
    write_file(root, "xnli/dev-ru.tsv", ["A premise.\tA hypothesis."])
    write_manifest(root)
    return root


@pytest.fixture
def manager():
    return registration.task_manager(["xp3_xnli"])


def test_all_is_every_task_of_ours_and_no_group(manager):
    assert asked_for("all") == sorted(manager.all_subtasks)
    assert asked_for(" xp3_rte,,xp3_xnli ,xp3_rte") == ["xp3_rte", "xp3_xnli"]


def test_what_cannot_be_had_is_named_with_its_reason(manager, mirror):
    left_out: dict[str, str] = {}
    tasks, groups = leaf_tasks(manager, ["xp3_xnli", "mini_nli", "im_piqa", "xp3_rte"], left_out)
    assert tasks == [*(f"xp3_xnli_{name}" for name in "ar bg el en es fr hi th tr ur vi zh".split()), "xp3_rte"]
    assert groups == {"xp3_xnli": tasks[:-1]}
    assert list(left_out) == ["xp3_xnli_de", "xp3_xnli_ru", "xp3_xnli_sw", "mini_nli", "im_piqa"]
    assert f"there is no {mirror / 'xnli/dev-sw.tsv'}" in left_out["xp3_xnli_sw"]
    assert "two columns: these are unlabelled test rows" in left_out["xp3_xnli_ru"]
    assert "no embedded corpus" in left_out["mini_nli"] and "on the hub" in left_out["im_piqa"]
    said = left_out_lines(left_out, 18).splitlines()
    assert said[0] == "left out 5 of 18 tasks, which cannot be run here:" and len(said) == 6
    assert said[3] == f"  xp3_xnli_sw: {left_out['xp3_xnli_sw']}"


def test_without_being_asked_nothing_is_left_out(manager, mirror):
    for task in ("xp3_xnli_sw", "xp3_xnli_ru", "mini_nli", "im_piqa"):
        with pytest.raises(DataError):
            leaf_tasks(manager, [task])
    tasks, _ = leaf_tasks(manager, ["xp3_rte"])
    assert tasks == ["xp3_rte"]


def test_nothing_to_run_is_an_error(manager, mirror):
    with pytest.raises(
        DataError, match=r"none of 1 tasks can be run here\. xp3_xnli_sw: XNLI: no validation documents in 'sw'"
    ):
        leaf_tasks(manager, ["xp3_xnli_sw"], {})
    with pytest.raises(ConfigError, match="unknown task 'xp3_xnli_xx'. Did you mean"):
        leaf_tasks(manager, ["xp3_xnli_xx"], {})


def group_of(folder, text: str) -> str:
    """An --include_path with one group."""
    folder.mkdir()
    (folder / "group.yaml").write_text(text, encoding="utf-8")
    return str(folder)


def test_members_that_are_mappings_and_tags_are_taken_one_by_one(mirror, tmp_path):
    text = (
        "group: mine\ntask: [{task: xp3_xnli_de}, {group: inner, task: [xp3_xnli_en, {task: xp3_xnli_sw}]}, tagged]\n"
    )
    folder = group_of(tmp_path / "more", text)
    for language in ("fr", "sw"):
        task = (
            f"include: {registration.task_paths()[0] / f'xnli/{language}.yaml'}\ntask: mine_{language}\ntag: tagged\n"
        )
        (tmp_path / f"more/{language}.yaml").write_text(task, encoding="utf-8")
    manager, left_out = registration.task_manager(["mine"], [folder]), {}
    tasks, groups = leaf_tasks(manager, ["mine"], left_out)
    assert tasks == ["xp3_xnli_en", "mine_fr"] and groups == {"mine": tasks}
    assert list(left_out) == ["xp3_xnli_de", "xp3_xnli_sw", "mine_sw"]
    left_out.clear()
    assert leaf_tasks(manager, ["tagged"], left_out) == (["mine_fr"], {"tagged": ["mine_fr"]})
    assert list(left_out) == ["mine_sw"]


@pytest.mark.parametrize("left_out", [None, {}])
def test_a_group_that_changes_its_tasks_is_refused_and_an_empty_one_is_an_error(mirror, tmp_path, left_out):
    text = "group: mine\ntask: [{task: xp3_xnli_en, num_fewshot: 0, repeats: 2}, {task: xp3_xnli_fr}]\n"
    manager = registration.task_manager(["mine"], [group_of(tmp_path / "more", text)])
    with pytest.raises(ConfigError, match=r"group mine sets up xp3_xnli_en \(num_fewshot, repeats\) anew"):
        leaf_tasks(manager, ["mine"], left_out)
    manager = registration.task_manager(["none"], [group_of(tmp_path / "empty", "group: none\ntask: []\n")])
    with pytest.raises(DataError, match="stand for no task at all"):
        leaf_tasks(manager, ["none"], left_out)


def test_examples_that_cannot_be_had_are_said_before_a_run(mirror):
    (mirror / "mgsm/exemplars.py").unlink()
    names = ["xp3_rte", "anyorder_mgsm_en", "anyorder_mmlu"]
    manager, left_out = registration.task_manager(names), {}
    tasks, _ = leaf_tasks(manager, names, left_out, num_fewshot=2)
    assert tasks == ["anyorder_mmlu"] and list(left_out) == names[:2]
    assert "this task has no examples beside its prompts" in left_out["xp3_rte"]
    assert "exemplars.py" in left_out["anyorder_mgsm_en"]
    assert leaf_tasks(manager, names, {}, num_fewshot=0)[0] == names
    with pytest.raises(DataError, match="--num_fewshot 2: this task has no examples"):
        leaf_tasks(manager, ["xp3_rte"], None, 2)


@pytest.mark.parametrize("ending", ["task: mine_one", "task: mine_one   \nmetadata: {}\n", 'task: "mine_one"'])
def test_all_finds_a_task_however_its_yaml_ends(tmp_path, monkeypatch, ending):
    path = tmp_path / "one.yaml"
    path.write_text(f"output_type: multiple_choice\n{ending}", encoding="utf-8")
    monkeypatch.setattr("harness.selection.tasks_known_here", lambda: {"mine_one": path})
    assert asked_for("all") == ["mine_one"]
