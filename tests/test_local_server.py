"""A run judged by `transformers serve` on this machine: the documented way without a paid endpoint."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

from test_judge_client import client
from test_mt_bench import GOOD, QUESTIONS, REFERENCES, write_answers

from harness.judges import mt_bench
from harness.judges.files import json_lines, write_json_lines
from harness.judges.rubrics import plain_prompts


def serve(folder, cache):
    """A started server on a free port, when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (cache / "hub").mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        str(folder),
        "--device",
        "cpu",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(cache / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(9000):
        if process.poll() is not None:
            raise AssertionError((cache / "log").read_text()[-2000:])
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}/v1"
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the server did not start")


def test_judged_by_transformers_serve(checkpoints, tmp_path):
    """The judge knows a few words only: every verdict is malformed, asked for once more, and counted as unscored."""
    folder = tmp_path / "judge"
    shutil.copytree(checkpoints["decoder_it"], folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    short = [
        {**row, "system_prompt": "Rate.", "prompt_template": row["prompt_template"][-60:]} for row in plain_prompts()
    ]
    for name, rows in (("question", QUESTIONS), ("reference", REFERENCES), ("prompts", short)):
        write_json_lines(tmp_path / f"{name}.jsonl", rows)
    bench = mt_bench.load_bench(tmp_path / "question.jsonl", tmp_path / "prompts.jsonl", tmp_path / "reference.jsonl")
    write_answers(tmp_path, good=GOOD)
    process, url = serve(folder, tmp_path / "cache")
    try:
        mine = client(url, tmp_path, model=str(folder), timeout=900.0)
        summary = mt_bench.judge_answers(bench, ["good"], mine, tmp_path)
    finally:
        process.kill()
        process.wait()
    unread = summary["calls"]
    assert unread["judged"] == 5 and unread["asked_again"] == unread["unscored"] == 5 and unread["refused"] == 0
    (path,) = (tmp_path / "model_judgment").iterdir()
    rows = json_lines(path, ("judgment", "score"))
    assert len(rows) == 5 and all(row["score"] == -1 for row in rows)
    again = client(url, tmp_path, model=str(folder), offline=True)
    assert mt_bench.judge_answers(bench, ["good"], again, tmp_path) == summary
