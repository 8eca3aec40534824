"""`python -m tests.support.pid_one COMMAND…`: run a command as process 1, as a container does.

The command gets a PID namespace of its own, and SIGTERM. This process exits as it does. Linux,
and root or the right to create namespaces.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

CLONE_NEWPID: Final = 0x20000000
CLONE_NEWUSER: Final = 0x10000000
PR_SET_PDEATHSIG: Final = 1


def wrapped(command: Sequence[str]) -> tuple[str, ...]:
    """The command line that runs a command as process 1."""
    return (sys.executable, "-m", __name__, *command)


def enter_namespace() -> bool:
    """Let the next child be process 1 of a new PID namespace. Returns whether the kernel agreed."""
    flags = CLONE_NEWPID if os.geteuid() == 0 else CLONE_NEWPID | CLONE_NEWUSER
    result: int = ctypes.CDLL(None, use_errno=True).unshare(flags)
    return result == 0


def is_possible() -> bool:
    """Whether this machine allows PID namespaces; tried in a child, which ends."""
    child = os.fork()
    if child == 0:
        os._exit(0 if enter_namespace() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(command: Sequence[str]) -> int:
    """Run the command, pass SIGTERM on, and return its exit code."""
    if not enter_namespace():
        return 125
    child = os.fork()
    if child == 0:
        # Whoever kills this process means the command: it would go on without anyone to stop it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(command[0], [*command])  # noqa: S606 - the command is the caller's

    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(child, number)

    handler: Callable[[int, FrameType | None], None] = pass_on
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
