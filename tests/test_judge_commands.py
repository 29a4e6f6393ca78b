"""`python -m harness judge …` from the command line to the files; a suite's judge-shaped runs and their table."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from small_files import write_corpus
from test_judge_client import client
from test_mt_bench import GOOD, KEY, QUESTIONS, REFERENCES, write_answers
from test_z_bench import SHEET

from harness.__main__ import main
from harness.config import ConfigError
from harness.judges import calibration, contestants, shapes
from harness.judges.commands import locked
from harness.judges.endpoint import Reply
from harness.judges.files import json_lines, write_json_lines
from harness.judges.rubrics import plain_prompts
from harness.judges.scripted import ScriptedJudge, WordRule, common_words
from harness.records import RecordError
from harness.suites import load_suite

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real files beside the checkout")


@pytest.fixture
def suite(tmp_path, checkpoints, monkeypatch):
    """A suite of a decoder and a diffusion LM with checkpoints and corpus in place; (its path, its results folder)."""
    systems = [
        {
            "name": name,
            "recipe": f"trainers/recipes/mini/{name}.yaml",
            "adapter": adapter,
            "label": name,
            "paradigm": adapter,
        }
        for name, adapter in (("decoder_it", "ar"), ("diffusionllm", "diffusion_xlmr"))
    ]
    plan = {
        "name": "tiny", "description": "for tests", "seeds": [0], "systems": systems, "batch_size": 8,
        "corpus": {"records": 100}, "evaluations": [{"name": "main", "tasks": ["mini_heldin"]}],
        "judge": {"baseline": "decoder_it", "questions": 2, "instructions": 3, "longest": 6},
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plan))
    results = tmp_path / "results"
    folder = results / "tiny" / "checkpoints"
    folder.mkdir(parents=True)
    for system in systems:
        (folder / f"{system['name']}-0").symlink_to(checkpoints[system["name"]])
    write_corpus(results / "tiny" / "corpus")
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    return str(tmp_path / "tiny.yaml"), results


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["harness", "judge", *map(str, arguments)])
    return main()


def test_mt_bench_alpaca_eval_and_z_bench(suite, tmp_path, monkeypatch, capsys):
    path, results = suite
    write_json_lines(tmp_path / "q.jsonl", QUESTIONS)
    write_json_lines(tmp_path / "r.jsonl", REFERENCES)
    write_json_lines(tmp_path / "p.jsonl", plain_prompts())
    (tmp_path / "ref.json").write_text(
        json.dumps([{"instruction": q, "output": a, "generator": "base"} for q, a in KEY.items()])
    )
    (tmp_path / "z.csv").write_bytes(SHEET.encode())
    mt = ["--questions", tmp_path / "q.jsonl", "--references", tmp_path / "r.jsonl", "--prompts", tmp_path / "p.jsonl"]
    common = [
        "--suite",
        path,
        "--results",
        results,
        "--judge",
        "scripted",
        "--endpoint-name",
        "test",
        "--max-tokens",
        4,
    ]
    commands = [
        ["mt-bench", *common, *mt],
        [
            "mt-bench",
            *common,
            *mt,
            "--mode",
            "pairwise-baseline",
            "--baseline",
            "decoder_it-0",
            "--systems",
            "diffusionllm",
        ],
        ["alpaca-eval", *common, "--reference", tmp_path / "ref.json", "--version", 2],
    ]
    with ScriptedJudge(WordRule(KEY)) as judge:
        for command in commands:
            assert run(monkeypatch, *command, "--base-url", judge.url, "--price", "1,1", "--max-cost", 5) == 0
        calls = judge.calls
        said = capsys.readouterr().out
        assert "from the store, $0.0" in said and "average: 1.00, n = 3" in said
        judge.rule = lambda messages: ("评分：[[3]]", None)
        z = ["z-bench", *common, "--sets", "basic", "--basic", tmp_path / "z.csv", "--seeds", 0]
        assert run(monkeypatch, *z, "--base-url", judge.url) == 0
        assert judge.calls > calls
    folder = results / "tiny" / "judge"
    rows = json_lines(folder / "mt_bench/model_judgment/scripted_single.jsonl", ("score",))
    assert len(rows) == 2 * 5 and {row["model"] for row in rows} == {"decoder_it-0", "diffusionllm-0"}
    assert len(json_lines(folder / "mt_bench/model_judgment/scripted_pair.jsonl", ("g1_winner",))) == 5
    assert (folder / "alpaca_eval/scripted_v2/leaderboard.csv").is_file()
    assert (folder / "z_bench/chinese_eval_basic_scores.csv").is_file()
    before = {file: file.read_bytes() for file in folder.rglob("*.json*")}
    for command in [*commands, z]:  # the judge is gone: everything comes from the store, byte for byte
        assert run(monkeypatch, *command, "--offline", "--base-url", "http://127.0.0.1:9/v1") == 0
    assert {file: file.read_bytes() for file in folder.rglob("*.json*")} == before
    assert "0 asked (0 calls)" in capsys.readouterr().out


def test_single_checkpoints_and_answers_of_other_tools(suite, checkpoints, tmp_path, monkeypatch, capsys):
    """Without a suite: any adapter with any checkpoint, beside answers that are there already."""
    _, results = suite
    for name, rows in (("q", QUESTIONS), ("r", REFERENCES), ("p", plain_prompts())):
        write_json_lines(tmp_path / f"{name}.jsonl", rows)
    write_answers(tmp_path, good=GOOD)
    plain = tmp_path / "plain"  # a checkpoint without our record: known by its files
    shutil.copytree(checkpoints["diffusionllm"], plain, ignore=lambda *_: ["checkpoint.json", "recipe.yaml"])
    models = [
        "--model", "ar", "--model_args", f"pretrained={checkpoints['decoder_it']}",
        "--model", "nar_xlmr", "--model_args", f"pretrained={plain},length=fixed,steps=2", "--name", "two passes",
    ]  # fmt: skip
    common = ["--results", results, "--judge", "scripted", "--endpoint-name", "t", "--max-tokens", 4, *models]
    (tmp_path / "ref.json").write_text(json.dumps([{"instruction": q, "output": a} for q, a in KEY.items()]))
    (tmp_path / "outputs.json").write_text(
        json.dumps([{"instruction": q, "output": "the sun", "generator": "theirs"} for q in KEY])
    )
    (tmp_path / "z.csv").write_bytes(SHEET.encode())
    mt = ["mt-bench", *common, "--questions", tmp_path / "q.jsonl", "--references", tmp_path / "r.jsonl",
          "--prompts", tmp_path / "p.jsonl", "--answers", tmp_path / "model_answer"]  # fmt: skip
    alpaca = ["alpaca-eval", *common, "--reference", tmp_path / "ref.json", "--answers", tmp_path / "outputs.json"]
    z = ["z-bench", *common, "--sets", "basic", "--basic", tmp_path / "z.csv", "--columns", "GPT-4"]
    with ScriptedJudge(WordRule({**KEY, "第一行": "春天", "1+1?": "2", "你好": "你好"})) as judge:
        for command in (mt, alpaca, z):
            assert run(monkeypatch, *command, "--base-url", judge.url) == 0
    folder = results / "judge"
    names = {"decoder_it", "two__passes"}
    rows = json_lines(folder / "mt_bench/model_judgment/scripted_single.jsonl", ("score",))
    assert {row["model"] for row in rows} == names | {"good"}
    summary = json.loads((folder / "alpaca_eval/summary_scripted_v1.json").read_text())
    assert set(summary["models"]) == names | {"theirs"}
    with open(folder / "alpaca_eval/summary_scripted_v1.csv", encoding="utf-8", newline="") as file:
        lines = {row["figure"]: row for row in csv.DictReader(file)}
    position = summary["models"]["theirs"]["position"]["disagreement"]
    assert lines["models/theirs/position/disagreement"] == {
        "figure": "models/theirs/position/disagreement", **{key: str(one) for key, one in position.items()},
    }  # fmt: skip
    with open(folder / "mt_bench/summary_scripted_single.csv", encoding="utf-8", newline="") as file:
        figures = {row["figure"] for row in csv.DictReader(file)}
    assert {"consistency/same_verdict", "consistency/distance", "models/good/average"} <= figures
    header = (folder / "z_bench/chinese_eval_basic_scores.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert "GPT-4 评分" in header and "two__passes 评分" in header
    capsys.readouterr()
    for command in (mt, alpaca, z):  # nothing is loaded, nothing asked
        assert run(monkeypatch, *command, "--offline", "--base-url", "http://127.0.0.1:9/v1") == 0
    assert capsys.readouterr().out.count("0 asked (0 calls)") == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nobody to judge: name a --suite, a --model with its --model_args, or answers"),
        (["--model", "xlmr"], "unknown model of ours 'xlmr'. Did you mean 'nar_xlmr'"),
        (["--model", "ar", "--model_args", "pretrained=none/such"], "cannot load 'none/such'"),
        (["--model", "ar", "--model_args", "pretrained={ckpt}", "--model", "ar", "--model_args", "pretrained={ckpt}"],
         "two of the judged are called 'decoder_it': tell them apart with --name"),
        (["--systems", "decoder_it"], "--systems and --seeds choose from a suite"),
        (["--answers", "nothing.json"], "cannot read nothing.json"),
        (["--answers", "{half}"], "half answers 1 of 2 instructions"),
    ],
)  # fmt: skip
def test_wrong_models_end_in_one_sentence(suite, checkpoints, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "ref.json").write_text(json.dumps([{"instruction": i, "output": "b"} for i in "ab"]))
    (tmp_path / "half.json").write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    places = {"ckpt": checkpoints["decoder_it"], "half": tmp_path / "half.json"}
    arguments = [one.format(**places) for one in arguments]
    common = ["--results", suite[1], "--judge", "j", "--base-url", "http://127.0.0.1:9/v1"]
    assert run(monkeypatch, "alpaca-eval", *common, "--reference", tmp_path / "ref.json", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1


def test_settings_stand_behind_their_model(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "mt-bench", "--judge", "j", "--name", "x", "--model", "ar")
    assert caught.value.code == 2 and "--name belongs behind the --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--base-url", "https://api.example.com/v1"], "no key for https://api.example.com/v1: set OPENAI_API_KEY"),
        (["--base-url", "http://127.0.0.1:9/v1", "--price", "free"], "--price free: expected two numbers"),
        (["--base-url", "http://127.0.0.1:9/v1", "--max-cost", "1"], "--max-cost needs --price"),
        (
            ["--base-url", "http://127.0.0.1:9/v1", "--systems", "decoder"],
            "unknown system 'decoder'. Did you mean 'decoder_it'",
        ),
        (["--base-url", "http://127.0.0.1:9/v1", "--seeds", "5"], "seed 5 is not one of suite tiny's seeds"),
        (["--base-url", "http://127.0.0.1:9/v1", "--reference", "nothing.json"], "nothing.json is not a file"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(suite, monkeypatch, capsys, tmp_path, arguments, message):
    path, results = suite
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "ref.json").write_text('[{"instruction": "a", "output": "b"}]')
    reference = [] if "--reference" in arguments else ["--reference", tmp_path / "ref.json"]
    common = ["--suite", path, "--results", results, "--judge", "j"]
    assert run(monkeypatch, "alpaca-eval", *common, *reference, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1


def test_one_command_at_a_time_and_unfinished_checkpoints(suite, tmp_path):
    path, results = suite
    with locked(tmp_path), pytest.raises(ConfigError, match="another judging command"), locked(tmp_path):
        pass
    (results / "tiny" / "checkpoints" / "decoder_it-0").unlink()
    with pytest.raises(RecordError, match="no checkpoint at"):
        contestants.contestants_of(load_suite(path), results)


def test_judge_shaped_runs_and_their_table(suite, monkeypatch):
    from reports.frame import Results
    from reports.judge_table import judge_table
    from reports.render import to_markdown
    from reports.tables import load_specs

    path, results = suite
    root = results / "tiny"
    loaded = load_suite(path)

    def table(place):
        frame: object = None
        found = judge_table(Results(loaded, place, {}, frame, {}, ()), "judge", load_specs()["judge"])  # type: ignore[arg-type]
        assert found is not None
        return found

    assert {cell.text for cell in table(results / "nothing").cells.values()} == {"—"}
    assert run(monkeypatch, "scripted", "--suite", path, "--results", results) == 0
    with open(root / "judge/shapes.csv", encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"decoder_it", "diffusionllm"} and all(
        list(row) == list(shapes.COLUMNS) for row in rows.values()
    )
    assert rows["decoder_it"]["mt_judged"] == "4" and rows["decoder_it"]["ae_win_rate"] == ""
    assert 1 <= float(rows["diffusionllm"]["mt_rating"]) <= 10 and rows["diffusionllm"]["ae_total"] == "3"
    assert rows["diffusionllm"]["ae_disagreement"] and rows["diffusionllm"]["pair_disagreement_high"]
    record = json.loads((root / "judge/shapes.json").read_text())
    assert record["consistency"]["mt_bench"]["same_verdict"]["value"] == 1  # a rule has no moods
    assert record["consistency"]["alpaca_eval"]["diffusionllm-0"]["same_verdict"]["value"] == 1
    text = to_markdown(table(root), "tiny")
    assert "scripted judge" in text and "no language model" in text and "Not MT-Bench, not AlpacaEval" in text
    assert table(root).cells["decoder_it", "pair_win_rate"].text == "·"
    before = (root / "judge/shapes.csv").read_bytes()
    assert run(monkeypatch, "scripted", "--suite", path, "--results", results) == 0
    assert (root / "judge/shapes.csv").read_bytes() == before


def test_common_words():
    assert common_words("The sun!", "the sun") == 1 and common_words("", "x") == 0 and common_words("a b", "b c") == 0.5
    assert common_words("春天", "春天来了") == pytest.approx(2 / 3)


def test_a_judge_against_known_ratings(tmp_path):
    prompts = {row["name"]: row for row in plain_prompts()}
    rows = [
        {"user_prompt": f"rate {n}", "judge": ["gpt-4", "single-v1"], "score": n} for n in range(1, 11)
    ] + [{"user_prompt": "x", "judge": ["gpt-4", "single-v1"], "score": -1}]  # fmt: skip
    with ScriptedJudge(
        lambda messages: (f"Rating: [[{min(10, int(messages[1]['content'].split()[1]) + 1)}]]", None)
    ) as judge:
        found = calibration.against_ratings(client(judge, tmp_path), rows, prompts, None, 4)
        assert judge.calls == 14
    assert found["agreement"]["equal"]["value"] == 0.1 and found["agreement"]["within_one"]["value"] == 1
    assert found["agreement"]["difference"]["value"] == pytest.approx(0.9)
    assert found["consistency"]["same_verdict"] == {
        "value": 1.0,
        "low": pytest.approx(0.51, abs=0.01),
        "high": 1.0,
        "n": 4,
    }


def test_a_judge_against_known_preferences():
    rows = [
        {"instruction": f"q{n}", "output_1": "short", "output_2": "much longer", "preference": p}
        for n, p in enumerate((1, 2, 2, 1, 0))
    ]

    class Judge:
        def __init__(self, choose):
            self.choose = choose

        def replies(self, asks, what=""):
            texts = [self.choose(ask.messages[1][1]) for ask in asks]
            ranks = [({"model": "model_1", "rank": r}, {"model": "model_2", "rank": 3 - r}) for r in texts]
            return [Reply(str(list(rank)), "j", "stop", 1, 1, 0.0) for rank in ranks]

    def longer(text):
        return 1 if text.index("much longer") < text.index("short") else 2

    found = calibration.against_preferences(Judge(longer), rows, None)  # type: ignore[arg-type]
    assert found["agreement"]["equal"]["value"] == 0.5 and found["agreement"]["equal"]["n"] == 8
    assert found["position"]["disagreement"]["value"] == 0 and found["length"]["value"] == 1
    found = calibration.against_preferences(Judge(lambda text: 1), rows, 3)  # type: ignore[arg-type]
    assert found["position"]["disagreement"] == {
        "value": 1.0,
        "low": pytest.approx(0.44, abs=0.01),
        "high": 1.0,
        "n": 3,
    }
    assert found["position"]["first_favoured"]["value"] == 1 and found["length"] is None


@needs_real
def test_gpt_4_agrees_with_itself_on_the_real_judgments():
    """The published judgments, given as replies to their own prompts: every one is read, and as it was published."""
    rows = json_lines(REAL / "mt_bench/mt_bench/model_judgment/gpt-4_single.jsonl", ("user_prompt", "judge", "score"))
    prompts = {row["name"]: row for row in json_lines(REAL / "mt_bench/judge_prompts.jsonl", ("name",))}
    text = {row["user_prompt"]: row["judgment"] for row in rows}

    class Published:
        def replies(self, asks, what=""):
            return [Reply(text[ask.messages[1][1]], "gpt-4", "stop", 1, 1, 0.0) for ask in asks]

    found = calibration.against_ratings(Published(), rows, prompts, None, 20)  # type: ignore[arg-type]
    assert found["calls"]["scored"] == 160 and found["agreement"]["equal"]["value"] == 1
    assert found["agreement"]["rank_correlation"]["value"] == pytest.approx(1)
    assert found["consistency"]["same_verdict"]["value"] == 1 and found["consistency"]["same_verdict"]["n"] == 20


@needs_real
def test_a_judge_of_length_against_the_real_preferences():
    """GPT-4 preferred the longer of two real answers more often than not; a judge that always does agrees beyond chance."""
    rows = json.loads(
        (REAL / "alpaca_eval/results/alpaca-7b/alpaca_eval_gpt4/annotations.json").read_text(encoding="utf-8")
    )

    class Longer:
        def replies(self, asks, what=""):
            said = []
            for ask in asks:
                first, second = re.findall(r'"answer": """(.*?)"""\n    }', ask.messages[1][1], re.DOTALL)[:2]
                rank = 1 if len(first) >= len(second) else 2
                ranks = [{"model": "model_1", "rank": rank}, {"model": "model_2", "rank": 3 - rank}]
                said.append(Reply(str(ranks), "j", "stop", 1, 1, 0.0))
            return said

    found = calibration.against_preferences(Longer(), rows, 200)  # type: ignore[arg-type]
    assert (
        found["calls"]["scored"] == 400
        and found["agreement"]["equal"]["low"] > 0.5
        and found["agreement"]["kappa"]["value"] > 0.1
    )
    assert found["length"]["value"] == 1 and found["position"]["disagreement"]["value"] < 0.05
