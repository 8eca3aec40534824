"""Who runs next, by brute force: what `lib/dispatch.lua` does with indexes, as a specification.

Start-time fair queueing. A tenant's tag says from when on (in virtual time) it may have its next
slot; virtual time is the start of the slot that was given last.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.jobs.job import Job
from core.tenants.limits import GlobalLimits, Limits


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One job that waits or runs. `number` counts arrivals."""

    tenant: str
    model: str
    priority: int
    arrival_number: int


@dataclass(slots=True)
class FairQueue:
    """Waiting jobs and slots. `limits_of` a tenant that is not known are none."""

    limits_of: Callable[[str], Limits]
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    pauses: set[str] = field(default_factory=set)
    waiting: dict[str, QueuedJob] = field(default_factory=dict)
    slots: dict[str, QueuedJob] = field(default_factory=dict)
    tags: dict[str, float] = field(default_factory=dict)
    virtual_now: float = 0.0
    _arrivals: int = 0

    def running(self) -> Counter[str]:
        """Slots in use, by the names that pauses have too."""
        used: Counter[str] = Counter()
        for place in self.slots.values():
            used.update(("all", f"tenant:{place.tenant}", f"model:{place.model}"))
        return used

    def waiting_count(self, tenant: str) -> int:
        """How many of a tenant's jobs wait."""
        return sum(place.tenant == tenant for place in self.waiting.values())

    def is_closed(self, limit_name: str) -> bool:
        """Whether everything (`all`), one tenant (`tenant:x`) or one model is full or paused."""
        kind, _, name = limit_name.partition(":")
        caps = {
            "all": lambda: self.limits.running,
            "tenant": lambda: self.limits_of(name).running,
            "model": lambda: dict(self.limits.models).get(name),
        }
        cap = caps[kind]()
        return limit_name in self.pauses or (cap is not None and self.running()[limit_name] >= cap)

    def is_open(self, tenant: str, model: str) -> bool:
        """Whether nothing that is full or paused keeps such a job from running."""
        return not any(map(self.is_closed, ("all", f"tenant:{tenant}", f"model:{model}")))

    def can_start_immediately(self, tenant: str, model: str) -> bool:
        """Whether a job that comes now runs now: there is room, and no other could take it."""
        return self.is_open(tenant, model) and self.next_job() is None

    def next_job(self) -> str | None:
        """Whose turn it is: the tenant of the least tag, of its jobs the most urgent and oldest."""
        able = {i: p for i, p in self.waiting.items() if self.is_open(p.tenant, p.model)}
        if not able:
            return None
        turn = min((self.tags.get(p.tenant, 0.0), p.model, p.tenant) for p in able.values())
        own = ((p.priority, p.arrival_number, i) for i, p in able.items() if p.tenant == turn[2])
        return min(own)[2]

    def enqueue(self, job: Job) -> None:
        """A job joins the queue; a tenant that had none there starts no earlier than now."""
        if not self.waiting_count(job.tenant):
            self.tags[job.tenant] = self._next_start(job.tenant)
        self._arrivals += 1
        self.waiting[job.id] = QueuedJob(job.tenant, job.model_id, job.priority, self._arrivals)

    def raise_priority(self, job_id: str, tenant: str, priority: int) -> None:
        """A job that waits is wanted more urgently by its own tenant: it keeps its age."""
        place = self.waiting.get(job_id)
        if place is not None and place.tenant == tenant and priority < place.priority:
            self.waiting[job_id] = replace(place, priority=priority)

    def transfer_slot(self, job_id: str, successor: str, tenant: str) -> None:
        """A slot goes to the job that takes over its holder's work."""
        self.slots[successor] = replace(self.slots.pop(job_id), tenant=tenant)

    def assign_slot(self, job_id: str, tenant: str, model: str) -> None:
        """A job gets a slot, and its tenant's next turn comes a weight's worth later."""
        self.waiting.pop(job_id, None)
        self.slots[job_id] = QueuedJob(tenant, model, 0, 0)
        self.virtual_now = self._next_start(tenant)
        self.tags[tenant] = self.virtual_now + 1 / self.limits_of(tenant).weight

    def dispatch(self, limit: int) -> list[str]:
        """Give free slots away, in turn. Returns who got one."""
        given: list[str] = []
        while len(given) < limit and (job_id := self.next_job()) is not None:
            place = self.waiting[job_id]
            self.assign_slot(job_id, place.tenant, place.model)
            given.append(job_id)
        return given

    def remove(self, job_id: str) -> bool:
        """A job is over, or stops waiting. Returns whether it had a slot."""
        self.waiting.pop(job_id, None)
        return self.slots.pop(job_id, None) is not None

    def _next_start(self, tenant: str) -> float:
        return max(self.virtual_now, self.tags.get(tenant, 0.0))
