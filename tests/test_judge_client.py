"""The judge's client against a loopback server: never paid twice, failures survived, caps kept, errors in one sentence."""

import json
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from harness.judges.client import JudgeClient
from harness.judges.endpoint import Ask, JudgeError, endpoint_of
from harness.judges.scripted import ScriptedJudge
from harness.judges.spending import Ledger, Price, SpendingCap
from harness.store import StoreError


def echo(messages):
    return f"heard {messages[-1]['content']}", None


def asks(count, **more):
    return [Ask((("system", "s"), ("user", f"question {n}")), 16, **more) for n in range(count)]


def client(judge, folder, model="scripted", offline=False, ledger=None, **settings):
    settings = {"timeout": 5.0, "first_wait": 0.01, **settings}
    endpoint = endpoint_of(judge if isinstance(judge, str) else judge.url, name="test", offline=offline, **settings)
    return JudgeClient(model, endpoint, folder / "replies.sqlite", offline=offline, ledger=ledger)


def test_replies_in_order_once_each_and_again_offline(tmp_path):
    questions = asks(30) + asks(5)
    with ScriptedJudge(echo) as judge:
        mine = client(judge, tmp_path)
        first = mine.replies(questions)
        assert [reply.text for reply in first] == [f"heard {ask.messages[-1][1]}" for ask in questions]
        assert judge.calls == mine.asked == 30
        assert client(judge, tmp_path).replies(questions) == first
        assert judge.calls == 30
    assert client(judge, tmp_path, offline=True).replies(questions) == first
    with pytest.raises(JudgeError, match="offline, and 2 of 32 replies"):
        client(judge, tmp_path, offline=True).replies(asks(32))


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 0.5}, {"seed": 1}, {"logprobs": 5}, {"attempt": 1}],
)
def test_another_request_is_another_reply(tmp_path, changed):
    with ScriptedJudge(echo) as judge:
        mine = client(judge, tmp_path)
        mine.replies(asks(2))
        mine.replies(asks(2, **changed))
        assert judge.calls == 4
        with pytest.raises(JudgeError, match="offline"):
            client(judge, tmp_path, model="another", offline=True).replies(asks(1))


def one_in_ten(number):
    return {3: 429, 13: 500, 23: "timeout"}.get(number % 30)


def test_one_call_in_ten_fails_and_all_are_answered(tmp_path):
    with ScriptedJudge(echo, one_in_ten, stall=4.0) as judge:
        mine = client(judge, tmp_path, timeout=3.0)  # far above an answer's time, on a busy machine, too
        replies = mine.replies(asks(160))
        assert len(replies) == 160 and all(reply.refused is None for reply in replies)
        assert judge.calls <= 1.15 * 160 and mine.retried == judge.calls - 160 == mine.ledger.calls - 160


def test_a_killed_run_goes_on_with_the_missing_calls_only(tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from test_judge_client import asks, client\n"
        f"client(sys.argv[1], Path({str(tmp_path)!r}), concurrency=4).replies(asks(60))"
    )
    with ScriptedJudge(echo, pause=0.05) as judge:
        process = subprocess.Popen([sys.executable, "-c", code, judge.url])
        while judge.calls < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = judge.calls
        kept = sqlite3.connect(tmp_path / "replies.sqlite").execute("SELECT count(*) FROM answers").fetchone()[0]
        assert before - 4 <= kept <= before
        judge.pause = 0
        assert len(client(judge, tmp_path).replies(asks(60))) == 60
        assert judge.calls - before == 60 - kept


def test_a_failure_keeps_what_came(tmp_path):
    with ScriptedJudge(echo, lambda number: 500 if number >= 10 else None) as judge:
        with pytest.raises(JudgeError, match="HTTP 500 to all 3 calls"):
            client(judge, tmp_path, concurrency=1, tries=3).replies(asks(20))
        judge.faults = lambda number: None
        calls = judge.calls
        client(judge, tmp_path).replies(asks(20))
        assert judge.calls - calls == 10


def test_waits_as_long_as_the_endpoint_asks(tmp_path, monkeypatch):
    waits = []
    with ScriptedJudge(echo, lambda number: 429 if number < 3 else None) as judge:
        mine = client(judge, tmp_path, first_wait=1.0)
        monkeypatch.setattr(mine._stop, "wait", waits.append)
        mine.replies(asks(1))
    assert len(waits) == 3 and 0.5 <= waits[0] <= 1 and 1 <= waits[1] <= 2 and 2 <= waits[2] <= 4

    class Problem:
        class response:
            headers = {"retry-after": "7"}

    mine._pause(0, Problem)
    assert waits[-1] == 7


def test_spending_never_passes_the_cap(tmp_path):
    price = Price(read=1e6, written=0.0)  # one dollar a token
    with ScriptedJudge(echo) as judge:  # a prompt of three words: three dollars; at most 27 bytes + 128 dollars
        mine = client(judge, tmp_path, ledger=Ledger(price, max_cost=400.0), concurrency=8)
        with pytest.raises(JudgeError, match="more than the cap of .400.00"):
            mine.replies(asks(200))
        assert 200 < mine.ledger.spent <= 400 and mine.ledger.spent == 3 * judge.calls
        with pytest.raises(JudgeError, match="the cap of 5 calls is reached: 5 of"):
            client(judge, tmp_path, ledger=Ledger(max_calls=5), concurrency=1).replies(asks(200))
    with pytest.raises(ValueError, match="--price"):
        Ledger(max_cost=1.0)


def test_a_call_without_an_answer_stays_booked():
    ledger = Ledger(Price(1, 1), max_cost=1.0)
    ledger.reserve(0.6)
    ledger.settle(0.6, 0.6)
    with pytest.raises(SpendingCap):
        ledger.reserve(0.6)
    ledger.reserve(0.4)


def test_refused_requests_are_named_and_asked_again_later(tmp_path):
    with ScriptedJudge(echo, lambda number: 400 if number == 0 else None) as judge:
        (reply,) = client(judge, tmp_path).replies(asks(1))
        assert reply.refused and "400" in reply.refused
        (reply,) = client(judge, tmp_path).replies(asks(1))
        assert reply.text == "heard question 0"


@pytest.mark.parametrize(
    "url, message",
    [
        ("not a url", "expected something like"),
        ("https://me:secret@api.example.com/v1", "user name or password"),
        ("https://api.example.com/v1", "set OPENAI_API_KEY"),
    ],
)
def test_wrong_endpoints(url, message, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeError, match=message):
        endpoint_of(url)


def test_the_key_comes_from_the_environment_and_stays_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    endpoint = endpoint_of("https://api.example.com/v1")
    assert endpoint.key == "sk-very-secret" and "secret" not in repr(endpoint)
    with ScriptedJudge(echo, lambda number: 401) as judge:
        with pytest.raises(JudgeError, match="refused the key of OPENAI_API_KEY") as caught:
            client(judge, tmp_path).replies(asks(1))
    assert "secret" not in str(caught.value)
    assert all(b"very-secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_nobody_there(tmp_path):
    with ScriptedJudge(echo) as judge:
        pass
    with pytest.raises(JudgeError, match=r"cannot reach http://127.0.0.1:\d+/v1"):
        client(judge, tmp_path).replies(asks(3))


def test_a_model_that_the_endpoint_does_not_know(tmp_path):
    with ScriptedJudge(echo) as judge:
        with pytest.raises(JudgeError, match="does not know the judge model 'gpt-9'; it offers scripted"):
            client(judge, tmp_path, model="gpt-9").replies(asks(3))


def test_a_wrong_path(tmp_path):
    with ScriptedJudge(echo) as judge:
        with pytest.raises(JudgeError, match="often ends in /v1|it offers"):
            client(judge.url.replace("/v1", "/elsewhere") + "/x?y=", tmp_path).replies(asks(1))


def test_a_full_disk(tmp_path):
    with ScriptedJudge(echo) as judge:
        mine = client(judge, tmp_path)
        pages = mine.store._base.execute("PRAGMA page_count").fetchone()[0]
        mine.store._base.execute(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(StoreError, match="full"):
            mine.replies(asks(500))


def test_log_probabilities_are_kept(tmp_path):
    with ScriptedJudge(lambda messages: ("m", [{"m": -0.1, "M": -2.3}])) as judge:
        (reply,) = client(judge, tmp_path).replies(asks(1, logprobs=5))
        assert reply.top_logprobs == [{"m": -0.1, "M": -2.3}]
        assert (
            json.loads(json.dumps(client(judge, tmp_path).replies(asks(1, logprobs=5))[0].top_logprobs))
            == reply.top_logprobs
        )
