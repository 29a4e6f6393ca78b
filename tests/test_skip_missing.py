"""run --skip_missing: a task that the model cannot take is named with its reason, and the others are run."""

from __future__ import annotations

import json

import pytest
from small_files import write_mirror

from harness import __main__ as command
from harness.in_step import TaskRefused, in_step
from harness.mirror import DataError
from harness.rows import ScoringError
from tests.forked import Forked, free_port, join_processes

TASKS = ("anyorder_mgsm_en", "xp3_rte", "anyorder_z_bench_common")  # 256, none and 512 tokens of answer


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs the command on made-up files; its exit status."""
    monkeypatch.setenv("ANYORDER_DATA", str(write_mirror(tmp_path / "mirror")))

    def run(adapter: str, checkpoint, *more: str, tasks=TASKS) -> int:
        settings = f"pretrained={checkpoint}" + (",length=fixed,steps=2" if adapter == "nar_xlmr" else "")
        line = [
            "--model",
            adapter,
            "--model_args",
            settings,
            "--tasks",
            ",".join(tasks),
            "--limit",
            "1",
            "--device",
            "cpu",
        ]
        monkeypatch.setattr("sys.argv", ["harness", "run", *line, "--output_path", str(tmp_path / "out"), *more])
        return command.main()

    return run


@pytest.mark.parametrize(("adapter", "system"), [("nar_xlmr", "instruct_xmlr"), ("ar", "decoder_it")])
def test_answers_too_long_for_a_model_of_256_tokens_are_named(call, checkpoints, tmp_path, capsys, adapter, system):
    assert call(adapter, checkpoints[system], "--skip_missing") == 0
    left_out = json.loads((tmp_path / "out/left_out.json").read_text(encoding="utf-8"))
    assert list(left_out) == [TASKS[0], TASKS[2]]
    for task, tokens in ((TASKS[0], 256), (TASKS[2], 512)):
        assert left_out[task].startswith(f"max_gen_toks={tokens} leaves no room for a prompt: the model holds 2")
    shown = capsys.readouterr().out
    assert (
        "left out 2 of 3 tasks, which this model cannot take:" in shown and f"  {TASKS[2]}: max_gen_toks=512" in shown
    )
    assert "1 tasks were run, 2 left out" in shown and (tmp_path / "out/xp3_rte").is_dir()
    assert call(adapter, checkpoints[system], tasks=["xp3_rte"]) == 0
    assert not (tmp_path / "out/left_out.json").exists()  # of an earlier command


def test_without_it_or_with_nothing_left_the_first_reason_ends_the_command(call, checkpoints, tmp_path, capsys):
    checkpoint = checkpoints["instruct_xmlr"]
    assert call("nar_xlmr", checkpoint) == 2
    assert "error: max_gen_toks=256 leaves no room" in capsys.readouterr().err
    assert call("nar_xlmr", checkpoint, "--skip_missing", tasks=TASKS[:1]) == 2
    assert "error: none of 1 tasks can be run here. anyorder_mgsm_en: max_gen_toks=256" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "out/left_out.json").read_text(encoding="utf-8"))) == [TASKS[0]]


def test_what_was_left_out_is_written_before_the_runs(call, checkpoints, tmp_path, monkeypatch):
    (tmp_path / "mirror/super_glue/RTE/val.jsonl").unlink()

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.runs.Runner.run", killed)
    assert call("nar_xlmr", checkpoints["instruct_xmlr"], "--skip_missing") == 130
    assert list(json.loads((tmp_path / "out/left_out.json").read_text(encoding="utf-8"))) == ["xp3_rte"]


class Model:
    """Refuses what is longer than it holds."""

    def __init__(self, holds: int, processes: int = 1):
        self.holds, self.world_size = holds, processes

    def loglikelihood(self, requests: list) -> int:
        if len(requests) > self.holds:
            raise ScoringError(f"{len(requests)} tokens,\nthe model holds {self.holds}")
        return len(requests)

    loglikelihood_rolling = generate_until = loglikelihood


def test_only_refusals_are_gathered_and_the_model_is_as_before():
    model = Model(2)
    with in_step(model):
        assert model.generate_until([1]) == 1
        with pytest.raises(TaskRefused, match="^3 tokens, the model holds 2$"):
            model.loglikelihood([1, 2, 3])
        with pytest.raises(TypeError):
            model.loglikelihood()  # type: ignore[call-arg]
    with pytest.raises(ScoringError):
        model.loglikelihood([1, 2, 3])


def meet(rank: int, port: int) -> int:
    """One of two processes, of which the second cannot take the first call."""
    import torch.distributed

    join_processes(rank, 2, port)
    torch.distributed.init_process_group("gloo")
    model = Model(holds=3 - rank, processes=2)
    with in_step(model):
        with pytest.raises(TaskRefused, match="3 tokens, the model holds 2"):
            model.loglikelihood([1, 2, 3])
        assert model.loglikelihood([1, 2]) == 2
    torch.distributed.destroy_process_group()
    return 0


def test_two_processes_leave_a_task_together():
    port = free_port()
    assert [process.wait() for process in [Forked(meet, rank, port) for rank in (0, 1)]] == [0, 0]


def test_a_question_without_examples_ends_its_task_alone(call, checkpoints, tmp_path, monkeypatch):
    """Requests are built inside the run: what is wrong with a later question is met there."""

    def sample(self, n, eval_doc=None, df=None, **kwargs):
        raise DataError("no examples")

    monkeypatch.setattr("harness.fewshot.SameSubset.sample", sample)
    monkeypatch.setattr("harness.selection.check_examples", lambda task, shots: None)
    tasks = ("anyorder_mmlu", "xp3_rte")
    assert call("nar_xlmr", checkpoints["instruct_xmlr"], "--skip_missing", tasks=tasks) == 0
    left_out = json.loads((tmp_path / "out/left_out.json").read_text(encoding="utf-8"))
    assert left_out == {"anyorder_mmlu": "no examples"}
