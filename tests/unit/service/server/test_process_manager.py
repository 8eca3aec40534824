"""A process manager replaces dead children, and gives up only when none can start."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count

from core.observability.events import Event, OperationalWarning
from service.server.process_manager import STARTUP_FAILED, ProcessManager, ProcessManagerPolicy
from tests.support.clock import TickingClock

NOW = timedelta(0)


class FakeChildProcess:
    """A child process that ends on request."""

    def __init__(self, pid: int, *, deaf: bool = False) -> None:
        self.pid = pid
        self.code: int | None = None
        self.ignores_terminate = deaf
        self.on_poll: Callable[[], None] = lambda: None

    def poll(self) -> int | None:
        self.on_poll()
        return self.code

    def terminate(self) -> None:
        if not self.ignores_terminate:
            self.code = 0

    def kill(self) -> None:
        self.code = -9


class ProcessManagerHarness:
    """A process manager with two fake children."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.children: list[FakeChildProcess] = []
        self.events: list[Event] = []
        self.slots: list[int] = []
        self.released: list[int] = []
        self._deaf = deaf
        policy = ProcessManagerPolicy(2, drain_timeout=timedelta(seconds=5), poll_interval=NOW)
        self.manager = ProcessManager(self._start, policy, TickingClock(), self.events.append)
        self.manager.on_exit = self.released.append

    def _start(self, seat: int) -> FakeChildProcess:
        self.slots.append(seat)
        self.children.append(FakeChildProcess(len(self.children), deaf=self._deaf))
        return self.children[-1]

    def after(self, looks: int, do: Callable[[], None]) -> None:
        """Run `action` at the given check of the first child."""
        left = count(looks, -1)
        self.children[0].on_poll = lambda: None if next(left) else do()


def run(harness: ProcessManagerHarness, script: Callable[[], None]) -> int:
    """Run the manager; `script` is called when all children have started."""
    start = harness.manager._start

    def last(seat: int) -> FakeChildProcess:
        made = start(seat)
        assert isinstance(made, FakeChildProcess)
        if len(harness.children) == 2:
            script()
        return made

    harness.manager._start = last
    return harness.manager.run()


def test_asked_to_stop_it_ends_its_members_and_is_content() -> None:
    rig = ProcessManagerHarness()
    assert run(rig, lambda: rig.after(3, rig.manager.stop)) == 0
    assert [member.code for member in rig.children] == [0, 0]
    assert rig.events == []


def test_one_that_dies_is_replaced_and_told_of() -> None:
    rig = ProcessManagerHarness()

    def script() -> None:
        rig.children[1].code = -11
        rig.after(5, rig.manager.stop)

    assert run(rig, script) == 0
    assert len(rig.children) == 3
    assert rig.released == [1]
    assert rig.slots == [0, 1, 1]
    (trouble,) = rig.events
    assert isinstance(trouble, OperationalWarning)
    assert (trouble.code, trouble.detail) == ("child_process_died", "process 1 ended with -11")


def test_one_that_cannot_begin_ends_all() -> None:
    rig = ProcessManagerHarness()

    def script() -> None:
        rig.children[1].code = STARTUP_FAILED

    assert run(rig, script) == STARTUP_FAILED
    assert rig.children[0].code == 0


def test_who_does_not_listen_is_killed_when_the_time_is_over() -> None:
    rig = ProcessManagerHarness(deaf=True)
    assert run(rig, lambda: rig.after(1, rig.manager.stop)) == 0
    assert [member.code for member in rig.children] == [-9, -9]
