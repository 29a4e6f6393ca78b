"""The xP3 builder against hand-made templates and, where they are beside the checkout, promptsource's own."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.config import ConfigError
from harness.promptsource import read_all
from harness.records import RecordError
from trainers.xp3 import DataSet, Rules, build, build_template, file_name, merge

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
TEMPLATES = """dataset: toy
templates:
  a-1: !Template
    answer_choices: Yes ||| No
    id: a-1
    jinja: '{{premise}} Really? ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata {languages: [en]}
    name: really
    reference: ''
  a-2: !Template
    answer_choices: null
    id: a-2
    jinja: '{% if label == 0 %}Write it. ||| {{premise}}{% endif %}'
    metadata: !TemplateMetadata {languages: [en]}
    name: write / it
    reference: ''
"""
DOCUMENTS = [{"premise": text, "label": i % 2} for i, text in enumerate(["bb", "a", "cccc", "ddd", "", "a ||| b"])]


def toy(folder: Path) -> Path:
    (folder / "templates.yaml").write_text(TEMPLATES)
    return folder / "templates.yaml"


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def data(split="train", documents=None):
    return DataSet("toy-set", "en", split, "en", DOCUMENTS if documents is None else documents)


def test_records_are_rendered_as_promptsource_does(tmp_path):
    paths = build(
        [data(), data("validation", DOCUMENTS[:1])], toy(tmp_path), Rules(splits=("train",)), tmp_path / "xp3"
    )
    assert [p.relative_to(tmp_path / "xp3").as_posix() for p in paths] == [
        "en/xp3_toy-set_en_train_really.jsonl", "en/xp3_toy-set_en_train_write_it.jsonl",
    ]  # fmt: skip
    really, write = records(paths[0]), records(paths[1])
    assert {r["inputs"]: r["targets"] for r in really} == {
        "bb Really?": "Yes", "a Really?": "No", "cccc Really?": "Yes", "ddd Really?": "No", "Really?": "Yes", "a ||| b Really?": "No",
    }  # fmt: skip
    assert sorted(r["targets"] for r in write) == ["bb", "cccc"]  # label 1: no template; an empty premise: no target
    assert all(r["template"] == "write / it" and r["language"] == "en" and r["split"] == "train" for r in write)
    assert {r["document"] for r in write} <= {r["document"] for r in really}


@pytest.mark.parametrize("order,third", [("lexicographic", "a ||| b Really?"), ("shortest", "bb Really?")])
def test_the_cap_keeps_the_first_by_text_or_by_length(tmp_path, order, third):
    template = read_all(toy(tmp_path))["really"]
    found = build_template(data(), "really", template, Rules(cap=3, order=order))
    assert [record["inputs"] for record in found] == ["Really?", "a Really?", third]


def test_fewer_are_drawn_than_there_are_and_the_draw_is_seeded(tmp_path):
    template, many = read_all(toy(tmp_path))["really"], [{"premise": f"p{i}", "label": 0} for i in range(50)]
    draws = [build_template(data(documents=many), "really", template, Rules(draw=10, seed=s)) for s in (0, 0, 1)]
    assert len(draws[0]) == 10 and draws[0] == draws[1] != draws[2]


def test_merged_files_hold_every_pair_once(tmp_path):
    build([data()], toy(tmp_path), Rules(), tmp_path / "xp3")
    (tmp_path / "xp3" / "en" / "xp3_again.jsonl").write_text(
        json.dumps({"inputs": "a Really?", "targets": "No"}) + "\n"
    )
    merged = records(merge(tmp_path / "xp3", "en"))
    assert len(merged) == 8 and len({(r["inputs"], r["targets"]) for r in merged}) == 8
    assert merged == records(merge(tmp_path / "xp3", "en"))
    with pytest.raises(ConfigError, match="no xp3_"):
        merge(tmp_path / "xp3", "fr")


def test_a_full_disk_leaves_the_file_before_it_and_no_part_of_another(tmp_path, monkeypatch):
    paths = build([data()], toy(tmp_path), Rules(), tmp_path / "xp3")
    before, dumps = [path.read_bytes() for path in paths], json.dumps

    def full(record, **options):
        if record["inputs"].startswith("cccc"):
            raise OSError(28, "No space left on device")
        return dumps(record, **options)

    monkeypatch.setattr("trainers.xp3.json", SimpleNamespace(dumps=full))
    with pytest.raises(RecordError, match=r"cannot write .*really.jsonl: No space left on device. Free space"):
        build([data(documents=DOCUMENTS[:3])], toy(tmp_path), Rules(), tmp_path / "xp3")
    assert [path.read_bytes() for path in paths] == before and not list(tmp_path.rglob("*.partial"))


def test_templates_of_like_names_have_files_of_their_own(tmp_path):
    (tmp_path / "templates.yaml").write_text(TEMPLATES.replace("name: really", "name: write_it"))
    paths = build([data()], tmp_path / "templates.yaml", Rules(), tmp_path / "xp3")
    assert [path.name for path in paths] == [
        "xp3_toy-set_en_train_write_it.jsonl",
        "xp3_toy-set_en_train_write_it_.jsonl",
    ]
    assert {r["template"] for path in paths for r in records(path)} == {"write_it", "write / it"}


def test_file_names_are_the_published_ones():
    assert (
        file_name(DataSet("super_glue", "cb", "train", "en", []), "GPT-3 style")
        == "xp3_super_glue_cb_train_GPT-3_style.jsonl"
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the mirror of public files is not beside the checkout")
def test_promptsources_own_files_render_every_document(tmp_path):
    rows = [line.split("\t") for line in (REAL / "xnli" / "dev-en.tsv").read_text(encoding="utf-8").split("\n") if line]
    names = {"entailment": 0, "neutral": 1, "contradiction": 2}
    documents = [
        {"premise": p, "hypothesis": h, "label": names[label]} for p, h, label in (row[:3] for row in rows[:30])
    ]
    file = REAL / "promptsource" / "xnli" / "en" / "templates.yaml"
    paths = build([DataSet("xnli", "en", "validation", "en", documents)], file, Rules(), tmp_path)
    assert len(paths) == len(read_all(file)) and all(len(records(path)) == 30 for path in paths)
