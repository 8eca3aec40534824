"""A crew keeps its seats filled, and gives up only when nobody can begin."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from core.observability.events import Event, OperationalWarning
from service.server.process_manager import STARTUP_FAILED, Crew, CrewPolicy
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = timedelta(0)


class Ticking(FakeClock):
    """A second passes whenever it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._read = 0

    def monotonic(self) -> timedelta:
        self._read += 1
        return timedelta(seconds=self._read)


class Fake:
    """A member that ends as it is told."""

    def __init__(self, pid: int, *, deaf: bool = False) -> None:
        self.pid = pid
        self.code: int | None = None
        self.deaf = deaf
        self.on_look: Callable[[], None] = lambda: None

    def poll(self) -> int | None:
        self.on_look()
        return self.code

    def terminate(self) -> None:
        if not self.deaf:
            self.code = 0

    def kill(self) -> None:
        self.code = -9


class Rig:
    """A crew of two fakes."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.made: list[Fake] = []
        self.events: list[Event] = []
        self.seats: list[int] = []
        self.left: list[int] = []
        self._deaf = deaf
        policy = CrewPolicy(2, drain=timedelta(seconds=5), look_every=NOW)
        self.crew = Crew(self._start, policy, Ticking(), self.events.append)
        self.crew.left = self.left.append

    def _start(self, seat: int) -> Fake:
        self.seats.append(seat)
        self.made.append(Fake(len(self.made), deaf=self._deaf))
        return self.made[-1]

    def after(self, looks: int, do: Callable[[], None]) -> None:
        """Do something when the first member is looked at for the so-manieth time."""
        left = count(looks, -1)
        self.made[0].on_look = lambda: None if next(left) else do()


def run(rig: Rig, script: Callable[[], None]) -> int:
    """Run the crew; the script is called when the seats are filled."""
    start = rig.crew._start

    def last(seat: int) -> Fake:
        made = start(seat)
        assert isinstance(made, Fake)
        if len(rig.made) == 2:
            script()
        return made

    rig.crew._start = last
    return rig.crew.run()


def test_asked_to_stop_it_ends_its_members_and_is_content() -> None:
    rig = Rig()
    assert run(rig, lambda: rig.after(3, rig.crew.stop)) == 0
    assert [member.code for member in rig.made] == [0, 0]
    assert rig.events == []


def test_one_that_dies_is_replaced_and_told_of() -> None:
    rig = Rig()

    def script() -> None:
        rig.made[1].code = -11
        rig.after(5, rig.crew.stop)

    assert run(rig, script) == 0
    assert len(rig.made) == 3
    assert rig.left == [1]
    assert rig.seats == [0, 1, 1]
    (trouble,) = rig.events
    assert isinstance(trouble, OperationalWarning)
    assert (trouble.code, trouble.detail) == ("child_process_died", "process 1 ended with -11")


def test_one_that_cannot_begin_ends_all() -> None:
    rig = Rig()

    def script() -> None:
        rig.made[1].code = STARTUP_FAILED

    assert run(rig, script) == STARTUP_FAILED
    assert rig.made[0].code == 0


def test_who_does_not_listen_is_killed_when_the_time_is_over() -> None:
    rig = Rig(deaf=True)
    assert run(rig, lambda: rig.after(1, rig.crew.stop)) == 0
    assert [member.code for member in rig.made] == [-9, -9]
