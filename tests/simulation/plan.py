"""What a run is made of: how many of everything, what may go wrong, and the seed of all chance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from random import Random
from typing import Final


class Fault(StrEnum):
    """A kind of trouble. A run has some of them, so that each combination gets its turn."""

    DEATHS = auto()
    """A process dies at an await, before or after what it awaits took effect."""
    STORE_AWAY = auto()
    """The store is away for everybody for a while."""
    STORE_PARTED = auto()
    """The store is away for one process for a while."""
    STORE_SILENT = auto()
    """The store does what it was asked, and its answer is lost."""
    STORE_LATE = auto()
    """The store falls silent, and does what it was asked some time afterwards."""
    RINGS = auto()
    """Rings get lost, come twice, come late."""
    LOST_BEFORE = auto()
    """A submit is lost on its way."""
    LOST_AFTER = auto()
    """A submit arrives, perhaps late, and its answer is lost."""
    SLOW_SUBMITS = auto()
    """A submit takes longer than a lease."""
    NOT_SENT = auto()
    """RunComfy cannot be connected to."""
    THROTTLED = auto()
    """RunComfy says 429."""
    REJECTED = auto()
    """RunComfy refuses the input."""
    REFUSED = auto()
    """RunComfy refuses the account."""
    READS_FAIL = auto()
    """Reads get no usable answer now and then."""
    READS_AWAY = auto()
    """Reads get no usable answer for a while."""
    UNKNOWN_WORDS = auto()
    NOT_YET_VISIBLE = auto()
    """A new id is unknown for a while."""
    BLINKS = auto()
    """After a read that failed, a known id is once said to be unknown."""
    FORGOTTEN = auto()
    """An id is unknown from some time on, for ever."""
    DISAGREE = auto()
    """The status says that it ended before the result does."""
    BREAKS = auto()
    """Requests fail upstream, for money or for free."""
    NO_OUTPUT = auto()
    LATE_COST = auto()
    NO_COST = auto()
    LONG_RUNS = auto()
    """Requests outlive their deadline, and may complete after it."""
    CANCELS = auto()
    """Callers cancel at any time."""
    LOST_CANCELS = auto()
    """A cancel is carried out, and its answer is lost."""
    OPERATORS = auto()
    """Doubts are resolved by people."""
    DEADLINES = auto()
    """Callers set short deadlines."""
    RECEIVER = auto()
    """The receiver fails, or takes a callback and its answer is lost."""
    NEWS = auto()
    """Callers ask for callbacks on the way."""
    POLICIES = auto()
    """Tenants fail or resend what is in doubt."""
    TWINS = auto()
    """Callers ask for the same; tenants share, and try again what failed."""


DOUBTFUL: Final = frozenset(
    {
        Fault.DEATHS,
        Fault.STORE_AWAY,
        Fault.STORE_PARTED,
        Fault.STORE_LATE,
        Fault.LOST_BEFORE,
        Fault.LOST_AFTER,
    }
)
"""Only these may bring a submit into doubt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `intensity` is how often each kind of trouble strikes where it can.

    `die_at`: the first worker dies at its so-many-th await, once; beside what `faults` bring.
    """

    seed: int
    workers: int = 2
    jobs: int = 3
    faults: frozenset[Fault] = frozenset()
    intensity: float = 0.2
    die_at: int | None = None

    def __str__(self) -> str:
        """As it is written in a test."""
        names = ", ".join(f"Fault.{fault.name}" for fault in Fault if fault in self.faults)
        return (
            f"Plan(seed={self.seed}, workers={self.workers}, jobs={self.jobs}, "
            f"faults=frozenset({{{names}}}), intensity={self.intensity}, die_at={self.die_at})"
        )


class Chance:
    """All chance of a run, in streams by name, so that one kind's draws do not shift another's."""

    def __init__(self, plan: Plan) -> None:
        """Everything follows from the plan."""
        self._plan = plan
        self.healed = False
        """From then on nothing goes wrong."""

    def stream(self, name: str) -> Random:
        """The stream of this name, from its beginning."""
        return Random(f"{self._plan.seed}:{name}")

    def strikes(self, fault: Fault, rng: Random, *, factor: float = 1.0) -> bool:
        """Whether this trouble happens here and now."""
        if self.healed or fault not in self._plan.faults:
            return False
        return rng.random() < self._plan.intensity * factor
