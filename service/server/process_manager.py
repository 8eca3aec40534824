"""Several front ends on one socket, as processes. Knows processes and signals; knows no HTTP.

The parent serves nobody: it opens the socket, replaces members that die, and stops them all.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Final, Protocol

from core.clock import Clock
from core.observability.events import Emit, OperationalWarning
from service.metrics.multiprocess import DIRECTORY_VARIABLE, release_slot, shared_directory

STARTUP_FAILED: Final = 3
"""How a member ends that cannot serve at all; others would end likewise."""


class ChildProcess(Protocol):
    """A process, as `subprocess.Popen` is one."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to stop."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessManagerPolicy:
    """How many, how long they may drain, and how soon one that died is replaced."""

    processes: int
    drain_timeout: timedelta
    restart_delay: timedelta = timedelta(seconds=1)
    poll_interval: timedelta = timedelta(milliseconds=100)


@dataclass(slots=True)
class _ProcessSlot:
    """One place in the crew: who has it, and when it may next be given away."""

    number: int
    process: ChildProcess | None
    restart_at: timedelta


class ProcessManager:
    """Keeps its seats filled until it is asked to stop."""

    def __init__(
        self,
        start: Callable[[int], ChildProcess],
        policy: ProcessManagerPolicy,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """`start` makes a member for the seat of this number, the first 0."""
        self._start = start
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._stopping = False
        self.on_exit: Callable[[int], None] = lambda _: None
        """Told the number of each seat whose member has ended, before another takes it."""

    def stop(self) -> None:
        """End `run` soon; may be called from a signal's handler."""
        self._stopping = True

    def run(self) -> int:
        """Serve until `stop`. The exit code: not 0 only when a member could not begin to serve."""
        seats = [self._start_slot(number) for number in range(self._policy.processes)]
        code = 0
        while not (self._stopping or code):
            self._wait()
            for seat in seats:
                code = code or self._supervise(seat)
        self._terminate([seat.process for seat in seats if seat.process is not None])
        return code

    def _start_slot(self, number: int) -> _ProcessSlot:
        member = self._start(number)
        return _ProcessSlot(number, member, self._clock.monotonic() + self._policy.restart_delay)

    def _supervise(self, slot: _ProcessSlot) -> int:
        ended = None if slot.process is None else slot.process.poll()
        if slot.process is not None and ended is not None:
            self.on_exit(slot.number)
            self._emit(
                OperationalWarning(
                    "child_process_died", f"process {slot.process.pid} ended with {ended}"
                )
            )
            slot.process = None
        if slot.process is None and self._clock.monotonic() >= slot.restart_at:
            fresh = self._start_slot(slot.number)
            slot.process, slot.restart_at = fresh.process, fresh.restart_at
        return STARTUP_FAILED if ended == STARTUP_FAILED else 0

    def _terminate(self, processes: list[ChildProcess]) -> None:
        for member in processes:
            member.terminate()
        deadline = self._clock.monotonic() + self._policy.drain_timeout
        while any(member.poll() is None for member in processes):
            if self._clock.monotonic() >= deadline:
                for member in processes:
                    member.kill()
            self._wait()

    def _wait(self) -> None:
        threading.Event().wait(self._policy.poll_interval.total_seconds())


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where a crew listens."""

    host: str
    port: int
    backlog: int


def run_process_manager(
    address: BindAddress, policy: ProcessManagerPolicy, clock: Clock, emit: Emit
) -> int:
    """Run members (`python -m service`) until SIGTERM or SIGINT; the exit code.

    Raises `OSError` when the address cannot be had.
    """
    with _open_socket(address) as shared, shared_directory(clock.now()) as figures:
        crew = ProcessManager(
            lambda seat: _start_process(shared, figures, seat), policy, clock, emit
        )
        crew.on_exit = lambda seat: release_slot(seat, figures)

        def stopped(_: int, __: FrameType | None) -> None:
            crew.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stopped)
        return crew.run()


@contextmanager
def _open_socket(bind_address: BindAddress) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in bind_address.host else socket.AF_INET
    address = (bind_address.host, bind_address.port)
    with socket.create_server(address, family=family, backlog=bind_address.backlog) as shared:
        yield shared


def _start_process(shared: socket.socket, metrics_directory: str, slot: int) -> ChildProcess:
    # A member inherits the environment, which it reads its settings from. Its stdin ends when we
    # do, however we end: no member outlives its parent.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "service", str(shared.fileno()), str(slot)],
        env={**os.environ, DIRECTORY_VARIABLE: metrics_directory},  # noqa: TID251 - handed on, not read
        stdin=subprocess.PIPE,
        pass_fds=(shared.fileno(),),
    )
