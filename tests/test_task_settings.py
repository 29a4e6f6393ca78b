"""Settings of the tasks: what only a YAML says is refused, what a task has no use for is said."""

from __future__ import annotations

from typing import Any

import pytest
from small_files import write_file, write_mirror

from harness import task_settings
from harness.config import ConfigError
from harness.registration import task_manager
from harness.selection import leaf_tasks
from harness.task_settings import ONLY_A_YAML_SAYS


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    root = write_mirror(tmp_path / "mirror")
    monkeypatch.setenv("ANYORDER_DATA", str(root))
    monkeypatch.setattr(task_settings, "_said", set())
    return root


def loaded(names: list[str], include=(), **metadata: Any) -> dict[str, Any]:
    return task_manager(names, include, metadata).load(names)["tasks"]


@pytest.mark.parametrize("key", list(ONLY_A_YAML_SAYS))
def test_what_a_task_is_cannot_be_changed_by_a_run(key):
    for name in ("xp3_xcopa_et", "anyorder_bbh_direct", "mini_nli", "xp3_contrast"):
        manager = task_manager([name], metadata={key: "0"})
        with pytest.raises(ConfigError, match=f"'{key}' is no setting of a run, only a task's YAML says it: .*[.)]$"):
            manager.load([name])
        with pytest.raises(ConfigError, match=f"'{key}' is no setting"):
            leaf_tasks(manager, [name], {})  # not even with --skip_missing


def test_contrast_names_the_tasks_to_use():
    with pytest.raises(
        ConfigError, match="^xp3_rte: 'contrast' is .*: name the task that ends in _permuted or _ablated.$"
    ):
        loaded(["xp3_rte"], contrast="permuted")


def test_what_only_a_yaml_says_is_said_before_all_else():
    for name in ("xp3_rte", "anyorder_bbh_direct"):
        with pytest.raises(ConfigError, match=f"^{name}: 'templates' is no setting of a run"):
            loaded([name], convention="plain", templates="0")


def test_a_yaml_may_say_everything(tmp_path):
    lines = ["custom_dataset: !function harness.data.load", "validation_split: validation", "output_type: multiple_choice",
             "doc_to_text: inputs", "doc_to_choice: choices", "doc_to_target: gold", "task: mine"]  # fmt: skip
    settings = ["metadata:", "  contrast: permuted", "  gold: '{{0}}'", "  convention: plain",
                "  templates: {one: {ask: '{{premise}} {{options}}', options: ['a', 'b']}}",
                "dataset_kwargs: {benchmark: rte, subset: en, split: validation}"]  # fmt: skip
    write_file(tmp_path, "mine.yaml", [*lines, *settings])
    (task,) = loaded(["mine"], [tmp_path]).values()
    assert {(row["gold"], *row["choices"]) for row in task.eval_docs} == {(1, "b", "a")}
    with pytest.raises(ConfigError, match="^mine: 'gold' is no setting of a run"):
        loaded(["mine"], [tmp_path], gold="{{1}}")


def test_settings_without_a_use_are_said_once_a_benchmark(caplog):
    given: Any = {"prompts": "can we infer", "convention": "plain", "samples": 2}
    manager = task_manager(["anyorder_bbh_direct", "xp3_xnli_en"], metadata=given)
    for _ in range(2):
        manager.load(["anyorder_bbh_direct", "anyorder_bbh_nlp", "anyorder_mgsm_en", "xp3_xnli_en"])
    said = [line for line in caplog.messages if "the setting" in line]
    assert said == [
        "the setting 'prompts' is not used by BIG-Bench Hard, MGSM (one prompt of its own).",
        "the setting 'convention' is not used by BIG-Bench Hard, MGSM (one prompt of its own).",
        "the setting 'samples' is not used by BIG-Bench Hard, MGSM, XNLI (one answer per question, no code is run).",
    ]


@pytest.mark.parametrize(
    ("names", "given", "why"),
    [
        (["anyorder_bbh_direct"], {"prompts": "no such prompt"}, "'prompts' (BIG-Bench Hard: one prompt of its own)"),
        (["anyorder_bbh_direct", "xp3_rte"], {"samples": 3}, "'samples' (BIG-Bench Hard: one answer per question, no code is run)"),
        (["xp3_wmt14"], {"convention": "plain"}, "'convention' (WMT14: no options)"),
        (["xp3_rte"], {"prompts_suffix": "_frht"}, "'prompts_suffix' (RTE: it goes with the published prompts, 'prompts': 'promptsource:PATH')"),
        (["mini_nli"], {"convention": "plain"}, "'convention' (mini_…: one prompt of its own)"),
    ],
)  # fmt: skip
def test_a_setting_that_no_task_of_a_run_uses_is_an_error(names, given, why):
    with pytest.raises(ConfigError) as error:
        leaf_tasks(task_manager(names, metadata=given), names)
    assert str(error.value) == f"no task of this run uses the setting {why}: leave it out."


def test_commits_that_a_task_does_not_read_are_said(caplog, monkeypatch, tmp_path):
    given = {"data_revisions": {"facebook/xnli": "f" * 40}}
    with pytest.raises(ConfigError, match=r"uses the setting 'data_revisions' \(XNLI: a mirror is read\)"):
        leaf_tasks(task_manager(["xp3_xnli_en"], metadata=given), ["xp3_xnli_en"])
    monkeypatch.delenv("ANYORDER_DATA")
    index = task_manager(["xp3_xnli_en", "xp3_xcopa_et", "im_winogrande"]).task_index
    task_settings.check_given(index, ["xp3_xnli_en"], given, whole_run=True)
    for name, why in (("xp3_xcopa_et", "XCOPA: it reads "), ("im_winogrande", "im_…: its documents are none of")):
        with pytest.raises(ConfigError, match=f"'data_revisions' \\({why}"):
            task_settings.check_given(index, [name], given, whole_run=True)


def test_a_user_s_own_task_may_begin_like_ours_and_has_its_own_settings(tmp_path):
    write_file(tmp_path, "own.py", ["def load(split='a', **more):", "    return {'test': [{'q': split, 'a': 'x'}]}"])
    write_file(tmp_path, "own.yaml", ["task: xp3_mine", "custom_dataset: !function own.load", "test_split: test",
                                      "output_type: generate_until", "doc_to_text: q", "doc_to_target: a"])  # fmt: skip
    index = task_manager(["xp3_mine"], [tmp_path]).task_index
    task_settings.check_given(index, ["xp3_mine"], {"split": "b", "prompts": "b"}, whole_run=True)


def test_a_setting_that_one_task_uses_is_a_warning(caplog):
    names = ["anyorder_bbh_direct", "xp3_rte"]
    tasks, _ = leaf_tasks(task_manager(names, metadata={"prompts": "should assume"}), names)
    assert (
        tasks == names
        and sum("the setting 'prompts' is not used by BIG-Bench Hard" in line for line in caplog.messages) == 1
    )
    caplog.clear()
    assert len(loaded(["anyorder_humaneval"], samples=2)["anyorder_humaneval"].eval_docs) % 2 == 0
    assert "the setting" not in caplog.text
