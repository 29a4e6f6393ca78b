"""Self-instruct with a client that answers from a list: parsing, filters, budget, and resuming without paying twice."""

import json
import zlib
from dataclasses import asdict, replace

import pytest
from http_server import LocalServer, Reply

from harness.config import ConfigError
from trainers.__main__ import main
from trainers.bootstrap import (
    REQUESTS,
    TASKS,
    Settings,
    Task,
    bootstrap,
    fault,
    openai_client,
    parse,
    prompt_of,
    rouge_scorer,
    seed_tasks,
)
from trainers.sources import SourceSpec, stream

SEEDS = [Task(f"Name {n} things that people do on day {n * 7}.", "", "…") for n in range(2, 14)]


def answer(*tasks: Task, first: int = 4) -> str:
    """What a model would write on from `first`. Instruction:."""
    blocks = [
        f"{n}. Instruction: {t.instruction}\n{n}. Input:\n{t.input or '<noinput>'}\n{n}. Output:\n{t.output}\n"
        for n, t in enumerate(tasks, first)
    ]
    return "###\n".join(blocks).removeprefix(f"{first}. Instruction:")


def fresh(number: int) -> Task:
    words = ["Sort", "Explain", "Translate", "Compare", "Summarise", "Rank", "Rewrite", "Describe", "Invent"]
    nouns = ["rivers", "verbs", "recipes", "laws", "poems", "birds", "games", "stones", "rooms"]
    return Task(
        f"{words[number % 9]} {nouns[number // 9 % 9]} number{number} kind{number * 7} way{number * 3}",
        "",
        f"answer {number}",
    )


class Model:
    """Two new tasks an answer."""

    def __init__(self, dies_at: int | None = None):
        self.asked, self.dies_at = 0, dies_at

    def __call__(self, prompt: str):
        assert prompt.endswith("4. Instruction:")
        if self.asked == self.dies_at:
            raise KeyboardInterrupt
        self.asked += 1
        return prompt_answer(prompt), "stop", 1000, 500


def prompt_answer(prompt: str) -> str:
    number = 2 * (zlib.crc32(prompt.encode()) % 1000)
    return answer(fresh(number), fresh(number + 1))


def test_answers_are_parsed_and_a_cut_off_task_is_left_out():
    text = answer(fresh(1), Task("Add the two numbers that are given.", "2, 3", "5"), fresh(2))
    assert parse(text, 4, "stop") == [fresh(1), Task("Add the two numbers that are given.", "2, 3", "5"), fresh(2)]
    assert len(parse(text, 4, "length")) == 2
    assert parse("no list at all", 4, "stop") == []
    assert "3. Output:" in prompt_of(SEEDS, Settings("m")) and "<noinput>" in prompt_of(SEEDS, Settings("m"))


@pytest.mark.parametrize(
    "instruction,output,reason",
    [
        ("Too short here", "x", "length of the instruction"), ("Describe the picture that you see here.", "x", "not text alone"),
        ("Write a program that sorts a list of words.", "x", "asks for a program"), ("¿Name four rivers of your country?", "x", "first character"),
        ("Name four rivers of your country.", "", "output empty or the input"), ("Name four rivers of your country.", "Ebro", None),
        ("写一首关于夏天的诗", "夏天", None), ("Photograph a word in the best profile.", "x", None),
    ],
)  # fmt: skip
def test_filters(instruction, output, reason):
    assert fault(Task(instruction, "", output), Settings("m")) == reason
    assert fault(Task("写一首关于夏天的诗", "", "夏天"), Settings("m", ascii_start=True)) == "first character"


def test_rouge_l_has_a_known_value_in_two_scripts():
    score = rouge_scorer()
    assert score("the cat sat on the mat", "the cat on a mat") == pytest.approx(2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5))
    assert score("写一首诗", "写一封信") == pytest.approx(0.5)


def test_a_killed_run_goes_on_without_paying_twice(tmp_path):
    settings = Settings("m", wanted=8, price_in=10.0, price_out=30.0)
    whole = bootstrap(SEEDS, settings, tmp_path / "whole", Model())
    dying = Model(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        bootstrap(SEEDS, settings, tmp_path / "killed", dying)
    log = tmp_path / "killed" / REQUESTS
    log.write_text(log.read_text() + '{"identity": "cut o')
    model = Model()
    again = bootstrap(SEEDS, settings, tmp_path / "killed", model)
    assert again.tasks == whole.tasks and model.asked == whole.requests - 2 and again.cost == whole.cost
    assert whole.cost == pytest.approx(whole.requests * (1000 * 10 + 500 * 30) / 1e6)
    assert (tmp_path / "killed" / TASKS).read_bytes() == (tmp_path / "whole" / TASKS).read_bytes()
    with pytest.raises(ConfigError, match="other settings"):
        bootstrap(SEEDS, Settings("another"), tmp_path / "killed", Model())
    rows = list(stream([SourceSpec(name="new", format="alpaca", files=(str(tmp_path / "whole" / TASKS),))]))
    assert len(rows) == 8  # Alpaca's format: a source of the next mixture


def test_the_budget_stops_it(tmp_path):
    made = bootstrap(SEEDS, Settings("m", wanted=1000, price_in=1000.0, price_out=0.0, budget=3.0), tmp_path, Model())
    assert made.stopped == "budget of $3.0 spent" and made.requests == 3 and made.cost == pytest.approx(3.0)


@pytest.mark.parametrize(
    "prices", [{}, {"price_in": 1.0}, {"price_in": 0.0, "price_out": 0.0}, {"price_in": -1.0, "price_out": 2.0}]
)
def test_a_budget_without_prices_asks_nothing(tmp_path, prices):
    model = Model()
    with pytest.raises(ConfigError, match="needs the prices"):
        bootstrap(SEEDS, Settings("m", budget=3.0, **prices), tmp_path, model)
    assert model.asked == 0 and not (tmp_path / REQUESTS).exists()


def test_without_a_count_of_tokens_a_budget_stops_and_loses_nothing(tmp_path):
    asked = []

    def silent(prompt):
        asked.append(prompt)
        return prompt_answer(prompt), "stop", None, None

    settings = Settings("m", wanted=4, budget=3.0, price_in=1.0, price_out=1.0)
    with pytest.raises(ConfigError, match="does not say how many tokens"):
        bootstrap(SEEDS, settings, tmp_path, silent)
    assert len(asked) == 1
    made = bootstrap(SEEDS, replace(settings, budget=None), tmp_path, silent)
    assert len(asked) == made.requests == 2 and len(made.tasks) == 4 and made.cost is None


def test_the_same_answer_again_and_again_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no new task"):
        bootstrap(SEEDS, Settings("m", wanted=5), tmp_path, lambda prompt: (answer(fresh(1)), "stop", 1, 1))


def completed(path: str, body: bytes) -> Reply:
    """What an endpoint answers to a request for a chat completion."""
    asked = json.loads(body)
    text = prompt_answer(asked["messages"][0]["content"])
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    reply = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": asked["model"],
        "choices": [choice],
        "usage": usage,
    }
    data = json.dumps(reply).encode()
    return Reply(200, data, length=len(data), content_type="application/json")


def test_an_openai_compatible_endpoint_is_asked(tmp_path, monkeypatch):
    with LocalServer(completed) as server:
        settings = Settings("local", base_url=f"{server.url}v1", wanted=4)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            openai_client(settings)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        made = bootstrap(SEEDS, settings, tmp_path, openai_client(settings))
    assert set(server.asked) == {"v1/chat/completions"}
    assert len(made.tasks) == 4 and "none" not in (tmp_path / REQUESTS).read_text()


def test_an_endpoint_that_refuses_or_is_not_there_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr("openai._base_client.time.sleep", lambda seconds: None)
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(asdict(task)) + "\n" for task in SEEDS))
    with LocalServer(lambda path, body: Reply(401, length=0)) as server:
        line = f"trainers bootstrap --seeds {seeds} --model m --base-url {server.url}v1 --out {tmp_path}"
        for error in ("AuthenticationError", "APIConnectionError"):
            monkeypatch.setattr("sys.argv", line.split())
            assert main() == 2
            said = capsys.readouterr().err
            assert error in said and f"{server.url}v1" in said and len(said.splitlines()) == 1
            server.stop()


def test_seed_tasks_are_read_in_both_forms(tmp_path):
    rows = [
        {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
        {"instruction": "d", "input": "", "output": "e"},
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert seed_tasks(tmp_path / "s.jsonl") == [Task("a", "b", "c"), Task("d", "", "e")]
