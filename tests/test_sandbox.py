"""The sandbox: every attack is a failed sample, and a machine without bubblewrap gets a refusal before generation."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import sandbox
from harness.process_filter import process_filter
from harness.sandbox import Limits, run_program, run_programs

QUICK = Limits(cpu_seconds=1.0, wall_seconds=3.0, memory_mb=256, files_mb=4)
PATIENT = Limits(cpu_seconds=60.0, wall_seconds=600.0, memory_mb=256, files_mb=4)  # for programs that end by themselves
needs_walls = pytest.mark.skipif(bool(sandbox.problem()), reason=sandbox.problem() or "-")

ATTACKS = {
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "endless loop": "while True:\n    pass",
    "sleep": "import time\ntime.sleep(60)",
    "10 GB": "x = bytearray(10 * 2**30)",
    "many threads": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
    "socket": "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)",
    "subprocess": "import subprocess\nsubprocess.run(['true'], check=True)",
    "write to the root": "open('/etc/anyorder', 'w')",
    "write to a home": "import os\nopen(os.path.expanduser('~') + '/anyorder', 'w')\nopen('/root/anyorder', 'w')",
    "large file": "open('/tmp/x', 'wb').write(b'0' * 2**26)",
    "child that outlives its parent": "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    raise SystemExit",
    "exit half-way": "import sys\nsys.exit(0)",
    "hard exit": "import os\nos._exit(0)",
    "kill": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "wrong": "assert 1 == 2",
    "no Python": "def f(:",
    "reads standard input": "input()",
}


@needs_walls
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_a_failed_sample(attack):
    before = len(list(Path("/proc").glob("[0-9]*")))
    outcome = run_program(ATTACKS[attack], QUICK)
    assert not outcome.passed and outcome.reason in ("failed", "timeout", "killed"), outcome
    assert len(list(Path("/proc").glob("[0-9]*"))) < before + 50


@needs_walls
def test_reasons():
    assert run_program(ATTACKS["sleep"], QUICK).reason == "timeout"
    assert "MemoryError" in run_program(ATTACKS["10 GB"], PATIENT).detail
    assert "AssertionError" in run_program(ATTACKS["wrong"], PATIENT).detail
    assert run_program(ATTACKS["kill"], PATIENT).reason == "killed"
    assert run_program(ATTACKS["exit half-way"], PATIENT).detail == "it ended before its last line"
    assert "Read-only file system" in run_program(ATTACKS["write to the root"], PATIENT).detail


@needs_walls
def test_honest_programs_pass_in_order_and_see_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("ANYORDER_SECRET", "key")
    good = "import threading\nt = threading.Thread(target=lambda: None)\nt.start()\nt.join()\nopen('/tmp/x', 'w').write('ä')"

    blind = "import os\nassert 'ANYORDER_SECRET' not in os.environ\nassert os.listdir('/tmp') == ['program.py']"
    assert [outcome.passed for outcome in run_programs([good, ATTACKS["wrong"], blind], PATIENT)] == [True, False, True]


FORGERIES = {
    "the word in its own file": """
import os, re
words = re.findall(r"\\b[0-9a-f]{32}\\b", open(__file__).read())
for descriptor in range(3, 64):
    for word in words or ["0" * 32]:
        try:
            os.write(descriptor, word.encode())
        except OSError:
            pass
os._exit(0)
""",
    "the word in a descriptor, the command line or a name": """
import os, re
seen = [open("/proc/self/cmdline", "rb").read(), repr(globals()).encode(), repr(vars(__import__("__main__"))).encode()]
for descriptor in range(3, 64):
    try:
        os.set_blocking(descriptor, False)
        seen.append(os.read(descriptor, 100) or b"")
    except OSError:
        pass
words = re.findall(rb"\\b[0-9a-f]{32}\\b", b" ".join(seen))
for descriptor in range(3, 64):
    for word in words:
        try:
            os.write(descriptor, word)
        except OSError:
            pass
os._exit(0)
""",
    "the writing of another word": "import os\nos.write = lambda *_: None\nos._exit(0)",
}


@needs_walls
@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_proof_of_the_last_line_is_not_lying_about(forgery):
    outcome = run_program(FORGERIES[forgery], PATIENT)
    assert (outcome.passed, outcome.reason, outcome.detail) == (False, "failed", "it ended before its last line")


@pytest.mark.parametrize("walls", [pytest.param(True, marks=needs_walls), False])
def test_the_order_of_a_set_of_texts_is_the_same_in_every_run(walls):
    """An answer that depends on it passes always or never."""
    program = "import sys\nassert sys.flags.hash_randomization == 0\nassert '' not in sys.path"
    outcome = run_program(program, PATIENT, walls=walls)
    assert outcome.passed, outcome


@needs_walls
def test_a_program_is_the_main_module_as_it_was_written():
    program = "from __future__ import annotations\nimport os, sys, __main__\n" + "\n".join(
        f"assert {fact}, {fact!r}"
        for fact in (
            "__name__ == '__main__'",
            "vars(__main__) is globals()",
            "sys.argv == [__file__] == ['/tmp/program.py']",
            "os.path.getsize(__file__) > 100",
            "not {'word', 'run', 'limits', 'resource'} & set(globals())",
            "'resource' in sys.modules",
        )
    )
    outcome = run_program(program, PATIENT)
    assert outcome.passed, outcome
    assert run_program("x = '\ud800'", PATIENT).reason == "failed"  # what no file can hold is no Python
    assert run_program("os = 1\ndel os\nimport os\nos.write = None", PATIENT).passed


SPY = """
import os
for path in {paths!r}:
    for attempt in (open, os.listdir, os.stat):
        try:
            attempt(path)
        except OSError:
            continue
        raise SystemExit(f"{{path}} is seen")
assert not set(os.listdir("/")) - {{"dev", "proc", "tmp", *{tops!r}}}
"""


@needs_walls
def test_nothing_of_home_working_folder_and_mirror_is_seen(monkeypatch, tmp_path):
    """Whatever it is called: a fixed list of folders to hide would miss a cluster's homes and other file systems."""
    paths = []
    for folder in ("home", "work", "mirror"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.txt").write_text("canonical solutions")
        paths += [str(tmp_path / folder), str(tmp_path / folder / "file.txt")]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path / "mirror"))
    monkeypatch.chdir(tmp_path / "work")
    here = [str(Path(__file__)), str(Path(sandbox.__file__)), str(Path(sandbox.__file__).parents[1])]
    elsewhere = [
        path
        for path in (
            "/opt",
            "/srv",
            "/var",
            "/mnt",
            "/sys",
            "/etc/passwd",
            "/etc/hostname",
            "/usr/src",
            "/usr/bin/env",
            "/bin/sh",
        )
        if Path(path).exists()
    ]
    tops = [Path(place).parts[1] for place in sandbox._visible()]
    spy = SPY.format(paths=[*paths, *here, *elsewhere], tops=tops)
    outcome = run_program(spy, PATIENT)
    assert outcome.passed, outcome
    assert not run_program(spy, PATIENT, walls=False).passed


def interpreter_of(monkeypatch, base: Path, executable: Path) -> None:
    """As if this were another interpreter, at home in `base`."""
    monkeypatch.setattr(sys, "base_prefix", str(base))
    monkeypatch.setattr(sys, "base_exec_prefix", str(base))
    monkeypatch.setattr(sys, "_base_executable", str(executable))


@needs_walls
@pytest.mark.parametrize("linked", [False, True])
def test_an_interpreter_below_a_home_works_and_the_home_stays_hidden(monkeypatch, tmp_path, linked):
    """pyenv's, conda's or one installed with the home as its prefix; also where a link leads there."""
    base = Path(sys.base_prefix).resolve()
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    shutil.copy(sandbox._interpreter(), home / "bin/python3")
    (home / "lib").symlink_to(base / "lib")
    (home / "secret.txt").write_text("key")
    (tmp_path / "link").symlink_to(home)
    place = tmp_path / "link" if linked else home
    interpreter_of(monkeypatch, place, place / "bin/python3")
    program = f"import json, math, os, sys\nassert not os.path.exists({str(home / 'secret.txt')!r})\nassert sys.executable == {str(home / 'bin/python3')!r}"
    outcome = run_program(program, PATIENT)
    assert outcome.passed, outcome


@needs_walls
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no interpreter of the system")
def test_the_system_s_interpreter_works(monkeypatch):
    interpreter_of(monkeypatch, Path("/usr"), Path("/usr/bin/python3"))
    sandbox.problem.cache_clear()
    assert sandbox.problem() == ""
    sandbox.problem.cache_clear()


@needs_walls
def test_processor_time_decides_not_the_clock():
    """A machine with other work gives a program less of each second: what it needs is counted, not how long that takes."""
    waits = "import time\ntime.sleep(1.5)"
    assert run_program(waits, Limits(cpu_seconds=1)).passed
    for walls in (True, False):
        spent = run_program(ATTACKS["endless loop"], Limits(cpu_seconds=1, wall_seconds=600), walls=walls)
        assert (spent.passed, spent.reason) == (False, "timeout")
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass"
    assert run_program(stubborn, Limits(cpu_seconds=1, wall_seconds=600)).reason == "killed"
    assert sandbox.DEFAULT.wall_seconds >= 6 * sandbox.DEFAULT.cpu_seconds


@pytest.mark.parametrize("processors", [{3}, {0, 2, 5}])
def test_as_many_programs_at_a_time_as_this_process_has_processors(monkeypatch, processors):
    running, most, lock = [0], [0], threading.Lock()
    full = threading.Barrier(len(processors))

    def run(program, limits, *, walls):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        full.wait(60)  # so many do run side by side …
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return sandbox.Outcome(True, program)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: processors, raising=False)
    monkeypatch.setattr(sandbox, "run_program", run)
    assert [outcome.reason for outcome in run_programs(list("abcdef"))] == list("abcdef")
    assert most[0] == len(processors)  # … and never more


def test_without_walls_limits_hold_still():
    assert run_program("x = 1", PATIENT, walls=False).passed
    for attack in ("endless loop", "10 GB", "wrong", "exit half-way", "sleep"):
        assert not run_program(ATTACKS[attack], QUICK, walls=False).passed


# -- the refusal


@pytest.fixture
def no_bwrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    sandbox.problem.cache_clear()
    yield tmp_path
    sandbox.problem.cache_clear()


def test_without_bubblewrap_there_is_a_refusal(no_bwrap):
    with pytest.raises(sandbox.SandboxError, match="bubblewrap is not installed.*--confirm_run_unsafe_code"):
        sandbox.require()


def test_the_user_may_insist(no_bwrap, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lm_eval", "--tasks", "anyorder_humaneval", "--confirm_run_unsafe_code"])
    assert sandbox.require() is False
    monkeypatch.setattr(sys, "argv", ["lm_eval"])
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    assert sandbox.require() is False


def test_a_bubblewrap_that_does_not_work_is_told_before(no_bwrap):
    broken = no_bwrap / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(sandbox.SandboxError, match="does not work here .failed: bwrap: No permissions"):
        sandbox.require()


def test_a_bubblewrap_without_walls_is_not_believed(no_bwrap):
    """A program called bwrap that just runs the command, in a folder where nothing is walled off."""
    fake = no_bwrap / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done; shift\nexec "$@"\n')
    fake.chmod(0o755)
    assert "does not work here" in sandbox.problem()


# -- the filter, interpreted


def verdict(machine: int, number: int, first_argument: int = 0) -> int:
    """What the kernel would answer: a small interpreter of the filter's four kinds of instruction."""
    data = struct.pack("<IIQQ", number, machine, 0, first_argument)
    code = list(struct.iter_unpack("<HBBI", process_filter()))
    at, value = 0, 0
    while True:
        kind, yes, no, k = code[at]
        if kind == 0x06:
            return k
        if kind == 0x20:
            value = struct.unpack_from("<I", data, k)[0]
        else:
            true = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[kind]
            at += yes if true else no
        at += 1


X86, ARM, ALLOW, EPERM, ENOSYS = 0xC000003E, 0xC00000B7, 0x7FFF0000, 0x00050001, 0x00050026


@pytest.mark.parametrize(
    ("machine", "number", "flags", "answer"),
    [
        (X86, 0, 0, ALLOW),
        (X86, 57, 0, EPERM),
        (X86, 58, 0, EPERM),
        (X86, 435, 0, ENOSYS),
        (X86, 56, 0x11, EPERM),
        (X86, 56, 0x3D0F00, ALLOW),
        (X86, 220, 0, ALLOW),
        (X86, 0x40000039, 0, 0x80000000),
        (ARM, 63, 0, ALLOW),
        (ARM, 57, 0, ALLOW),
        (ARM, 220, 0x11, EPERM),
        (ARM, 220, 0x3D0F00, ALLOW),
        (ARM, 435, 0, ENOSYS),
        (0x40000003, 2, 0, 0x80000000),
    ],
)
def test_the_filter_refuses_processes_and_nothing_else(machine, number, flags, answer):
    assert verdict(machine, number, flags) == answer
