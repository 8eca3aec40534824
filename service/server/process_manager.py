"""Runs several service processes on the same sockets. Knows processes and signals, no HTTP.

The parent serves no requests: it opens the socket, restarts children that die, and stops them all.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Final, Protocol

from core.clock import Clock
from core.observability.events import Emit, OperationalWarning
from service.metrics.multiprocess import DIRECTORY_VARIABLE, release_slot, shared_directory

STARTUP_FAILED: Final = 3
"""Exit code of a child that cannot start; the others would fail for the same reason."""


class ChildProcess(Protocol):
    """What is used of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessManagerPolicy:
    """Number of children, time for them to drain, and minimum time between two starts of one."""

    processes: int
    drain_timeout: timedelta
    restart_delay: timedelta = timedelta(seconds=1)
    poll_interval: timedelta = timedelta(milliseconds=100)


@dataclass(slots=True)
class _ProcessSlot:
    """A numbered child process, and when it may be restarted at the earliest."""

    number: int
    process: ChildProcess | None
    restart_at: timedelta


class ProcessManager:
    """Keeps a fixed number of child processes running until `stop`."""

    def __init__(
        self,
        start: Callable[[int], ChildProcess],
        policy: ProcessManagerPolicy,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """`start` starts the child of a slot; slots are numbered from 0."""
        self._start = start
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._stopping = False
        self.on_exit: Callable[[int], None] = lambda _: None
        """Called with the slot of each child that has ended, before its successor starts."""

    def stop(self) -> None:
        """Let `run` return soon. May be called from a signal handler."""
        self._stopping = True

    def run(self) -> int:
        """Run until `stop`. Return the exit code: not 0 only if a child could not start."""
        slots = [self._start_slot(number) for number in range(self._policy.processes)]
        code = 0
        while not (self._stopping or code):
            self._wait()
            for slot in slots:
                code = code or self._supervise(slot)
        self._terminate([slot.process for slot in slots if slot.process is not None])
        return code

    def _start_slot(self, number: int) -> _ProcessSlot:
        process = self._start(number)
        return _ProcessSlot(number, process, self._clock.monotonic() + self._policy.restart_delay)

    def _supervise(self, slot: _ProcessSlot) -> int:
        exit_code = None if slot.process is None else slot.process.poll()
        if slot.process is not None and exit_code is not None:
            self.on_exit(slot.number)
            self._emit(
                OperationalWarning(
                    "child_process_died", f"process {slot.process.pid} ended with {exit_code}"
                )
            )
            slot.process = None
        if slot.process is None and self._clock.monotonic() >= slot.restart_at:
            restarted = self._start_slot(slot.number)
            slot.process, slot.restart_at = restarted.process, restarted.restart_at
        return STARTUP_FAILED if exit_code == STARTUP_FAILED else 0

    def _terminate(self, processes: list[ChildProcess]) -> None:
        for process in processes:
            process.terminate()
        deadline = self._clock.monotonic() + self._policy.drain_timeout
        while any(process.poll() is None for process in processes):
            if self._clock.monotonic() >= deadline:
                for process in processes:
                    process.kill()
            self._wait()

    def _wait(self) -> None:
        threading.Event().wait(self._policy.poll_interval.total_seconds())


@dataclass(frozen=True, slots=True)
class SharedSockets:
    """The sockets on which all children listen."""

    api: socket.socket
    metrics: socket.socket
    admin: socket.socket | None = None
    """None: the API's socket serves the admin API too."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors of those that are open."""
        opened = (self.api, self.metrics, self.admin)
        return tuple(each.fileno() for each in opened if each is not None)


def run_process_manager(
    shared: SharedSockets, policy: ProcessManagerPolicy, clock: Clock, emit: Emit
) -> int:
    """Run children (`python -m service`) until SIGTERM or SIGINT, and return the exit code."""
    with shared_directory(clock.now()) as metrics_directory:
        manager = ProcessManager(
            lambda slot: _start_process(shared, metrics_directory, slot), policy, clock, emit
        )
        manager.on_exit = lambda slot: release_slot(slot, metrics_directory)

        def stop(_: int, __: FrameType | None) -> None:
            manager.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        return manager.run()


def _start_process(shared: SharedSockets, metrics_directory: str, slot: int) -> ChildProcess:
    descriptors = shared.descriptors
    # A child reads its settings from the environment that it inherits. Its stdin is closed when the
    # parent ends, even by SIGKILL: no child outlives its parent.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "service", *map(str, descriptors), str(slot)],
        env={**os.environ, DIRECTORY_VARIABLE: metrics_directory},  # noqa: TID251 - passed on, not read
        stdin=subprocess.PIPE,
        pass_fds=descriptors,
    )
