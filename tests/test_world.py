"""The mini world: bytes, grammar, what is held out, and that no answer can be had without reading."""

import argparse
import collections
import hashlib
import json
import math
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.world import build
from trainers.world.build import WEIGHTS
from trainers.world.evaluation import GROUPS
from trainers.world.instructions import ARRANGEMENTS, HELDOUT, instructions
from trainers.world.languages import Fact, grammar
from trainers.world.lexicon import LANGUAGES, PIVOT, han_words, tables
from trainers.world.splits import HELDOUT_LANGUAGE, TRANSLATING
from trainers.world.tasks import TRAINED

ROOT = Path(__file__).parents[1]
CLASSIFICATION = ("heldin_cls", "template_cls", "language_cls", "nli", "copa", "story", "winograd")


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One corpus of full evaluation size: (manifest, training records, documents by file)."""
    out = tmp_path_factory.mktemp("world")
    manifest = build(out, records=20_000)
    docs = {group.name: read(out / "eval" / f"{group.name}.jsonl") for group in GROUPS}
    return manifest, read(out / "train.jsonl"), docs, out


# Bytes


def test_equal_seeds_give_equal_bytes_whatever_the_hash_seed(tmp_path):
    digests = []
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        command = [
            sys.executable,
            "-m",
            "trainers.world",
            "--out",
            str(out),
            "--records",
            "300",
            "--items-scale",
            "0.05",
        ]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append({str(path.relative_to(out)): path.read_bytes() for path in files})
    assert digests[0] == digests[1] and len(digests[0]) == 2 + len(GROUPS)
    other = build(tmp_path / "other", seed=1, records=300, items_scale=0.05)
    assert other["files"]["train.jsonl"] != hashlib.sha256(digests[0]["train.jsonl"]).hexdigest()


def test_a_longer_corpus_begins_with_the_shorter_one(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    build(short, records=50, items_scale=0.05)
    build(long, records=80, items_scale=0.05)
    assert read(long / "train.jsonl")[:50] == read(short / "train.jsonl")


def test_the_manifest_counts_and_seals_every_file(world):
    manifest, train, docs, out = world
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert manifest["counts"] == {"train.jsonl": len(train)} | {f"eval/{k}.jsonl": len(v) for k, v in docs.items()}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert manifest["chance"]["nli"] == pytest.approx(1 / 3) and manifest["chance"]["retell"] == 0.0


def test_an_interrupted_build_leaves_no_manifest_not_even_an_old_one(tmp_path, monkeypatch):
    build(tmp_path, records=20, items_scale=0.05)

    def broken(seed, count, forbidden):
        yield {"inputs": ""}
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["trainers.world.build"], "training_records", broken)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, records=20, items_scale=0.05)
    assert not list(tmp_path.glob("manifest*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": 0}, "--records must be 1 or more, not 0"),
        ({"items_scale": 0.0}, "--items-scale must be a number above 0"),
        ({"items_scale": math.nan}, "--items-scale must be a number above 0"),
        ({"items_scale": 500.0}, "no more distinct items of .*: use a smaller --items-scale"),
        ({"seed": -1}, "--seed must be 0 or more, not -1"),
    ],
)
def test_bad_arguments_get_one_clear_line(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **arguments)
    assert not (tmp_path / "manifest.json").exists()


def test_command_line(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    from trainers.world import add_arguments, main

    add_arguments(parser)
    assert main(parser.parse_args([])) == 2
    (tmp_path / "file").touch()
    assert main(parser.parse_args(["--out", str(tmp_path / "file")])) == 2
    assert main(parser.parse_args(["--show", "windograd"])) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and "is a file" in errors[1] and "did you mean 'winograd'" in errors[2]
    assert main(parser.parse_args(["--show", "describe", "--language", "sw", "-n", "2"])) == 0
    assert capsys.readouterr().out.count("→") == 2


def test_no_torch():
    code = "import sys, trainers.world; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# Schema and sizes


def test_records_and_documents_have_the_agreed_keys(world):
    _, train, docs, _ = world
    keys = {"inputs", "targets", "language", "task", "template", "split"}
    assert {frozenset(record) for record in train} == {frozenset(keys)}
    for name, rows in docs.items():
        extra = {"choices", "gold"} if name in CLASSIFICATION else {"valid"} if name == "describe" else set()
        assert {frozenset(row) for row in rows} == {frozenset(keys | {"id", "group", "axis"} | extra)}
        assert len({row["id"] for row in rows}) == len(rows)
        for row in rows:
            assert row["group"] == name and row["split"] == "test" and row["language"] in LANGUAGES
            assert row["inputs"] == row["inputs"].strip() and row["targets"] == row["targets"].strip()
            if "choices" in row:
                assert row["choices"][row["gold"]] == row["targets"]
                assert len(set(row["choices"])) == len(row["choices"])
            if "valid" in row:
                assert row["targets"] in row["valid"] and len(set(row["valid"])) == len(row["valid"]) >= 4


def test_sizes_and_spread(world):
    _, train, docs, _ = world
    for name in ("nli", "copa", "story", "winograd"):
        assert collections.Counter(row["language"] for row in docs[name]) == dict.fromkeys(LANGUAGES, 300)
    for name, size in (("heldin_cls", 600), ("heldin_gen", 600), ("retell", 180), ("describe", 180)):
        assert abs(len(docs[name]) - size) <= 10
    for name in ("template_cls", "template_gen", "language_cls", "language_gen"):
        assert abs(len(docs[name]) - 400) <= 40
    shares = collections.Counter(record["task"] for record in train)
    total = sum(WEIGHTS.values())
    for task, weight in WEIGHTS.items():
        assert shares[task] / len(train) == pytest.approx(weight / total, abs=0.01)
    assert set(WEIGHTS) == set(TRAINED)


def test_small_scale_keeps_one_item_in_every_cell(tmp_path):
    build(tmp_path, records=10, items_scale=0.001)
    cells = [(row["task"], row["language"]) for row in read(tmp_path / "eval" / "heldin_gen.jsonl")]
    assert len(cells) == len(set(cells)) > 40


# Held out


def test_no_evaluation_prompt_is_trained_on(world):
    _, train, docs, _ = world
    prompts = {record["inputs"] for record in train}
    assert not [row["id"] for rows in docs.values() for row in rows if row["inputs"] in prompts]


def test_heldin_facts_are_not_trained_on(world):
    _, train, docs, _ = world
    trained = {(record["task"], record["language"], record["targets"]) for record in train}
    for row in docs["heldin_gen"]:
        # The sentence names person and rule, so it stands for the fact.
        if row["task"] in ("continuation", "reason"):
            assert (row["task"], row["language"], row["targets"]) not in trained
    problems = {re.split(r"(?<=[.。])", r["inputs"])[0] for r in train if r["task"] == "arithmetic"}
    new = [row for row in docs["heldin_gen"] if row["task"] == "arithmetic"]
    assert new and not [row for row in new if re.split(r"(?<=[.。])", row["inputs"])[0] in problems]


def test_heldout_templates_languages_and_tasks_are_never_trained(world):
    _, train, docs, _ = world
    used = {record["template"] for record in train}
    assert not used & {row["template"] for name in ("template_cls", "template_gen") for row in docs[name]}
    for name in used:
        code, wording, index = name.split("/")
        assert wording.startswith("describe") or int(index) < len(instructions(code, wording)) - HELDOUT
    assert not {record["task"] for record in train} & {"nli", "copa", "story", "winograd"}
    pairs = {(record["task"], record["language"]) for record in train}
    assert not pairs & set(HELDOUT_LANGUAGE.items())
    for name in ("language_cls", "language_gen"):
        for row in docs[name]:
            if row["task"] not in TRANSLATING:
                assert HELDOUT_LANGUAGE[row["task"]] == row["language"] != "en"


def test_translation_is_trained_from_and_into_english_and_tested_without_it(world):
    _, train, docs, _ = world
    rows = [record for record in train if record["task"] in TRANSLATING]
    assert {record["template"].split("/")[0] for record in rows if record["language"] == PIVOT} == set(LANGUAGES)
    assert all(record["template"].startswith("en/") for record in rows if record["language"] != PIVOT)
    into = collections.Counter(record["language"] == PIVOT for record in rows)
    assert 0.4 < into[True] / len(rows) < 0.6
    new = [row for row in docs["language_gen"] if row["task"] in TRANSLATING]
    assert new and PIVOT not in {row["language"] for row in new}


def test_a_heldout_instruction_holds_known_parts_in_a_new_arrangement():
    trained, heldout = ARRANGEMENTS[:-HELDOUT], ARRANGEMENTS[-HELDOUT:]
    parts = {(cue, part) for cue, arrangement in trained for part in arrangement}
    for cue, arrangement in heldout:
        assert (cue, arrangement) not in trained
        assert {(cue, "body"), (cue, "cue")} <= parts
        assert set(arrangement) <= {part for _, part in parts}
    assert instructions("en", "topic")[4] == "{text} Task: What is the topic? Answer:"


def test_the_chinese_words_are_those_of_the_lexicon(world):
    assert world[0]["han_words"] == han_words() == sorted(set(han_words()))
    assert {"女孩", "在花园里", "饿了"} <= set(han_words()) and not any("{" in word for word in han_words())


def test_words_of_a_heldout_language_are_seen_in_other_tasks(world):
    _, train, docs, _ = world
    seen = collections.Counter(
        w for record in train for w in re.findall(r"\w+", record["inputs"] + " " + record["targets"])
    )
    characters = set("".join(record["inputs"] + record["targets"] for record in train))
    for name in ("language_cls", "language_gen", "nli", "winograd", "copa", "story"):
        for row in docs[name]:
            if row["language"] == "zh":
                assert set(row["targets"]) <= characters
            else:
                words = re.findall(r"[^\W\d]+", row["targets"])  # numerals are the same in all languages
                assert all(seen[w] for w in words), row


# No answer without reading


def baselines(rows: list[dict], counts: collections.Counter) -> dict[str, float]:
    """Accuracy of answerers that see the choices but not the prompt."""
    golds = collections.Counter(row["targets"] for row in rows)
    guesses = {
        "first": lambda row: 0,
        "last": lambda row: len(row["choices"]) - 1,
        "longest": lambda row: max(range(len(row["choices"])), key=lambda i: len(row["choices"][i])),
        "shortest": lambda row: min(range(len(row["choices"])), key=lambda i: len(row["choices"][i])),
        "frequent": lambda row: max(range(len(row["choices"])), key=lambda i: counts[row["choices"][i]]),
        "majority": lambda row: max(range(len(row["choices"])), key=lambda i: golds[row["choices"][i]]),
    }
    return {name: sum(guess(row) == row["gold"] for row in rows) / len(rows) for name, guess in guesses.items()}


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_baselines_that_do_not_read_are_at_chance(world, name):
    manifest, train, docs, _ = world
    for code in (None, *LANGUAGES):
        rows = [row for row in docs[name] if code in (None, row["language"])]
        if not rows:
            continue
        chance = sum(1 / len(row["choices"]) for row in rows) / len(rows)
        if code is None:
            assert manifest["chance"][name] == pytest.approx(chance)
        counts = collections.Counter(r["targets"] for r in train if code in (None, r["language"]))
        noise = 2.6 * math.sqrt(chance * (1 - chance) / len(rows))
        for baseline, accuracy in baselines(rows, counts).items():
            assert abs(accuracy - chance) <= noise, (name, code, baseline, accuracy, chance)


@pytest.mark.parametrize("name", ("copa", "winograd", "story"))
def test_siblings_swap_gold_and_distractor(world, name):
    rows = world[2][name]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["choices"] == second["choices"] and first["gold"] != second["gold"]


def test_neither_premise_nor_hypothesis_alone_gives_nli_away(world):
    rows = [row for row in world[2]["nli"] if row["language"] == "en"]
    by_polarity = collections.defaultdict(collections.Counter)
    for row in rows:
        first, second = (" not " in sentence for sentence in re.findall(r"The [^.]*\.", row["inputs"]))
        by_polarity["premise", first][row["targets"]] += 1
        by_polarity["hypothesis", second][row["targets"]] += 1
    for counts in by_polarity.values():
        assert max(counts.values()) / sum(counts.values()) < 1 / 3 + 0.12


# Grammar


FACTS = (
    Fact("girl", "buy", "apple", "red", "market"),
    Fact("king", "hide", "egg", "new", negated=True),
    Fact("doctor", "see", "key", adjunct="today", negated=True),
    Fact("boy", "sell", "book", "small", "kitchen", negated=True),
)
SENTENCES = {
    "en": (
        "The girl buys the red apple at the market.",
        "The king does not hide the new egg.",
        "The doctor does not see the key today.",
        "The boy does not sell the small book in the kitchen.",
    ),
    "es": (
        "La niña compra la manzana roja en el mercado.",
        "El rey no esconde el huevo nuevo.",
        "El médico no ve la llave hoy.",
        "El niño no vende el libro pequeño en la cocina.",
    ),
    "de": (
        "Das Mädchen kauft den roten Apfel auf dem Markt.",
        "Der König versteckt das neue Ei nicht.",
        "Der Arzt sieht den Schlüssel heute nicht.",
        "Der Junge verkauft das kleine Buch nicht in der Küche.",
    ),
    "fr": (
        "La fille achète la pomme rouge au marché.",
        "Le roi ne cache pas le nouvel œuf.",
        "Le médecin ne voit pas la clé aujourd'hui.",
        "Le garçon ne vend pas le petit livre dans la cuisine.",
    ),
    "sw": (
        "Msichana ananunua tofaa jekundu sokoni.",
        "Mfalme hafichi yai jipya.",
        "Daktari haoni ufunguo leo.",
        "Mvulana hauzi kitabu kidogo jikoni.",
    ),
    "zh": (
        "女孩在市场上买红苹果。",
        "国王不藏新鸡蛋。",
        "医生今天没看见钥匙。",
        "男孩不在厨房里卖小书。",
    ),
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_sentences_agree(code):
    assert tuple(grammar(code).sentence(fact) for fact in FACTS) == SENTENCES[code]


def test_word_order_elision_contraction_and_concord():
    market = Fact("nurse", "buy", "egg", adjunct="market")
    assert grammar("de").fronted(market) == "Auf dem Markt kauft die Pflegerin das Ei."
    assert grammar("fr").fronted(market) == "Au marché, l'infirmière achète l'œuf."
    assert grammar("fr").sentence(Fact("nurse", "buy", "egg", negated=True)) == "L'infirmière n'achète pas l'œuf."
    assert grammar("fr").talk("Anna", "dog", "egg") == "Anna parle du chien et de l'œuf."
    assert grammar("es").talk("Anna", "dog", "rain") == "Anna habla del perro y de la lluvia."
    assert grammar("de").talk("Anna", "dog", "rain") == "Anna spricht über den Hund und den Regen."
    assert grammar("es").rule("Anna", "tired")[0] == "Anna está cansada."
    assert grammar("fr").rule("Paul", "tired")[0] == "Paul est fatigué."
    assert grammar("sw").located("book", "school") == "Kitabu kiko shuleni."
    assert grammar("sw").located("egg", "home") == "Yai liko nyumbani."
    assert grammar("sw").opinion("Tom", "bread", True, "not") == "Tom: Mkate si mbaya."
    assert grammar("fr").counting("Tom", "egg", 3, 2)[1] == "Combien d'œufs a Tom ?"
    assert grammar("es").counting("Tom", "egg", 3, 2)[1] == "¿Cuántos huevos tiene Tom?"
    assert grammar("sw").counting("Tom", "apple", 3, 2)[1] == "Tom ana matofaa mangapi?"
    assert grammar("zh").counting("Tom", "key", 3, -2)[0] == "汤姆有3把钥匙，卖了2把。"


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_has_the_same_entries(code):
    english, words = tables("en"), tables(code)
    for group in english:
        if isinstance(english[group], dict) and group != "patterns":
            assert list(words[group]) == list(english[group]), group
    for wording in [*english["templates"], *english["instructions"]]:
        texts, ours = instructions("en", wording), instructions(code, wording)
        assert len(ours) == len(texts) == len(set(ours))
        for text, model in zip(ours, texts, strict=True):
            slots = {field.lower() for _, field, _, _ in string.Formatter().parse(text) if field}
            assert slots == {field.lower() for _, field, _, _ in string.Formatter().parse(model) if field}, text


def test_chinese_is_written_without_spaces(world):
    _, train, _, _ = world
    native = [
        r for r in train if r["language"] == "zh" and r["template"].startswith("zh/") and r["task"] not in TRANSLATING
    ]
    assert native and not [record for record in native if " " in record["inputs"] + record["targets"]]


# The long and the open task


def test_retell_has_several_sentences(world):
    for row in world[2]["retell"]:
        assert 2 <= len(re.findall(r"[.。]", row["targets"])) <= 4


def test_describe_lists_every_right_answer(world):
    lists = [row for row in world[2]["describe"] if "describe_list" in row["template"]]
    assert lists
    for row in lists:
        assert len(row["valid"]) == 24
        comma = "、" if row["language"] == "zh" else ", "
        words = {word for answer in row["valid"] for word in answer.split(comma)}
        assert len(words) == 4 and all(word in row["inputs"] for word in words)
        assert all(len(set(answer.split(comma))) == 3 for answer in row["valid"])
