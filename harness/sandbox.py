"""Sandbox: model-written Python runs in bubblewrap, without network, on a read-only root of its own, with limits.

    walls      own namespaces of users, processes, network, IPC and host name; the root is empty and read-only, but for the
               system's libraries, the interpreter and its own: no home, no working folder, no mirror, no other program
               or file system is seen; /tmp is private and small; no capability; nothing of our environment
    processes  a system-call filter (seccomp) refuses new processes, so that there is no fork bomb and no child that
               outlives its parent; threads are allowed
    limits     processor time, memory, size of files, open files (rlimits). Processor time decides, so that a busy machine
               changes no score; wall-clock time, bounded from outside, only ends programs that wait for ever

Each of these ends a sample, never the run. Walls, filter and limits hold whatever the program does. That it `passed` does
not: tests run in the program's own interpreter, as in HumanEval's harness, so a program that replaces what the tests use, or
inspects the frames of its interpreter, can call itself passed. The word that proves its last line guards against accidents
(`sys.exit`) and lazy tricks only.

`require` probes all this before anything is generated. Without bubblewrap,
code runs only if the user passes lm-eval's own `--confirm_run_unsafe_code` (or sets HF_ALLOW_CODE_EVAL=1), then with
the limits but without walls and filter.
"""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from harness.process_filter import process_filter

UNSAFE_FLAG = "--confirm_run_unsafe_code"
SYSTEM = (  # what shared libraries need; not all of /usr, where images keep their working folder (/usr/src/app)
    *(f"{prefix}/{name}" for prefix in ("", "/usr", "/usr/local") for name in ("lib", "lib32", "lib64", "libx32")),
    "/usr/share/zoneinfo", "/etc/alternatives", "/etc/ld.so.cache", "/nix/store", "/gnu/store",
)  # fmt: skip
MEGABYTE = 1024 * 1024


class SandboxError(RuntimeError):
    """Code cannot be run safely here: the message says what is missing and what to do."""


@dataclass(frozen=True)
class Limits:
    """Of one sample: processor seconds (rounded up to whole ones), wall-clock seconds (several times as many, for programs
    that sleep or wait for ever), mebibytes of memory, mebibytes of each file and of /tmp."""

    cpu_seconds: float = 10.0
    wall_seconds: float = 120.0
    memory_mb: int = 1024
    files_mb: int = 16


DEFAULT = Limits()


@dataclass(frozen=True)
class Outcome:
    """What became of a program: `passed`, `failed` (its own error), `timeout` (of either clock) or `killed` (by another
    limit); its last words."""

    passed: bool
    reason: str
    detail: str = ""


def run_program(program: str, limits: Limits = DEFAULT, *, walls: bool = True) -> Outcome:
    """Run a Python program; it passes if it ends with status 0 and after its last statement.

    The last is proved by a random word, which the interpreter gets through a pipe before the program runs and gives back
    behind its last line (sandboxed.py): `sys.exit(0)` is no pass.
    """
    word = os.urandom(16).hex().encode()
    with tempfile.TemporaryDirectory(prefix="anyorder-") as folder, _pipe() as secret, _pipe() as proof:
        script = Path(folder) / "program.py"
        script.write_text(program, encoding="utf-8", errors="surrogatepass")
        secret.writer.write(word)
        secret.writer.close()
        with tempfile.TemporaryFile() as errors, _filter_file() as filters:
            inside = (secret.reader.fileno(), proof.writer.fileno())
            process = subprocess.Popen(
                [*(_walls(script, filters.fileno(), limits) if walls else []), *_python(script, walls, inside, limits)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=(*inside, filters.fileno()),
                start_new_session=True, cwd=folder, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            )  # fmt: skip
            status = _wait(process, limits.wall_seconds)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 2000))
            detail = errors.read().decode("utf-8", "replace").strip()
        os.set_blocking(proof.reader.fileno(), False)
        return _outcome(status, (proof.reader.read() or b"") == word, detail)


class Pipe(NamedTuple):
    """Both ends, unbuffered."""

    reader: IO[bytes]
    writer: IO[bytes]


@contextmanager
def _pipe() -> Iterator[Pipe]:
    """A pipe whose ends are closed in the end."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as read_end, open(writer, "wb", buffering=0) as write_end:
        yield Pipe(read_end, write_end)


def run_programs(programs: list[str], limits: Limits = DEFAULT, *, walls: bool = True) -> list[Outcome]:
    """Outcomes of programs in order, as many side by side as there are processors for this process."""
    with ThreadPoolExecutor(max_workers=_processors()) as pool:
        return list(pool.map(lambda program: run_program(program, limits, walls=walls), programs))


def _processors() -> int:
    """Those that this process may use; a scheduler's share of a node is often not the whole."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resources(limits: Limits) -> dict[str, tuple[int, ...]]:
    """{rlimit: (soft, hard)}."""
    cpu_seconds = max(1, math.ceil(limits.cpu_seconds))
    return {
        "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),  # SIGXCPU, which tells this limit from others; then SIGKILL
        "RLIMIT_AS": (limits.memory_mb * MEGABYTE,) * 2,
        "RLIMIT_FSIZE": (limits.files_mb * MEGABYTE,) * 2,
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
    }


def _wait(process: subprocess.Popen, seconds: float) -> int | None:
    """The exit status, or None after `seconds` of wall-clock time; either way nothing of the session is left."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the whole session has ended already
        process.wait()


def _outcome(status: int | None, ended: bool, detail: str) -> Outcome:
    if status in (None, -signal.SIGXCPU, 128 + signal.SIGXCPU):  # the last: as bubblewrap passes a signal on
        return Outcome(False, "timeout", detail)
    if status == 0:
        return Outcome(True, "passed") if ended else Outcome(False, "failed", "it ended before its last line")
    return Outcome(False, "killed" if status < 0 or status > 128 else "failed", detail)


def _python(script: Path, walls: bool, inside: tuple[int, int], limits: Limits) -> list[str]:
    """The interpreter without site packages, and what it does: sandboxed.py with its arguments.

    Not with -I, which would overlook PYTHONHASHSEED, too: the environment is ours.
    """
    runner = Path(__file__).with_name("sandboxed.py").read_text(encoding="utf-8")
    arguments = ["/tmp/program.py" if walls else str(script), *map(str, inside), json.dumps(_resources(limits))]
    return [str(_interpreter()), "-P", "-s", "-S", "-B", "-c", runner, *arguments]


def _interpreter() -> Path:
    """The executable itself: behind links, and behind a virtual environment (one made with copies too)."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _visible() -> list[str]:
    """All that can be seen inside: the system's libraries, the interpreter, its own libraries (of its prefix
    only these: a prefix may be a home, and hold anything)."""
    prefixes = {str(Path(prefix).resolve()) for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    libraries = [f"{prefix}/{name}" for prefix in sorted(prefixes) for name in ("lib", "lib64")]
    places = dict.fromkeys((*SYSTEM, *libraries, str(_interpreter())))
    return [place for place in places if Path(place).exists()]


def _walls(script: Path, filters: int, limits: Limits) -> list[str]:
    """bubblewrap's command line: a root that is empty but for what is named here, and read-only but for /tmp."""
    size = ["--size", str(limits.files_mb * MEGABYTE)]
    walls = [
        shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
        *size, "--tmpfs", "/", *size, "--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc",
    ]  # fmt: skip
    for place in _visible():
        walls += ["--ro-bind", place, place]
    walls += ["--ro-bind", str(script), "/tmp/program.py", "--remount-ro", "/", "--remount-ro", "/dev"]
    return [*walls, "--chdir", "/tmp", "--seccomp", str(filters), "--"]


def _filter_file() -> IO[bytes]:
    """The filter as an open file at its start, for bubblewrap to read."""
    file = tempfile.TemporaryFile()
    file.write(process_filter())
    file.flush()
    file.seek(0)
    return file


# -- before anything is generated

_PROBE = """
import os, socket, sys
assert not os.path.exists({outside!r}), "files outside can be seen"
for attempt in (lambda: open("/anyorder-probe", "w"), os.fork, lambda: socket.create_connection(("192.0.2.1", 9), 1)):
    try:
        attempt()
    except OSError:
        continue
    sys.exit("a wall is missing")
"""


@functools.cache
def problem() -> str:
    """Why there is no sandbox here; empty if there is one. Tried once, by a program that runs against its walls."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"the sandbox needs Linux on x86-64 or AArch64, this is {platform.system()} on {platform.machine()}"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (the program bwrap; Debian and Fedora call the package bubblewrap)"
    with tempfile.NamedTemporaryFile(prefix="anyorder-probe-") as outside:
        outcome = run_program(_PROBE.format(outside=outside.name))
    if outcome.passed:
        return ""
    return (
        f"bubblewrap does not work here ({outcome.reason}: {' '.join(outcome.detail.split())[-200:] or 'no message'})"
    )


def unsafe_allowed() -> bool:
    """Whether the user has passed lm-eval's own flag for running code without a sandbox."""
    return UNSAFE_FLAG in sys.argv or os.environ.get("HF_ALLOW_CODE_EVAL") == "1"


def require() -> bool:
    """Whether there are walls; to be called before anything is generated.

    Raises:
        SandboxError: no sandbox, and the user has not allowed code to run without one.
    """
    missing = problem()
    if missing and not unsafe_allowed():
        raise SandboxError(
            f"model-written code is run only in a sandbox, and {missing}. Install it, or pass {UNSAFE_FLAG} "
            "(HF_ALLOW_CODE_EVAL=1) to run the code as yourself."
        )
    return not missing
