"""Child processes for tests: forked, so that nothing is imported again, and really killed where a test kills."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable


class Forked:
    """A function in a process of its own; `wait` gives its exit status (1 after an exception, −n after signal n)."""

    def __init__(self, function: Callable, *arguments):
        self.pid = os.fork()
        if self.pid:
            return
        try:
            status = int(function(*arguments) or 0)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def join_processes(rank: int, size: int, port: int) -> None:
    """Make this process one of `size` that train together, as a launcher would."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
