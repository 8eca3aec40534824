"""Identical requests in plain Python: the specification of `lib/dedup_index.lua`."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from core.clock import to_ms
from core.jobs.job import Job
from core.money import MicroUsd
from core.tenants.cache_policy import CacheMode, CacheOption, CacheStatus, TenantCachePolicy
from core.transactions.admission import Admission, CacheRequest

SHARED_SCOPE: Final = "@shared"


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A cached success; instants in milliseconds."""

    source: str
    output: bytes
    cost: MicroUsd | None
    expires_at: int


@dataclass(slots=True)
class DedupEntry:
    """One canonical input within one scope."""

    leader: str | None = None
    held_until: int = 0
    """Until when the leader is held."""
    cached: CachedResult | None = None


@dataclass(frozen=True, slots=True)
class DedupKey:
    """The input of a job that leads or follows, and the lifetime of its cached result."""

    scope_and_fingerprint: tuple[str, str]
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class CacheDecision:
    """The cache lookup of a submit: its status, the job or result that serves it, its retention."""

    status: CacheStatus
    source: str | None = None
    cached: CachedResult | None = None
    dedup_key: DedupKey | None = None

    @property
    def is_paid(self) -> bool:
        """Whether the submit becomes a paid job."""
        return self.status in {CacheStatus.MISS, CacheStatus.BYPASS}


@dataclass(slots=True)
class CoalescingState:
    """Leaders, followers and cached results. Jobs are known by id alone."""

    entries: dict[tuple[str, str], DedupEntry] = field(default_factory=dict)
    dedup_keys: dict[str, DedupKey] = field(default_factory=dict)
    leaders: dict[str, str] = field(default_factory=dict)
    """The current leader by follower."""
    followers: dict[str, dict[str, float]] = field(default_factory=dict)

    def decide(self, admission: Admission, policy: TenantCachePolicy, now: int) -> CacheDecision:
        """Look an input up for a submit."""
        job, request = admission.job, admission.cache
        mode = request.requested or policy.cache or request.mode
        if mode in {CacheOption.OFF, CacheMode.OFF}:
            return CacheDecision(CacheStatus.BYPASS)
        part = _dedup_key(job, request, policy)
        once = self.entries.get(part.scope_and_fingerprint, DedupEntry())
        if once.cached is not None and once.cached.expires_at > now and mode != CacheOption.REFRESH:
            return CacheDecision(CacheStatus.HIT, once.cached.source, once.cached)
        own_hold = 0 if job.not_before is None else to_ms(job.not_before)
        if once.leader is not None and max(own_hold, now) >= once.held_until:
            return CacheDecision(CacheStatus.COLLAPSED, once.leader, dedup_key=part)
        return CacheDecision(CacheStatus.MISS, dedup_key=part)

    def lead(self, job_id: str, part: DedupKey, held_until: int = 0) -> None:
        """Add a paid job: identical requests may join it."""
        self.dedup_keys[job_id] = part
        entry = self.entries.setdefault(part.scope_and_fingerprint, DedupEntry())
        entry.leader, entry.held_until = job_id, held_until

    def follow(self, job: Job, leader: str, part: DedupKey) -> None:
        """Add a job that shares the work of `leader`."""
        self.dedup_keys[job.id] = part
        self.leaders[job.id] = leader
        until = float("inf") if job.deadline is None else to_ms(job.deadline)
        self.followers.setdefault(leader, {})[job.id] = until

    def followers_of(self, leader: str) -> dict[str, float]:
        """The followers of the job."""
        return self.followers.get(leader, {})

    def unfollow(self, job_id: str) -> None:
        """Remove a follower that has ended."""
        self.followers_of(self.leaders[job_id]).pop(job_id, None)

    def stop_leading(self, job_id: str, now: int) -> None:
        """Remove a leader, and an expired result with it: later requests do not join."""
        once = self.entries[self.dedup_keys[job_id].scope_and_fingerprint]
        if once.leader == job_id:
            once.leader = None
            if once.cached is not None and once.cached.expires_at <= now:
                once.cached = None

    def forget_result(self, job_id: str) -> None:
        """Remove a deleted job's cached result."""
        part = self.dedup_keys.get(job_id)
        once = self.entries.get(part.scope_and_fingerprint) if part is not None else None
        if once is not None and once.cached is not None and once.cached.source == job_id:
            once.cached = None

    def take_over(self, leader: str, successor: str) -> None:
        """Make `successor` the leader in place of `leader`."""
        del self.leaders[successor]
        self.followers_of(leader).pop(successor, None)
        self.reassign_followers(leader, successor)
        entry = self.entries[self.dedup_keys[successor].scope_and_fingerprint]
        entry.leader, entry.held_until = successor, 0

    def reassign_followers(self, leader: str, other: str) -> None:
        """Move the followers of `leader` to `other`."""
        moving = self.followers.pop(leader, {})
        self.followers.setdefault(other, {}).update(moving)
        self.leaders.update(dict.fromkeys(moving, other))


def _dedup_key(job: Job, request: CacheRequest, policy: TenantCachePolicy) -> DedupKey:
    scope = SHARED_SCOPE if policy.shared else job.tenant
    return DedupKey((scope, job.fingerprint), policy.lifetime or request.lifetime)
