"""Start-time fair queueing by brute force: the specification of `lib/dispatch.lua`.

A tenant's tag is the virtual time from which on it may have its next slot; the virtual time is the
start of the slot that was given last.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.jobs.job import Job
from core.tenants.limits import GlobalLimits, Limits


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One job that waits or runs. `arrival_number` counts arrivals."""

    tenant: str
    model: str
    priority: int
    arrival_number: int


@dataclass(slots=True)
class FairQueue:
    """Waiting jobs and slots. `limits_of` returns no limits for an unknown tenant."""

    limits_of: Callable[[str], Limits]
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    pauses: set[str] = field(default_factory=set)
    waiting: dict[str, QueuedJob] = field(default_factory=dict)
    slots: dict[str, QueuedJob] = field(default_factory=dict)
    tags: dict[str, float] = field(default_factory=dict)
    virtual_now: float = 0.0
    _arrivals: int = 0

    def running(self) -> Counter[str]:
        """Slots in use by scope: `all`, `tenant:x`, `model:y`, as pauses are named."""
        used: Counter[str] = Counter()
        for place in self.slots.values():
            used.update(("all", f"tenant:{place.tenant}", f"model:{place.model}"))
        return used

    def waiting_count(self, tenant: str) -> int:
        """The number of a tenant's waiting jobs."""
        return sum(place.tenant == tenant for place in self.waiting.values())

    def is_closed(self, limit_name: str) -> bool:
        """Whether a scope is full or paused."""
        kind, _, name = limit_name.partition(":")
        caps = {
            "all": lambda: self.limits.running,
            "tenant": lambda: self.limits_of(name).running,
            "model": lambda: dict(self.limits.models).get(name),
        }
        cap = caps[kind]()
        return limit_name in self.pauses or (cap is not None and self.running()[limit_name] >= cap)

    def is_open(self, tenant: str, model: str) -> bool:
        """Whether no scope of the job is full or paused."""
        return not any(map(self.is_closed, ("all", f"tenant:{tenant}", f"model:{model}")))

    def can_start_immediately(self, tenant: str, model: str) -> bool:
        """Whether a new job runs immediately: a slot is free, and no waiting job can take it."""
        return self.is_open(tenant, model) and self.next_job() is None

    def next_job(self) -> str | None:
        """The next job: of the tenant with the least tag, the most urgent, then the oldest."""
        able = {i: p for i, p in self.waiting.items() if self.is_open(p.tenant, p.model)}
        if not able:
            return None
        turn = min((self.tags.get(p.tenant, 0.0), p.model, p.tenant) for p in able.values())
        own = ((p.priority, p.arrival_number, i) for i, p in able.items() if p.tenant == turn[2])
        return min(own)[2]

    def enqueue(self, job: Job) -> None:
        """Add a job; a tenant without waiting jobs starts at the virtual time or later."""
        if not self.waiting_count(job.tenant):
            self.tags[job.tenant] = self._next_start(job.tenant)
        self._arrivals += 1
        self.waiting[job.id] = QueuedJob(job.tenant, job.model_id, job.priority, self._arrivals)

    def raise_priority(self, job_id: str, tenant: str, priority: int) -> None:
        """Raise the priority of a waiting job, which keeps its age."""
        place = self.waiting.get(job_id)
        if place is not None and place.tenant == tenant and priority < place.priority:
            self.waiting[job_id] = replace(place, priority=priority)

    def transfer_slot(self, job_id: str, successor: str, tenant: str) -> None:
        """Move a slot to the job that takes over the work of its holder."""
        self.slots[successor] = replace(self.slots.pop(job_id), tenant=tenant)

    def assign_slot(self, job_id: str, tenant: str, model: str) -> None:
        """Give a job a slot, and move its tenant's tag by 1/weight."""
        self.waiting.pop(job_id, None)
        self.slots[job_id] = QueuedJob(tenant, model, 0, 0)
        self.virtual_now = self._next_start(tenant)
        self.tags[tenant] = self.virtual_now + 1 / self.limits_of(tenant).weight

    def occupy_slot(self, job: Job) -> None:
        """Give a slot to a job that RunComfy has without its turn having come."""
        self.slots[job.id] = QueuedJob(job.tenant, job.model_id, 0, 0)

    def dispatch(self, limit: int) -> list[str]:
        """Give free slots to the next jobs. Returns those jobs."""
        given: list[str] = []
        while len(given) < limit and (job_id := self.next_job()) is not None:
            place = self.waiting[job_id]
            self.assign_slot(job_id, place.tenant, place.model)
            given.append(job_id)
        return given

    def remove(self, job_id: str) -> bool:
        """Remove a job that has ended or waits no longer. Returns whether it had a slot."""
        self.waiting.pop(job_id, None)
        return self.slots.pop(job_id, None) is not None

    def _next_start(self, tenant: str) -> float:
        return max(self.virtual_now, self.tags.get(tenant, 0.0))
