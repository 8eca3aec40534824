"""Batches that are admitted in parts over a real Redis, by processes that die between two parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from core.batches import Batch
from core.errors import StoreTimeout, StoreUnavailable
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.money import MicroUsd
from core.store import keys
from core.store.batches import BatchStore
from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.tenants.api_keys import ApiKey
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import (
    Admission,
    BatchAdmission,
    CacheRequest,
    IdempotencyClaim,
)
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend, redis_backend
from tests.support.clock import FakeClock
from tests.support.consistency import find_inconsistencies
from tests.support.redis import pass_time
from tests.support.store_steps import admission_of, new_job

SHARING: Final = CacheRequest(CacheOption.USE)
PRICE: Final = MicroUsd(100)
LIMITS: Final = Limits(
    requests_per_minute=60, jobs_per_day=50, usd_per_day=MicroUsd(5_000), running=2, waiting=40
)
PART_ITEMS: Final = 2
SCRIPTS: Final = load_scripts()
OUTPUT: Final = b'{"video":"https://media.test/1.mp4"}'
LONG: Final = timedelta(minutes=5)


class DyingScripts(LuaScripts):
    """Runs a number of scripts, and then is gone."""

    def __init__(
        self, wire: RedisClient, calls: int, error: type[StoreUnavailable] = StoreTimeout
    ) -> None:
        """Run `calls` scripts."""
        super().__init__(wire, SCRIPTS)
        self.left = calls
        self._error = error

    async def call(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        replicated: bool = False,
    ) -> Any:  # noqa: ANN401 - Redis answers in many types
        """Raise `error` instead of any further call."""
        if self.left == 0:
            raise self._error("gone", retry_after=timedelta(seconds=1))
        self.left -= 1
        return await super().call(name, keys, arguments, replicated=replicated)


@dataclass(frozen=True, slots=True)
class BatchHarness:
    """The stores, and batches of a process that dies after a number of scripts."""

    backend: StoreBackend
    wire: RedisClient

    def dying(self, calls: int, error: type[StoreUnavailable] = StoreTimeout) -> BatchStore:
        scripts = DyingScripts(self.wire, calls, error)
        return BatchStore(self.wire, scripts, self.backend.clock, max_part_items=PART_ITEMS)

    def job(self, name: str, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        now = self.backend.clock.now()
        plain = replace(new_job(now, f"req_{name}"), fingerprint=f"1:{name}", next_run_at=None)
        return replace(plain, **{"estimate": PRICE, **changes})

    def batch(self, *admissions: Admission, **changes: Any) -> BatchAdmission:  # noqa: ANN401 - fields of the record
        key = changes.pop("idempotency", None)
        size = len(admissions)
        record = replace(Batch("bat_1", "ada", self.backend.clock.now(), size), **changes)
        placed = tuple(replace(one, job=replace(one.job, batch=record.id)) for one in admissions)
        claim = IdempotencyClaim(key, "b1:x") if key else None
        return BatchAdmission(record, placed, {}, claim)

    def mixed_batch(self, **changes: Any) -> BatchAdmission:  # noqa: ANN401 - fields of the record
        """Items of every kind: plain, cached, identical, held, dear."""
        later = self.backend.clock.now() + timedelta(hours=1)
        jobs = [
            self.job("a"),
            self.job("same", model_id="flux"),
            self.job("b", model_id="flux", reference="x"),
            self.job("same2", fingerprint="1:same", model_id="flux", priority=0),
            self.job("held", not_before=later),
            self.job("known", fingerprint="1:known"),
            self.job("free", estimate=MicroUsd(0)),
            self.job("last"),
        ]
        sharing = {"req_same", "req_same2", "req_known"}
        return self.batch(
            *(
                replace(admission_of(job), cache=SHARING)
                if job.id in sharing
                else admission_of(job)
                for job in jobs
            ),
            **changes,
        )

    async def set_limits(self, limits: Limits) -> None:
        before = await self.backend.tenants.load("ada")
        assert before is not None
        after = replace(before, limits=limits, version=before.version + 1)
        assert await self.backend.tenants.change(before, after)

    async def inconsistencies(self) -> list[str]:
        found = await find_inconsistencies(self.wire)
        for name in await self.wire.execute("KEYS", keys.stored_bytes("*")):
            flat = await self.wire.execute("HGETALL", name)
            held = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
            if held.pop(b"@total", 0) != sum(held.values()):
                found.append(f"stored bytes of {name} are counted wrongly")
        for_tenant = await self.wire.execute("HGET", keys.WAITING_FOR, "tenant:ada")
        waiting = await self.wire.execute("ZCARD", keys.waiting_jobs("not_before"))
        if int(for_tenant or 0) != waiting:
            found.append(f"{for_tenant} of ada wait, and are {waiting}")
        return found

    async def finish(self) -> None:
        """What a worker does once nobody has written for a while."""
        await pass_time(self.wire, self.backend.clock, LONG)
        for batch_id in await self.backend.batches.claim_unwritten(10):
            await self.backend.batches.write_rest(batch_id)

    async def claim(self, job_id: str) -> bool:
        """Claim a job for its submit, as a worker does that dies then."""
        record, now = await self.backend.jobs.load(job_id), self.backend.clock.now()
        assert record is not None
        after = record.job.transition(Trigger.CLAIMED, now, next_run_at=now + LONG)
        return await self.backend.jobs.store(Change(record.job, after)) is WriteResult.STORED

    async def put_in_cache(self, name: str) -> None:
        """Run the input of this name to its success."""
        job = self.job(f"first_{name}", fingerprint=f"1:{name}")
        await self.backend.jobs.admit(replace(admission_of(job), cache=SHARING))
        await self.end(job, Trigger.FINISHED, Trigger.COLLECTED)

    async def end(self, job: Job, *facts: Trigger) -> None:
        """Run the job, which has a slot; its end is free if it fails."""
        record = await self.backend.jobs.load(job.id)
        assert record is not None
        before, now = record.job, self.backend.clock.now()
        for fact in (Trigger.CLAIMED, Trigger.ACCEPTED, *facts):
            after = before.transition(fact, now, next_run_at=now)
            output = None
            if after.is_final:
                succeeded = after.state is JobState.SUCCEEDED
                output = OUTPUT if succeeded else None
                after = before.transition(
                    fact,
                    now,
                    next_run_at=None,
                    finished_at=now,
                    cost=PRICE if succeeded else MicroUsd(0),
                    billed=BillingStatus.YES if succeeded else BillingStatus.NO,
                )
            change = Change(before, after, output=output)
            assert await self.backend.jobs.store(change) is WriteResult.STORED
            before = after


async def open_batches(wire: RedisClient) -> BatchHarness:
    """Stores with one tenant, over the empty Redis behind `wire`."""
    backend = redis_backend(FakeClock(), wire, PART_ITEMS)
    now = backend.clock.now()
    tenant = Tenant("ada", now, limits=LIMITS)
    assert await backend.tenants.create(tenant, ApiKey("digest-ada", "ada", now))
    return BatchHarness(backend, wire)
