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
from service.metrics.multiprocess import DIRECTORY, leave_seat, shared_folder

STARTUP_FAILED: Final = 3
"""How a member ends that cannot serve at all; others would end likewise."""


class Member(Protocol):
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
class CrewPolicy:
    """How many, how long they may drain, and how soon one that died is replaced."""

    members: int
    drain: timedelta
    pause: timedelta = timedelta(seconds=1)
    look_every: timedelta = timedelta(milliseconds=100)


@dataclass(slots=True)
class _Seat:
    """One place in the crew: who has it, and when it may next be given away."""

    number: int
    member: Member | None
    free_at: timedelta


class Crew:
    """Keeps its seats filled until it is asked to stop."""

    def __init__(
        self, start: Callable[[int], Member], policy: CrewPolicy, clock: Clock, emit: Emit
    ) -> None:
        """`start` makes a member for the seat of this number, the first 0."""
        self._start = start
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._asked = False
        self.left: Callable[[int], None] = lambda _: None
        """Told the number of each seat whose member has ended, before another takes it."""

    def stop(self) -> None:
        """End `run` soon; may be called from a signal's handler."""
        self._asked = True

    def run(self) -> int:
        """Serve until `stop`. The exit code: not 0 only when a member could not begin to serve."""
        seats = [self._seat(number) for number in range(self._policy.members)]
        code = 0
        while not (self._asked or code):
            self._wait()
            for seat in seats:
                code = code or self._look_after(seat)
        self._end([seat.member for seat in seats if seat.member is not None])
        return code

    def _seat(self, number: int) -> _Seat:
        member = self._start(number)
        return _Seat(number, member, self._clock.monotonic() + self._policy.pause)

    def _look_after(self, seat: _Seat) -> int:
        ended = None if seat.member is None else seat.member.poll()
        if seat.member is not None and ended is not None:
            self.left(seat.number)
            self._emit(
                OperationalWarning(
                    "child_process_died", f"process {seat.member.pid} ended with {ended}"
                )
            )
            seat.member = None
        if seat.member is None and self._clock.monotonic() >= seat.free_at:
            fresh = self._seat(seat.number)
            seat.member, seat.free_at = fresh.member, fresh.free_at
        return STARTUP_FAILED if ended == STARTUP_FAILED else 0

    def _end(self, members: list[Member]) -> None:
        for member in members:
            member.terminate()
        deadline = self._clock.monotonic() + self._policy.drain
        while any(member.poll() is None for member in members):
            if self._clock.monotonic() >= deadline:
                for member in members:
                    member.kill()
            self._wait()

    def _wait(self) -> None:
        threading.Event().wait(self._policy.look_every.total_seconds())


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a crew listens."""

    host: str
    port: int
    backlog: int


def run_crew(listening: Listening, policy: CrewPolicy, clock: Clock, emit: Emit) -> int:
    """Run members (`python -m service`) until SIGTERM or SIGINT; the exit code.

    Raises `OSError` when the address cannot be had.
    """
    with _opened(listening) as shared, shared_folder(clock.now()) as figures:
        crew = Crew(lambda seat: _started(shared, figures, seat), policy, clock, emit)
        crew.left = lambda seat: leave_seat(seat, figures)

        def stopped(_: int, __: FrameType | None) -> None:
            crew.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stopped)
        return crew.run()


@contextmanager
def _opened(listening: Listening) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    address = (listening.host, listening.port)
    with socket.create_server(address, family=family, backlog=listening.backlog) as shared:
        yield shared


def _started(shared: socket.socket, figures: str, seat: int) -> Member:
    # A member inherits the environment, which it reads its settings from. Its stdin ends when we
    # do, however we end: no member outlives its parent.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "service", str(shared.fileno()), str(seat)],
        env={**os.environ, DIRECTORY: figures},  # noqa: TID251 - handed on, not read
        stdin=subprocess.PIPE,
        pass_fds=(shared.fileno(),),
    )
