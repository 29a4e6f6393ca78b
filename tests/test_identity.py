"""What makes a run another run: its task's files and its documents."""

from __future__ import annotations

import shutil

from small_files import write_mirror

from harness.identity import data_identity, options_identity, prompts_identity, task_digest
from harness.registration import task_manager


def test_the_identity_follows_includes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    base = tmp_path / "b" / "base.yaml"
    base.write_text("output_type: generate_until\n")
    (tmp_path / "a" / "middle.yaml").write_text("include: ../b/base.yaml  # far away\n")
    (tmp_path / "a" / "mine.yaml").write_text("include:\n  - middle.yaml\ntask: mine\n")
    manager = task_manager(["mini_nli"], [tmp_path])
    first = task_digest(manager, "mine")
    assert first == task_digest(manager, "mine")
    base.write_text("output_type: multiple_choice\n")
    assert task_digest(manager, "mine") != first


def test_documents_are_known_by_their_bytes_not_by_their_folder(tmp_path, monkeypatch):
    """The same files in another place are the same documents; one changed byte is another run."""
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path / "one")))
    names = ["xp3_xnli_sw", "anyorder_wmt14_de_en", "anyorder_mmlu"]
    manager = task_manager(names)
    before = {name: data_identity(manager, name) for name in names}
    assert set(before["xp3_xnli_sw"]) == {"xnli/dev-sw.tsv"}
    assert set(before["anyorder_wmt14_de_en"]) == {"wmt14_de_en/newstest2014.de.txt", "wmt14_de_en/newstest2014.en.txt"}
    assert list(before["anyorder_mmlu"]) == ["mmlu/test/abstract_algebra_test.csv and 113 more"]  # test and dev
    shutil.move(tmp_path / "one", tmp_path / "two")
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "two"))
    assert {name: data_identity(manager, name) for name in names} == before
    for changed in ("xnli/dev-sw.tsv", "wmt14_de_en/newstest2014.en.txt", "mmlu/dev/virology_dev.csv"):
        with open(tmp_path / "two" / changed, "a", encoding="utf-8") as file:
            file.write(" ")
    after = {name: data_identity(manager, name) for name in names}
    assert all(after[name] != before[name] for name in names)


def test_examples_count_where_they_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    manager = task_manager(["anyorder_mgsm_en"])
    assert set(data_identity(manager, "anyorder_mgsm_en", 0)) == {"mgsm/mgsm_en.tsv"}
    assert set(data_identity(manager, "anyorder_mgsm_en", 3)) == {"mgsm/mgsm_en.tsv", "mgsm/exemplars.py"}


def test_on_the_hub_a_commit_is_the_identity(monkeypatch):
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    manager = task_manager(["xp3_xnli_en", "anyorder_mgsm_en"])
    place = "hub:facebook/xnli@{}/en/validation-00000-of-00001.parquet"
    pinned = "b8dd5d7af51114dbda02c0e3f6133f332186418e"
    assert data_identity(manager, "xp3_xnli_en") == {"xnli/en/validation": place.format(pinned)}
    other = {"data_revisions": {"facebook/xnli": "abc"}}
    assert data_identity(manager, "xp3_xnli_en", metadata=other) == {"xnli/en/validation": place.format("abc")}
    of_lm_eval = data_identity(task_manager(["im_piqa"]), "im_piqa")
    assert of_lm_eval == {"source": "hub:baber/piqa@142f6d7367fd9877f0fb3b5734ea6a545f54cdd1"}
    mgsm = "hub:juletxara/mgsm@f52417ca77bd71e9888ddc29f92587660725d2b4/"
    assert data_identity(manager, "anyorder_mgsm_en") == {"mgsm/en/test": f"{mgsm}mgsm_en.tsv"}


def test_settings_without_a_use_make_no_other_run():
    manager = task_manager(["anyorder_bbh_direct", "xp3_xnli_en"])
    given = {"metadata": {"prompts": "can we infer", "samples": 2}}
    assert options_identity(manager, "anyorder_bbh_direct", given) == {}
    assert options_identity(manager, "xp3_xnli_en", given) == {"metadata": {"prompts": "can we infer"}}


def test_settings_of_the_yaml_count_as_the_user_s(tmp_path, monkeypatch):
    """A commit, shots or prompts that stand in a task's own YAML belong to what it measured."""
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    templates = tmp_path / "templates.yaml"
    templates.write_text("a")
    base = (
        "custom_dataset: !function harness.data.load\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: question\ndoc_to_target: answer\ndataset_kwargs: {benchmark: mgsm, subset: en, split: test}\n"
    )
    commit = "metadata: {data_revisions: {juletxara/mgsm: abc}, prompts: 'promptsource:" + str(templates) + "'}\n"
    (tmp_path / "pinned.yaml").write_text(f"task: pinned_mgsm\n{base}num_fewshot: 2\n{commit}")
    manager = task_manager(["pinned_mgsm"], [tmp_path])
    assert data_identity(manager, "pinned_mgsm") == {
        "mgsm/en/test": "hub:juletxara/mgsm@abc/mgsm_en.tsv",
        "mgsm/en/train": "hub:juletxara/mgsm@abc/exemplars.py",
    }
    assert list(data_identity(manager, "pinned_mgsm", 0)) == ["mgsm/en/test"]
    first = prompts_identity(manager, "pinned_mgsm")
    templates.write_text("b")
    assert first is not None and prompts_identity(manager, "pinned_mgsm") != first
