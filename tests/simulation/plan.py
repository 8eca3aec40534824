"""What a run is made of: how many of everything, what may go wrong, and the seed of all chance."""

from dataclasses import dataclass
from enum import StrEnum, auto
from random import Random
from typing import Final


class Fault(StrEnum):
    """A kind of trouble. A run has some of them, so that each combination gets its turn."""

    DEATHS = auto()
    """A process dies at an await, before or after what it awaits took effect."""
    STORE_UNAVAILABLE = auto()
    """The store is away for everybody for a while."""
    STORE_PARTITIONED = auto()
    """The store is away for one process for a while."""
    STORE_ANSWER_LOST = auto()
    """The store does what it was asked, and its answer is lost."""
    STORE_LATE = auto()
    """The store falls silent, and does what it was asked some time afterwards."""
    WAKE_MESSAGES = auto()
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
    READS_UNAVAILABLE = auto()
    """Reads get no usable answer for a while."""
    UNKNOWN_STATUS = auto()
    NOT_YET_VISIBLE = auto()
    """A new id is unknown for a while."""
    TEMPORARILY_MISSING = auto()
    """After a read that failed, a known id is once said to be unknown."""
    FORGOTTEN = auto()
    """An id is unknown from some time on, for ever."""
    RESULT_AFTER_STATUS = auto()
    """The status says that it ended before the result does."""
    UPSTREAM_FAILURES = auto()
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
    PROGRESS_EVENTS = auto()
    """Callers ask for callbacks on the way."""
    POLICIES = auto()
    """Tenants fail or resend what is in doubt."""
    IDENTICAL_REQUESTS = auto()
    """Callers ask for the same; tenants share, and try again what failed."""


IN_DOUBT_FAULTS: Final = frozenset(
    {
        Fault.DEATHS,
        Fault.STORE_UNAVAILABLE,
        Fault.STORE_PARTITIONED,
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


class SeededRandomness:
    """All chance of a run, in streams by name, so that one kind's draws do not shift another's."""

    def __init__(self, plan: Plan) -> None:
        """Everything follows from the plan."""
        self._plan = plan
        self.faults_ended = False
        """From then on nothing goes wrong."""

    def stream(self, name: str) -> Random:
        """The stream of this name, from its beginning."""
        return Random(f"{self._plan.seed}:{name}")

    def occurs(self, fault: Fault, rng: Random, *, factor: float = 1.0) -> bool:
        """Whether this trouble happens here and now."""
        if self.faults_ended or fault not in self._plan.faults:
            return False
        return rng.random() < self._plan.intensity * factor
