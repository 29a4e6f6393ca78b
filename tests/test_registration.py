"""Names that lm-eval learns from us, our task folder, and groups cut to what a mirror holds."""

from __future__ import annotations

import logging
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from lm_eval.tasks.manager import TaskManager
from small_files import XNLI_LINES, write_file, write_manifest, write_mirror

from harness import data, registration
from harness.mirror import DataError
from harness.mirror_groups import groups_in_mirror

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def manager():
    """A TaskManager that knows our tasks only."""
    return registration.task_manager(["xp3_heldout"])


def test_entry_points_name_the_same_models():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["lm_eval.models"] == registration.MODELS


def test_models_are_registered_lazily_and_the_stock_ones_stay():
    from lm_eval.api.registry import get_model, model_registry

    registration.register_models()
    registration.register_models()
    assert set(registration.MODELS) | {"hf", "dummy", "vllm"} <= set(model_registry.keys())
    assert get_model("dummy").__name__ == "DummyLM"


@pytest.mark.parametrize("name", registration.MODELS)
def test_every_model_name_leads_to_a_class(name):
    from lm_eval.api.registry import get_model

    registration.register_models()
    module, _, attribute = registration.MODELS[name].partition(":")
    model = get_model(name)
    assert (model.__module__, model.__name__) == (module, attribute)


def test_the_cheap_list_is_the_list_that_lm_eval_finds(manager):
    assert list(registration.tasks_known_here()) == manager.all_tasks
    prefixes = Counter(name.split("_")[0] for name in manager.all_subtasks)
    held_out, english, contrast, generation = 15 + 12 + 11 + 6, 2 + 3 + 1, 16, 4 + 1
    assert prefixes["mini"] == 12 and prefixes["xp3"] == held_out + english + contrast + generation
    assert {"xp3_heldout", "xp3_xnli_l1", "xp3_heldout_english", "xp3_contrast"} <= set(manager.all_groups)
    assert all(name.startswith(registration.PREFIXES) for name in manager.all_tasks)


def test_which_tasks_need_lm_evals_index():
    assert registration.only_ours(["xp3_heldout", "mini_nli", "xp3_xnli_*"])
    assert not registration.only_ours(["xp3_heldout", "hellaswag"])
    assert not registration.only_ours(["*_en"]) and not registration.only_ours(["xp3_helout"])


def test_an_unknown_task_gets_the_nearest_names():
    said = registration.explain_unknown_task("xp3_helout")
    assert said.startswith("unknown task 'xp3_helout'. Did you mean xp3_heldout")
    assert "hellaswag" in registration.explain_unknown_task("helaswag", stock=["hellaswag"])
    assert registration.explain_unknown_task("qqqq") == "unknown task 'qqqq'. `lm_eval ls tasks` lists all of them."


def test_the_wheel_s_folder_comes_first(monkeypatch, tmp_path):
    package = tmp_path / "harness"
    package.mkdir()
    monkeypatch.setattr(registration, "__file__", str(package / "registration.py"))
    with pytest.raises(FileNotFoundError, match="no tasks: expected .*_tasks or .*tasks"):
        registration.task_paths()
    (tmp_path / "tasks").mkdir()
    assert registration.task_paths() == [tmp_path / "tasks"]
    (package / "_tasks").mkdir()
    assert registration.task_paths() == [package / "_tasks"]


def test_the_user_s_folder_overrides_ours(manager, tmp_path):
    write_file(tmp_path, "mine.yaml", ["task: mini_nli", "output_type: generate_until"])
    for given in (tmp_path, [tmp_path], str(tmp_path)):
        theirs = TaskManager(include_path=given, include_defaults=False)
        assert theirs.task_index["mini_nli"].yaml_path == tmp_path / "mine.yaml"
        assert "xp3_heldout" in theirs.all_groups


# -- groups and mirrors


def leaves(manager, name: str) -> list[str]:
    return sorted(manager.load([name])["tasks"])


def test_a_group_holds_what_the_mirror_has(manager, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    assert len(leaves(manager, "xp3_heldout")) == 44 and "left out" not in caplog.text
    for name in ("xnli/dev-bg.tsv", "xnli/dev-ur.tsv", "xcopa/ta/val.ta.jsonl"):
        (tmp_path / name).unlink()
    for path in (tmp_path / "xstory_cloze").iterdir():
        path.unlink()
    found = manager.load(["xp3_heldout"])
    assert len(found["tasks"]) == 44 - 3 - 11
    assert found["group_map"]["xp3_heldout"] == ["xp3_xnli", "xp3_xcopa", "xp3_xwinograd"]
    said = [message for message in caplog.messages if "left out" in message]
    assert said == [
        f"xp3_heldout: ANYORDER_DATA={tmp_path} holds 30 of 44 tasks; left out: "
        "XNLI 13 of 15 (without bg ur); XCOPA 11 of 12 (without ta); "
        "XStoryCloze 0 of 11 (without ar en es eu hi id my ru sw te zh); XWinograd 6 of 6."
    ]


def test_tasks_over_all_languages_are_left_out_by_their_names(manager, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    for path in (tmp_path / "xnli").iterdir():
        path.unlink()
    assert "xp3_xnli_permuted" not in leaves(manager, "xp3_contrast")
    assert "XNLI 0 of 2 (without xp3_xnli_permuted xp3_xnli_ablated); XCOPA 2 of 2" in caplog.text


def test_cutting_lasts_for_one_load_only(manager, monkeypatch, tmp_path):
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES)
    write_manifest(tmp_path)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    assert leaves(manager, "xp3_xnli") == ["xp3_xnli_en"]
    assert len(manager.task_index["xp3_xnli"].cfg["task"]) == 15


def test_prepared_tasks_and_configurations_pass_through(manager, monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path)))
    task = manager.load("xp3_xcopa_en")["tasks"]["xp3_xcopa_en"]
    assert manager.load(task)["tasks"] == manager.load([task])["tasks"] == {"xp3_xcopa_en": task}


def test_a_missing_language_that_is_named_is_an_error(manager, monkeypatch, tmp_path):
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    with pytest.raises(DataError, match="XNLI: no validation documents in 'bg' in the mirror"):
        manager.load(["xp3_xnli_bg"])


def test_an_empty_or_absent_mirror_is_an_error(manager, monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    with pytest.raises(DataError, match="xp3_heldout: ANYORDER_DATA=.* holds none of its 39 files"):
        manager.load(["xp3_heldout"])
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match="is not a folder"):
        manager.load(["xp3_heldout"])


def test_other_groups_do_not_care_about_the_mirror(manager, monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", "/no/such/folder")
    assert groups_in_mirror(manager.task_index, ["mini_heldin", "unheard_of"]) == {}


def test_without_a_mirror_nothing_is_cut(manager, monkeypatch):
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    assert groups_in_mirror(manager.task_index, ["xp3_heldout"]) == {}


# -- errors in one line


def test_our_errors_end_in_one_line_and_others_as_ever(monkeypatch, capsys):
    others = []
    monkeypatch.setattr(registration, "_hook_before", lambda *error: others.append(error))
    monkeypatch.delenv("ANYORDER_TRACEBACK", raising=False)
    registration.print_in_one_line(data.DataError, DataError("no such file."), None)
    assert capsys.readouterr().err == "error: no such file.\n" and others == []
    registration.print_in_one_line(ValueError, ValueError("x"), None)
    monkeypatch.setenv("ANYORDER_TRACEBACK", "1")
    registration.print_in_one_line(DataError, DataError("x"), None)
    assert [kind for kind, *_ in others] == [ValueError, DataError]


def test_lm_evals_advice_about_metadata_is_dropped():
    def record(text):
        return logging.LogRecord("lm_eval.api.task", logging.WARNING, "", 0, text, None, None)

    assert not registration._worth_saying(record("mini_nli: Custom kwargs can be passed to `--metadata` in console"))
    assert registration._worth_saying(record("num_fewshot > 0 but fewshot_split is None"))
