"""The input of a run: numbers of workers and jobs, possible faults, and the seed."""

from dataclasses import dataclass
from enum import StrEnum, auto
from random import Random
from typing import Final


class Fault(StrEnum):
    """A kind of fault. A run enables some, so that all combinations are tried."""

    DEATHS = auto()
    """A process dies at an await, before or after what it awaits took effect."""
    STORE_UNAVAILABLE = auto()
    """The store is unreachable for all processes for a while."""
    STORE_PARTITIONED = auto()
    """The store is unreachable for one process for a while."""
    STORE_ANSWER_LOST = auto()
    """The store executes a command, and its answer is lost."""
    STORE_LATE = auto()
    """The store does not answer, and executes the command later."""
    JOURNAL_FAILS = auto()
    """The journal refuses a call."""
    JOURNAL_ANSWER_LOST = auto()
    """The journal carries out a call, and its answer is lost."""
    JOURNAL_AWAY = auto()
    """The journal answers no process for a while."""
    JOURNAL_SLOW = auto()
    """A call of the journal takes long, perhaps longer than its caller waits; it is carried out."""
    STORE_REWINDS = auto()
    """The store goes back by any number of changes."""
    JOURNAL_REWINDS = auto()
    """The journal goes back by any number of writes, until an operator decides."""
    BACKUP_RESTORED = auto()
    """Store and journal are restored from one backup, as documented or under running workers."""
    WAKE_MESSAGES = auto()
    """Wake-up messages are lost, repeated or late."""
    LOST_BEFORE = auto()
    """A submit is lost before it arrives."""
    LOST_AFTER = auto()
    """A submit arrives, perhaps late, and its answer is lost."""
    SLOW_SUBMITS = auto()
    """A submit takes longer than a lease."""
    NOT_SENT = auto()
    """A connection to RunComfy cannot be opened."""
    THROTTLED = auto()
    """RunComfy answers 429."""
    REJECTED = auto()
    """RunComfy rejects the input."""
    REFUSED = auto()
    """RunComfy rejects the account."""
    READS_FAIL = auto()
    """Reads get no usable answer now and then."""
    READS_UNAVAILABLE = auto()
    """Reads get no usable answer for a while."""
    UNKNOWN_STATUS = auto()
    NOT_YET_VISIBLE = auto()
    """A new id is unknown for a while."""
    TEMPORARILY_MISSING = auto()
    """After a failed read, a known id is reported once as unknown."""
    FORGOTTEN = auto()
    """From some time on an id is unknown."""
    RESULT_AFTER_STATUS = auto()
    """The status is final before the result can be read."""
    UPSTREAM_FAILURES = auto()
    """Requests fail upstream, charged or free."""
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
    """Operators resolve jobs in doubt."""
    DEADLINES = auto()
    """Callers set short deadlines."""
    RECEIVER = auto()
    """The receiver fails, or accepts a delivery and its answer is lost."""
    PROGRESS_EVENTS = auto()
    """Callers request progress events."""
    POLICIES = auto()
    """Tenants' policies fail or resend jobs in doubt."""
    IDENTICAL_REQUESTS = auto()
    """Callers send identical requests; tenants share results and promote followers."""
    REPEATED_REQUESTS = auto()
    """Callers send their requests again, with the same idempotency key."""


IN_DOUBT_FAULTS: Final = frozenset(
    {
        Fault.DEATHS,
        Fault.STORE_UNAVAILABLE,
        Fault.STORE_PARTITIONED,
        Fault.STORE_LATE,
        Fault.STORE_REWINDS,
        Fault.JOURNAL_REWINDS,
        Fault.BACKUP_RESTORED,
        Fault.LOST_BEFORE,
        Fault.LOST_AFTER,
    }
)
"""The only faults that may bring a submit into doubt."""


GOING_BACK: Final = (Fault.STORE_REWINDS, Fault.JOURNAL_REWINDS, Fault.BACKUP_RESTORED)
"""A plan has one of them at most: each is mended by what the others take away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    `intensity` scales the probability of every enabled fault. `die_at`: the number of the await at
    which the first worker dies, once, whatever `faults` bring.
    """

    seed: int
    workers: int = 2
    jobs: int = 3
    faults: frozenset[Fault] = frozenset()
    intensity: float = 0.2
    die_at: int | None = None

    def __str__(self) -> str:
        """Return the expression that builds it, to be pasted into a test."""
        names = ", ".join(f"Fault.{fault.name}" for fault in Fault if fault in self.faults)
        return (
            f"Plan(seed={self.seed}, workers={self.workers}, jobs={self.jobs}, "
            f"faults=frozenset({{{names}}}), intensity={self.intensity}, die_at={self.die_at})"
        )


class SeededRandomness:
    """Random streams by name: the draws of one do not shift those of another."""

    def __init__(self, plan: Plan) -> None:
        """All streams are derived from the plan's seed."""
        self._plan = plan
        self.faults_ended = False
        """When true, no fault occurs any more."""

    def stream(self, name: str) -> Random:
        """A new generator at the stream's beginning."""
        return Random(f"{self._plan.seed}:{name}")

    def may_occur(self, fault: Fault) -> bool:
        """Return whether the plan enables the fault."""
        return fault in self._plan.faults

    def may_still_occur(self, fault: Fault) -> bool:
        """Return whether the plan enables the fault, and it may occur from now on."""
        return not self.faults_ended and fault in self._plan.faults

    def occurs(self, fault: Fault, rng: Random, *, factor: float = 1.0) -> bool:
        """Draw whether the fault occurs at this point."""
        if self.faults_ended or fault not in self._plan.faults:
            return False
        return rng.random() < self._plan.intensity * factor
