"""Prompts: ours and promptsource's, conventions, contrast; what renders to nothing is skipped and counted."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from shared_files import REAL, needs_real
from small_files import STORY_LINES, XCOPA_ROWS, XNLI_LINES, write_file, write_manifest

from harness import data, registration
from harness.catalogue import BENCHMARKS
from harness.mirror import DataError
from harness.prompts import Prompted, Template, has_other_order, listed, permutation, prompted, with_prompts
from harness.promptsource import PublishedTemplate

OURS = {"short": {"ask": "{{premise}} {{options | listed}}?", "options": ["Yes", "Maybe", "No"]}}
DOC = {"id": "d/0", "premise": "It rains.", "label": 1, "choices": ["one", "two", "three", "four"]}


def template(**changes: Any) -> Template:
    spec = {"name": "t", "ask": OURS["short"]["ask"], "options": ("Yes", "Maybe", "No"), "gold": "label"}
    return Template(**{**spec, **changes})


def test_a_document_under_a_prompt():
    made = prompted(DOC, template())
    assert made is not None
    assert made["inputs"] == "It rains. Yes, Maybe or No?" and made["gold"] == 1
    assert made["choices"] == [" Yes", " Maybe", " No"] and made["options"] == ["Yes", "Maybe", "No"]
    assert made["id"] == "d/0/t" and made["template"] == "t" and made["premise"] == "It rains."


def test_permuted_options_are_shown_and_scored_in_another_order():
    seen = set()
    for number in range(40):
        made = prompted({**DOC, "id": f"d/{number}"}, template(), contrast="permuted")
        assert made is not None
        assert made["inputs"] == f"It rains. {listed(made['options'])}?"
        assert made["options"][made["gold"]] == "Maybe" and made["choices"] == [f" {one}" for one in made["options"]]
        seen.add(tuple(made["options"]))
    assert seen == {("Maybe", "No", "Yes"), ("No", "Yes", "Maybe")}  # every option moves
    again = prompted(DOC, template(), contrast="permuted")
    assert again == prompted(DOC, template(), contrast="permuted")


def test_a_permutation_moves_everything_and_depends_on_its_key_only():
    for count in range(2, 8):
        for key in "abcdef":
            order = permutation(count, key)
            assert sorted(order) == list(range(count)) and all(order[i] != i for i in range(count))
            assert order == permutation(count, key)
    assert permutation(1, "a") == [0]


def test_letters_name_what_is_shown():
    texts = ("{{choices[0]}}", "{{choices[1]}}", "{{choices[2]}}", "{{choices[3]}}")
    ask = "{% for option in options %}{{'ABCD'[loop.index0]}}. {{option}} {% endfor %}"
    made = prompted(DOC, template(ask=ask, options=texts, letters=True))
    assert (
        made is not None
        and made["inputs"] == "A. one B. two C. three D. four"
        and made["choices"][made["gold"]] == " B"
    )
    moved = prompted(DOC, template(ask=ask, options=texts, letters=True), contrast="permuted")
    assert moved is not None and moved["choices"] == [" A", " B", " C", " D"]
    assert f"{moved['choices'][moved['gold']].strip()}. two" in moved["inputs"]


LETTERED = template(
    ask="{% for option in options %}{{option}} {% endfor %}", options=("{{choices[0]}}", "{{choices[1]}}"), letters=True
)


@pytest.mark.parametrize(
    "option",
    [
        "All of the above", "none of the above.", "None of above", "Either of the two above", "All the functions listed above",
        "above of the above", "all of below", "Both A and B", "neither a nor b", "(a) and (c)", "B and C only", "A, B, and C",
        "All of (a) to (c)", "Use the method in (A), but longer", "(B) Increased", "a and b", "b and c.",
        "a or b", "a and b only", "a. and c. above", "(a), b, and d above.", "a, c or d",
    ],
)  # fmt: skip
def test_options_that_speak_of_places_are_left_out_of_the_permuted_variant_and_counted(option):
    still = {**DOC, "id": "d/1", "choices": ["a fish", option]}
    assert not has_other_order(still["choices"]) and prompted(still, LETTERED) is not None
    made = with_prompts([DOC, still], [LETTERED], contrast="permuted")
    assert [row["id"] for row in made] == ["d/0/t"] and made[0]["n_skipped"] == 1
    assert [row["n_skipped"] for row in with_prompts([DOC, still], [LETTERED], contrast="ablated")] == [0, 0]
    assert prompted(still, dataclasses.replace(LETTERED, letters=False), contrast="permuted") is not None


@pytest.mark.parametrize(
    "option",
    [
        "All of these",
        "just above eye level",
        "25 °C and 1 atmosphere",
        "P(A)",
        "O(D)",
        "A fish and a bird",
        "C, C++",
        "Core",
        "a and e",
        "vitamins b and d",
        "a and b are rational",
        "a, b",
        "a cat and a dog",
        "a or b in H",
    ],
)
def test_other_options_move(option):
    assert has_other_order(["one", option])
    assert not has_other_order([option]) and not has_other_order([option, option])


HIDING = {"hiding": {"ask": "Is it so that {{hypothesis}}", "options": ["Yes", "Maybe", "No"]}}


def test_a_prompt_that_shows_no_options_has_no_other_order_and_is_counted():
    rows = load(templates={**OURS, **HIDING}, contrast="permuted")
    assert [row["template"] for row in rows] == ["short"] * 3 and [row["n_skipped"] for row in rows] == [0, 1, 2]
    assert load(templates=OURS, contrast="permuted") == [{**row, "n_skipped": 0} for row in rows]
    assert len(load(templates={**OURS, **HIDING}, contrast="ablated")) == 6
    with pytest.raises(DataError, match="the prompts hiding show no options in another order for all 3 documents"):
        load(templates={**OURS, **HIDING}, contrast="permuted", prompts="hiding")


def test_what_is_skipped_is_counted_on_the_way_to_the_rows_that_a_limit_takes():
    texts = ["", "", "a", "b", "", "c", ""]
    made = with_prompts([{**DOC, "premise": text} for text in texts], [template(ask="{{premise}}")])
    counts = [row["n_skipped"] for row in made]
    assert counts == [2, 0, 2] and [sum(counts[:limit]) for limit in (1, 2, 3)] == [2, 2, 4]


def test_published_prompts_have_their_options_inside_their_text(mirror):
    path = promptsource_file(mirror, published("short", "{{premise}} Yes, Maybe, No? ||| {{answer_choices[label]}}"))
    assert len(load(templates=OURS, prompts=f"promptsource:{path}", contrast="ablated")) == 3
    with pytest.raises(DataError, match="cannot be re-ordered .contrast permuted.; leave prompts out to use ours.$"):
        load(templates=OURS, prompts=f"promptsource:{path}", contrast="permuted")


def test_permuted_stories_are_asked_with_the_four_prompts_that_show_both_endings(mirror):
    write_file(mirror, BENCHMARKS["xstorycloze"].mirror_file("ru", "eval"), STORY_LINES)
    write_manifest(mirror)
    names = ["xp3_xstorycloze_ru", "xp3_xstorycloze_permuted"]
    plain, permuted = registration.task_manager(names).load(names)["tasks"].values()
    asked = {doc["inputs"] for doc in plain.eval_docs}
    rows = list(permuted.eval_docs)
    assert len(plain.eval_docs) == 2 * 5 and len(rows) == 2 * 4 and sum(row["n_skipped"] for row in rows) == 2
    assert not asked & {row["inputs"] for row in rows}


@needs_real
def test_how_many_real_questions_have_no_other_order(monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    still = [row["choices"] for row in data.documents_of("mmlu", "all", "test") if not has_other_order(row["choices"])]
    assert len(still) == 508 + 7
    assert (
        sum(any(re.search(r"\b(above|below)\b", option, re.IGNORECASE) for option in options) for options in still)
        == 404 + 2
    )


def test_ablation_hides_the_input_and_nothing_else():
    made = prompted(DOC, template(), contrast="ablated", hidden=("premise",))
    assert made is not None and made["inputs"] == "(not shown) Yes, Maybe or No?"
    assert made["premise"] == "It rains." and made["gold"] == 1


def test_a_template_that_cannot_be_filled_in_is_named():
    with pytest.raises(DataError, match="'{{premis}}' cannot be filled in: 'premis' is undefined"):
        prompted(DOC, template(ask="{{premis}}"))
    with pytest.raises(DataError, match="expected the keys ask and options, or ask and answer; got ask"):
        load(templates={"x": {"ask": "a"}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "short"}, "unknown setting 'prompt' of the tasks. Did you mean 'prompts'"),
        ({"conventions": "plain"}, "Did you mean 'convention'"),
        ({"prompts": ["short"]}, r"prompts should be a text .*, got \['short'\]"),
        ({"samples": 0}, "samples should be a whole number from 1 on, got 0"),
        ({"data_revisions": "abc"}, "data_revisions should be an object"),
        (
            {"data_revisions": {"facebook/xnil": "a" * 40}},
            "unknown data_revisions: repository 'facebook/xnil'. Did you mean 'facebook/xnli'",
        ),
        (
            {"data_revisions": {"facebook/xnli": "main"}},
            r"facebook/xnli should be a full commit \(40 hexadecimal digits\), got 'main'",
        ),
        ({"contrast": "shuffled"}, "unknown contrast 'shuffled'"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(DataError, match=message):
        load(templates=OURS, **settings)


def test_what_lm_eval_passes_beside_is_let_through():
    beside: Any = {
        "pretrained": "x",
        "steps": 3,
        "condition": True,
        "revision": "main",
        "scorer": "pll",
        "layout": "joint",
    }
    assert len(load(templates=OURS, version=1.0, **beside)) == 3


# -- open questions


OPEN = {
    "a": {"ask": "Say {{premise}}:", "answer": "{{hypothesis}}"},
    "b": {"ask": "{{premise}} =", "answer": "{{hypothesis}}"},
}


def test_an_open_question_has_its_right_answer_and_no_choices():
    rows = load(templates=OPEN)
    assert len(rows) == 6 and "choices" not in rows[0] and "gold" not in rows[0]
    assert [row["template"] for row in rows[:3]] == ["a", "b", "a"] and rows[0]["id"] == "xnli/en/validation/0/a"
    assert rows[0]["inputs"] == f"Say {rows[0]['premise']}:" and rows[0]["targets"] == rows[0]["hypothesis"]
    assert [row["template"] for row in load(templates=OPEN, prompts="b")] == ["b"] * 3
    with pytest.raises(DataError, match="prompt 'a' shows no options: contrast permuted has nothing to move"):
        load(templates=OPEN, contrast="permuted")
    with pytest.raises(
        DataError, match="expected the keys ask and options, or ask and answer; got ask, answer, options"
    ):
        load(templates={"x": {"ask": "a", "answer": "b", "options": ["c"]}})


def test_the_published_wording_of_an_open_question(mirror, monkeypatch):
    entry = published("b", "{% if label == 1 %}{{premise}} = ||| {{hypothesis}} {% endif %}", None).replace(
        '"null"', "null"
    )
    file = promptsource_file(mirror, published("a", "{{premise}}? ||| {{hypothesis}}"), entry)
    rows = load(templates=OPEN, prompts=f"promptsource:{file}")
    assert len(rows) == 3 + 1 and [row["n_skipped"] for row in rows] == [
        0,
        1,
        0,
        1,
    ]  # b is for the one neutral document only
    assert all("choices" not in row and row["targets"] == row["hypothesis"] for row in rows)
    assert [row["inputs"] for row in rows if row["label"] == 1] == ["The cat sleeps.?", "The cat sleeps. ="]
    spec = dataclasses.replace(BENCHMARKS["xnli"], promptsource="")
    monkeypatch.setitem(BENCHMARKS, "xnli", spec)
    with pytest.raises(DataError, match=f"XNLI: which file of {file.parent} is meant"):
        load(templates=OPEN, prompts=f"promptsource:{file.parent}")


# -- promptsource


def load(**settings: Any) -> list[Any]:
    return list(data.load(benchmark="xnli", subset="en", split="validation", **settings)["validation"])


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES)
    write_file(tmp_path, "xcopa/en/val-en.jsonl", [json.dumps(row) for row in XCOPA_ROWS])
    write_manifest(tmp_path)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    return tmp_path


def published(name: str, jinja: str, choices: str | None = "Yes ||| Maybe ||| No") -> str:
    lines = [f"  {name}: !Template", f"    name: {name}", f"    jinja: {json.dumps(jinja)}"]
    lines += [
        f"    answer_choices: {json.dumps(choices)}",
        "    metadata: !TemplateMetadata",
        "      original_task: true",
    ]
    return "\n".join(lines)


def promptsource_file(folder, *entries: str, name: str = "templates.yaml"):
    return write_file(folder, name, ["dataset: xnli", "subset: en", "templates:", *entries])


def test_a_published_template(mirror):
    path = promptsource_file(
        mirror, published("short", "{{premise}} Is it so that {{hypothesis}} ||| {{answer_choices[label]}}")
    )
    documents = load(templates=OURS, prompts=f"promptsource:{path}")
    assert documents[2]["inputs"] == "The cat sleeps. Is it so that The cat is running."
    assert [d["gold"] for d in documents] == [0, 1, 2] and documents[0]["choices"] == [" Yes", " Maybe", " No"]
    assert {d["n_skipped"] for d in documents} == {0}


def test_what_renders_to_nothing_is_skipped_and_counted(mirror):
    only = "{% if label == 1 %}{{premise}} ||| {{answer_choices[label]}}{% endif %}"
    path = promptsource_file(mirror, published("short", only))
    documents = load(templates=OURS, prompts=f"promptsource:{path}")
    assert [d["label"] for d in documents] == [1] and documents[0]["n_skipped"] == 2
    path = promptsource_file(mirror, published("short", "{% if label == 7 %}a ||| b{% endif %}"), name="never.yaml")
    with pytest.raises(DataError, match="the prompts short render to nothing for all 3 documents"):
        load(templates=OURS, prompts=f"promptsource:{path}")


def test_rendering_as_promptsource_does():
    long = PublishedTemplate("t", "{{a}} ||| {{b}}", "x ||| {{b}}")
    document = {"a": "1 ||| 2" + "y" * 3000, "b": " z ", "id": "d"}
    made = prompted(document, long)
    assert made is not None
    assert made["inputs"] == ("1 ||| 2" + "y" * 3000)[:2048] and made["options"] == ["x", "z"] and made["gold"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: [1", "is not a promptsource file"),
        ("dataset: a", "is not a promptsource file"),
        ("templates:\n  a: !!python/object/apply:os.system ['true']", "is not a promptsource file"),
        ("templates:\n  a: !Template\n    name: x\n    answer_choices: a", "template 'x' has no jinja text"),
    ],
)
def test_a_damaged_file_is_named(mirror, text, message):
    path = write_file(mirror, "bad.yaml", text.split("\n"))
    with pytest.raises(DataError, match=message):
        load(templates=OURS, prompts=f"promptsource:{path}")


def test_missing_names_and_wrong_targets(mirror):
    path = promptsource_file(mirror, published("other_frht", "{{premise}} ||| {{answer_choices[label]}}"))
    with pytest.raises(DataError, match="has no template 'short'; it has other_frht.*prompts_suffix"):
        load(templates=OURS, prompts=f"promptsource:{path}")
    assert len(load(templates={"other": {}}, prompts=f"promptsource:{path}", prompts_suffix="_frht")) == 3
    path = promptsource_file(mirror, published("short", "{{premise}} ||| Perhaps"), name="wrong.yaml")
    with pytest.raises(DataError, match="template 'short': target 'Perhaps' is none of"):
        load(templates=OURS, prompts=f"promptsource:{path}")
    with pytest.raises(DataError, match="cannot read the promptsource file .*none.yaml"):
        load(templates=OURS, prompts=f"promptsource:{mirror / 'none.yaml'}")


PUBLISHED_NAMES = {
    "xnli": [
        "GPT-3 style",
        "can we infer",
        "justified in saying",
        "guaranteed/possible/impossible",
        "MNLI crowdsource",
    ],
    "xcopa": [
        "best_option",
        "C1 or C2? premise, so/because…",
        "i_am_hesitating",
        "cause_effect",
        "plausible_alternatives",
    ],
    "xwinograd": ["underscore refer to", "Replace", "stand for", "does underscore refer to", "True or False"],
}


@needs_real
@pytest.mark.parametrize(("benchmark", "language", "suffix"), [("xnli", "en", ""), ("xnli", "fr", "_frht"), ("xnli", "zh", "_zhmt"),
    ("xcopa", "en", ""), ("xcopa", "zh", "_zhht"), ("xwinograd", "en", ""), ("xwinograd", "zh", "_zhht")])  # fmt: skip
def test_the_real_files_of_the_five_prompts(monkeypatch, benchmark, language, suffix):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    gold = {"xwinograd": "{{answer | int - 1}}"}.get(benchmark, "label")
    split = "test" if benchmark == "xwinograd" else "validation"
    subset = "fr" if benchmark == "xwinograd" else "zh"
    names = dict.fromkeys(PUBLISHED_NAMES[benchmark], {})
    settings: Any = {
        "prompts": f"promptsource:{REAL / 'promptsource'}",
        "prompts_language": language,
        "prompts_suffix": suffix,
    }
    rows: Any = data.load(benchmark=benchmark, subset=subset, split=split, templates=names, gold=gold, **settings)[
        split
    ]
    plain = data.load(benchmark=benchmark, subset=subset, split=split)[split]
    assert len(rows) == 5 * len(plain) and set(rows["n_skipped"]) == {0}
    own = prompted_gold(benchmark)
    assert all(row["gold"] == own(row) for row in rows)


def prompted_gold(benchmark: str):
    """The right option's index from the document's own columns: the published templates must agree with it."""
    if benchmark == "xwinograd":
        return lambda row: int(row["answer"]) - 1
    return lambda row: row["label"]


@needs_real
@pytest.mark.parametrize(("language", "suffix"), [("en", ""), ("zh", "_zhmt"), ("zh", "_zhht")])
def test_the_real_story_prompts(mirror, language, suffix):
    write_file(mirror, BENCHMARKS["xstorycloze"].mirror_file("ru", "eval"), STORY_LINES)
    write_manifest(mirror)
    names = (
        "Story Continuation and Options",
        "Answer Given options",
        "Novel Correct Ending",
        "Choose Story Ending",
        "Generate Ending",
    )
    settings: Any = {
        "prompts": f"promptsource:{REAL / 'promptsource'}",
        "prompts_language": language,
        "prompts_suffix": suffix,
    }
    given: Any = {"benchmark": "xstorycloze", "subset": "ru", "split": "eval", "templates": dict.fromkeys(names, {})}
    rows: Any = data.load(**given, gold="never used", **settings)["eval"]
    assert len(rows) == 2 * 5 and [row["gold"] for row in rows] == [1] * 5 + [0] * 5
    assert all(
        ("It floated." in row["inputs"]) == (row["template"] != "Generate Ending") for row in rows.select(range(5))
    )


# -- prompts made when they are read


def test_rows_made_when_read_are_those_made_at_once():
    documents = [{**DOC, "id": f"d/{number}", "label": number % 3} for number in range(4)]
    templates = [template(name="a"), template(name="b", ask="{{premise}} Really {{options | listed}}?")]
    for settings in ({}, {"contrast": "permuted"}, {"contrast": "ablated", "hidden": ["premise"]}):
        made, at_once = Prompted(documents, templates, **settings), with_prompts(documents, templates, **settings)
        assert list(made) == at_once and len(made) == 8 and made[-1] == at_once[-1] and made[1:3] == at_once[1:3]
        assert made[5] is made[5]
    with pytest.raises(IndexError):
        Prompted(documents, templates)[8]


@pytest.mark.parametrize(
    ("changes", "always"),
    [
        ({}, True),
        ({"ask": "{{premise}}"}, True),
        ({"ask": "{{other}} {{premise | upper}}"}, False),  # a column that may be empty, and a filter of one
        ({"ask": "{% if label %}{{premise}}?{% endif %}"}, False),
        ({"ask": "{% if label %}Why{% endif %}?"}, True),
        ({"options": ("{{premise}}", "No")}, True),
        ({"options": ("{{choices[0]}}", "No")}, False),
        ({"options": ("Yes", " ")}, False),
        ({"options": (), "answer": "{{premise}}"}, True),
        ({"options": (), "answer": "{{other}}"}, False),
    ],
)
def test_which_templates_apply_to_every_document(changes, always):
    assert template(**changes).always_applies({"premise"}) is always


def test_a_limit_renders_no_more_than_it_needs(mirror, monkeypatch):
    rendered: list[str] = []
    plain = Template.question_of

    def counted(self, document, shown):
        rendered.append(document["id"])
        return plain(self, document, shown)

    monkeypatch.setattr(Template, "question_of", counted)
    for number in range(3):
        write_file(mirror, f"xnli/dev-{'en de fr'.split()[number]}.tsv", XNLI_LINES * 50)
    write_manifest(mirror)
    task = registration.task_manager(["xp3_xnli_en"]).load(["xp3_xnli_en"])["tasks"]["xp3_xnli_en"]
    task.build_all_requests(limit=7)
    assert len(task.eval_docs) == len(XNLI_LINES) * 50 * 5 and len(rendered) == 7
    assert len(task.instances) == 7 * 3


def test_every_template_is_tried_before_a_network_is_loaded(monkeypatch, tmp_path):
    write_file(tmp_path, "xnli/dev-en.tsv", XNLI_LINES)
    write_manifest(tmp_path)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    fine, wrong = OURS["short"], {**OURS["short"], "ask": "{{premise}} {{nothing_such}}"}
    place: dict[str, Any] = {"benchmark": "xnli", "subset": "en", "split": "validation"}
    assert isinstance(data.load(**place, templates={"a": fine, "b": fine})["validation"]._rows, Prompted)
    with pytest.raises(DataError, match="nothing_such"):
        data.load(**place, templates={"a": fine, "b": wrong})
