"""Identical requests, as a specification: what `lib/once.lua` does with hashes, in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from core.clock import to_ms
from core.tenants.cache_policy import CacheMode, CacheOption, Reuse, ReusePolicy

if TYPE_CHECKING:
    from datetime import timedelta

    from core.jobs.job import Job
    from core.money import MicroUsd
    from core.transactions.admission import Admission, ReuseRequest

SHARED_SCOPE: Final = "@shared"


@dataclass(frozen=True, slots=True)
class Kept:
    """A success that may be reused until an instant in milliseconds."""

    source: str
    output: bytes
    worth: MicroUsd | None
    until: int


@dataclass(slots=True)
class Once:
    """One canonical input within one scope."""

    leader: str | None = None
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a job that is paid for, or follows, has to do with others: its input, its lifetime."""

    once: tuple[str, str]
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a submit, whose job or result serves it, and what is kept of it after."""

    reuse: Reuse
    source: str | None = None
    kept: Kept | None = None
    part: Part | None = None

    @property
    def paid(self) -> bool:
        """Whether it becomes a paid job."""
        return self.reuse in {Reuse.MISS, Reuse.OFF}


@dataclass(slots=True)
class Flights:
    """Who leads, who follows whom, and what is kept. Jobs are known by id alone."""

    inputs: dict[tuple[str, str], Once] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    leaders: dict[str, str] = field(default_factory=dict)
    """Of each follower, the job that it follows now."""
    followers: dict[str, dict[str, float]] = field(default_factory=dict)

    def fate(self, admission: Admission, policy: ReusePolicy, now: int) -> Fate:
        """What the submit meets."""
        job, request = admission.job, admission.reuse
        mode = request.asked or policy.cache or request.usual.mode
        if mode in {CacheOption.OFF, CacheMode.OFF}:
            return Fate(Reuse.OFF)
        part = _part(job, request, policy)
        once = self.inputs.get(part.once, Once())
        if once.kept is not None and once.kept.until > now and mode != CacheOption.REFRESH:
            return Fate(Reuse.HIT, once.kept.source, once.kept)
        if once.leader is not None:
            return Fate(Reuse.JOINED, once.leader, part=part)
        return Fate(Reuse.MISS, part=part)

    def lead(self, job_id: str, part: Part) -> None:
        """A paid job: identical ones may join it."""
        self.parts[job_id] = part
        self.inputs.setdefault(part.once, Once()).leader = job_id

    def follow(self, job: Job, leader: str, part: Part) -> None:
        """A job that shares `leader`'s work."""
        self.parts[job.id] = part
        self.leaders[job.id] = leader
        until = float("inf") if job.finish_by is None else to_ms(job.finish_by)
        self.followers.setdefault(leader, {})[job.id] = until

    def followed(self, leader: str) -> dict[str, float]:
        """Who follows this very job."""
        return self.followers.get(leader, {})

    def unfollow(self, job_id: str) -> None:
        """A follower ends."""
        self.followed(self.leaders[job_id]).pop(job_id, None)

    def stop_leading(self, job_id: str, now: int) -> None:
        """Nobody joins it any more. A result that has had its time goes with it."""
        once = self.inputs[self.parts[job_id].once]
        if once.leader == job_id:
            once.leader = None
            if once.kept is not None and once.kept.until <= now:
                once.kept = None

    def succeed(self, leader: str, heir: str) -> None:
        """`heir` leads in the place of `leader`."""
        del self.leaders[heir]
        self.followed(leader).pop(heir, None)
        self.join(leader, heir)
        self.inputs[self.parts[heir].once].leader = heir

    def join(self, leader: str, other: str) -> None:
        """Who followed `leader` follows `other` from now on."""
        moving = self.followers.pop(leader, {})
        self.followers.setdefault(other, {}).update(moving)
        self.leaders.update(dict.fromkeys(moving, other))


def _part(job: Job, request: ReuseRequest, policy: ReusePolicy) -> Part:
    scope = SHARED_SCOPE if policy.shared else job.tenant
    return Part((scope, job.fingerprint), policy.lifetime or request.usual.lifetime)
