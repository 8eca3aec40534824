"""The in-memory stores and the scripts in Redis agree after any sequence of calls."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core.billing.balance import AccountBalance
from core.jobs.job import BillingStatus, FollowUp, Job, JobState
from core.money import MicroUsd
from core.operators.pauses import Pause
from core.store.client import RedisClient
from core.store.identity import StorePosition
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.admission import IdempotencyClaim
from core.transactions.job_update import Change
from tests.contract.lockstep import LockstepHarness
from tests.contract.strategies import (
    MODELS,
    TENANTS,
    amounts,
    cache_policies,
    fingerprints,
    global_limits,
    limits,
    loose_limits,
    models,
    pauses,
    requests,
    tenants,
)
from tests.support import queue_state
from tests.support.clock import FakeClock
from tests.support.coalescing import EXPIRE_LEADER, OUTPUT, CoalescingHarness
from tests.support.redis import redis_client
from tests.support.store_harness import StoreHarness, memory_harness, redis_harness

Act = Callable[[StoreHarness], Awaitable[Any]]


NEAR_MIDNIGHT: Final = datetime(2026, 3, 30, 23, 59, 59, 999_000, tzinfo=UTC)
MAX_RUN_TIME: Final = timedelta(days=6)
"""Below the retention of finished jobs: Redis's own clock, which expires them, does not move."""


class StoreStateMachine(RuleBasedStateMachine):
    """Random calls. Hypothesis makes a machine for each example; all share a loop and a Redis."""

    jobs = Bundle("jobs")
    runner: ClassVar[asyncio.Runner]
    wire: ClassVar[RedisClient]

    def __init__(self) -> None:
        super().__init__()
        clock = FakeClock(NEAR_MIDNIGHT)
        spec, stores = memory_harness(clock)
        self.runner.run(self.wire.execute("FLUSHALL"))
        self.pair = LockstepHarness(
            self.runner, clock, stores.memory, spec, redis_harness(self.wire, clock)
        )
        self.pair.run_both(lambda gateway: gateway.identity.create(StorePosition("store")))
        self.passed = timedelta()
        self.decided: list[Change] = []

    @initialize(
        given=st.tuples(*(loose_limits for _ in TENANTS)),
        shared=st.tuples(*(cache_policies for _ in TENANTS)),
        slots=st.none() | st.integers(1, 3),
    )
    def meet(
        self, given: tuple[Limits, ...], shared: tuple[TenantCachePolicy, ...], slots: int | None
    ) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.set_limits(GlobalLimits(running=slots)))
        for name, own, reuse in zip(TENANTS, given, shared, strict=True):
            self._meet(name, own, reuse)

    def _meet(self, name: str, own: Limits, reuse: TenantCachePolicy) -> None:
        self.pair.run_both(lambda gateway: gateway.tenant(name, own, reuse))

    @rule(
        target=jobs,
        tenant=tenants,
        model=models,
        priority=st.sampled_from(Priority),
        price=st.none() | amounts,
        within=st.none() | st.integers(0, 100).map(lambda s: timedelta(seconds=s)),
        times=st.integers(1, 6),
    )
    def submit(
        self,
        tenant: str,
        model: str,
        priority: Priority,
        price: MicroUsd | None,
        within: timedelta | None,
        times: int,
    ) -> Any:  # noqa: ANN401 - Hypothesis' own
        admitted = []
        for _ in range(times):
            job = self.pair.fake.job(
                tenant,
                model,
                priority=int(priority),
                estimate=price,
                deadline=None if within is None else self.pair.clock.now() + within,
            )
            if self._admit(job):
                admitted.append(job.id)
        return multiple(*admitted)

    def _admit(self, job: Job, **more: Any) -> bool:  # noqa: ANN401 - fields of the admission
        self.pair.run_both(lambda gateway: gateway.admit(job, **more))
        return self.pair.memory.job(job.id) is not None

    @rule(
        target=jobs,
        tenant=tenants,
        model=st.sampled_from(MODELS[:2]),
        fingerprint=fingerprints,
        cache=requests,
        key=st.sampled_from((None, None, None, "k", "l")),
        priority=st.sampled_from(Priority),
        price=st.none() | amounts,
        within=st.none() | st.integers(0, 100).map(lambda s: timedelta(seconds=s)),
        dry_run=st.sampled_from((False, False, False, True)),
        times=st.integers(1, 3),
    )
    def ask_the_same(
        self,
        *,
        tenant: str,
        model: str,
        fingerprint: str,
        priority: Priority,
        price: MicroUsd | None,
        within: timedelta | None,
        times: int,
        **more: Any,  # noqa: ANN401 - fields of the admission
    ) -> Any:  # noqa: ANN401 - Hypothesis' own
        key, identity = more.pop("key"), f"{fingerprint}:{model}"
        more["idempotency"] = IdempotencyClaim(key, identity) if key else None
        admitted = []
        for _ in range(times):
            job = self.pair.fake.job(
                tenant,
                model,
                fingerprint=identity,
                priority=int(priority),
                estimate=price,
                deadline=None if within is None else self.pair.clock.now() + within,
            )
            if self._admit(job, **more):
                admitted.append(job.id)
        return multiple(*admitted)

    @rule(tenant=tenants, reuse=cache_policies)
    def share_otherwise(self, tenant: str, reuse: TenantCachePolicy) -> None:
        self.pair.run_both(lambda gateway: gateway.set_cache_policy(tenant, reuse))

    @rule(job=jobs, promote=st.booleans())
    def look(self, job: str, *, promote: bool) -> None:
        held = self._record(job)
        if held.state is JobState.FOLLOWING:
            self.pair.run_both(
                lambda gateway: CoalescingHarness(gateway).step_follower(held, promote=promote)
            )

    @rule(promote=st.booleans())
    def look_all(self, *, promote: bool) -> None:
        for name in list(self.pair.memory.coalescing.leaders):
            self.look(name, promote=promote)

    @rule(job=jobs, promote=st.booleans())
    def decide_only(self, job: str, *, promote: bool) -> None:
        held = self._record(job)
        if held.state is JobState.FOLLOWING:
            change = self.pair.run_both(
                lambda gateway: CoalescingHarness(gateway).decide(held, promote=promote)
            )
            if change is not None:
                self.decided.append(change)

    @precondition(lambda self: self.decided)
    @rule()
    def carry_out_late(self) -> None:
        change = self.decided.pop(0)
        self.pair.run_both(lambda gateway: gateway.jobs.store(change))

    @rule(job=jobs, running=st.booleans())
    def accept(self, job: str, *, running: bool) -> None:
        if self._record(job).state is JobState.SUBMITTING:
            self.pair.run_both(
                lambda gateway: gateway.update(
                    job, JobState.RUNNING, upstream_id=f"up-{job}", upstream_running=running
                )
            )

    @rule(job=jobs)
    def start_and_accept(self, job: str) -> None:
        self.start(job)
        self.accept(job, running=True)

    @rule(job=jobs)
    def ask_to_cancel(self, job: str) -> None:
        held = self._record(job)
        if held.state in {JobState.RUNNING, JobState.QUEUED, JobState.FOLLOWING}:
            self.pair.run_both(lambda gateway: CoalescingHarness(gateway).cancel(held))

    @rule(job=jobs, expired=st.booleans())
    def hand_on(self, job: str, *, expired: bool) -> None:
        held = self._record(job)
        if held.state is JobState.RUNNING and self.pair.memory.coalescing.followers_of(job):
            how = (EXPIRE_LEADER,) if expired else ()
            self.pair.run_both(lambda gateway: CoalescingHarness(gateway).hand_over(held, *how))

    @rule(job=jobs)
    def notify(self, job: str) -> None:
        held = self._record(job)
        if held.follow_up is FollowUp.NOTIFY:
            self.pair.run_both(lambda gateway: CoalescingHarness(gateway).notify(held))

    @rule(job=jobs)
    def start(self, job: str) -> None:
        if self._record(job).state is JobState.QUEUED:
            self.pair.run_both(lambda gateway: gateway.start(job))

    @rule(job=jobs, cost=st.none() | amounts)
    def succeed(self, job: str, cost: int | None) -> None:
        if not self._record(job).is_final:
            self.pair.run_both(lambda gateway: gateway.succeed(job, cost, OUTPUT))

    @rule(ends=st.lists(st.tuples(st.integers(0, 9), amounts), min_size=1, max_size=4))
    def end_some_that_run(self, ends: list[tuple[int, MicroUsd]]) -> None:
        for place, cost in ends:
            running = sorted(self.pair.memory.fair_queue.slots)
            if running:
                self.succeed(running[place % len(running)], cost)

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        if not self._record(job).is_final:
            self.pair.run_both(lambda gateway: gateway.cancel(job))

    @rule(job=jobs, billed=st.sampled_from(BillingStatus))
    def fail(self, job: str, billed: BillingStatus) -> None:
        if not self._record(job).is_final:
            self.pair.run_both(
                lambda gateway: gateway.update(job, JobState.FAILED, billed=billed, follow_up=None)
            )

    @rule(job=jobs)
    def doubt(self, job: str) -> None:
        if self._record(job).state is JobState.SUBMITTING:
            self.pair.run_both(lambda gateway: gateway.update(job, JobState.IN_DOUBT))

    @rule(job=jobs, cost=st.none() | amounts)
    def learn_late(self, job: str, cost: MicroUsd | None) -> None:
        record = self._record(job)
        if record.is_final and record.follow_up is FollowUp.READ_COST:
            self.pair.run_both(
                lambda gateway: gateway.update(job, record.state, cost=cost, follow_up=None)
            )

    @rule(job=jobs)
    def store_over_a_newer_version(self, job: str) -> None:
        held = self._record(job)
        old = held.evolve(self.pair.clock.now(), state=JobState.SUBMITTING)
        self.pair.run_both(lambda gateway: gateway.jobs.store(Change(old, old)))

    @rule(lease=st.integers(1, 60).map(lambda s: timedelta(seconds=s)), most=st.integers(1, 4))
    def claim_due(self, lease: timedelta, most: int) -> None:
        self.pair.run_both(lambda gateway: gateway.jobs.claim_due(lease, most))

    @rule(tenant=tenants, given=limits)
    def limit_tenant(self, tenant: str, given: Limits) -> None:
        self.pair.run_both(lambda gateway: gateway.set_limits(tenant, given))

    @rule(tenant=st.just("cow"))
    def delete(self, tenant: str) -> None:
        self.pair.run_both(lambda gateway: gateway.delete_tenant(tenant))

    @rule(given=global_limits)
    def limit_all(self, given: GlobalLimits) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.set_limits(given))
        self.pair.run_both(lambda gateway: gateway.admin.load_limits())

    @rule(given=pauses)
    def pause(self, given: Pause) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.pause(given))
        self.pair.run_both(lambda gateway: gateway.admin.list_pauses())

    @rule(given=pauses)
    def resume(self, given: Pause) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.resume(given))

    @rule()
    def dispatch(self) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.dispatch())

    @rule(balance=st.none() | amounts, floor=st.none() | amounts)
    def wallet(self, balance: MicroUsd | None, floor: MicroUsd | None) -> None:
        self.pair.run_both(lambda gateway: gateway.admin.store_balance(AccountBalance(balance)))
        self.pair.run_both(lambda gateway: gateway.admin.set_minimum_balance(floor))
        self.pair.run_both(lambda gateway: gateway.admin.load_balance())

    @rule()
    def take_submit(self) -> None:
        self.pair.run_both(lambda gateway: gateway.circuit_breakers.take_submit_token())

    @rule(seconds=st.sampled_from((-3600, -1, 0.001, 1, 20, 61, 3600, 86_400)))
    def pass_time(self, seconds: float) -> None:
        span = timedelta(seconds=seconds)
        if self.passed + span <= MAX_RUN_TIME:
            self.passed += span
            self.pair.clock.shift(span)

    @invariant()
    def hold_the_same(self) -> None:
        seen = self.runner.run(queue_state.read_redis(self.wire))
        assert seen == queue_state.read_memory(self.pair.memory)

    @invariant()
    def count_the_same(self) -> None:
        for name in TENANTS:
            self._count(name)

    def _count(self, name: str) -> None:
        self.pair.run_both(lambda gateway: gateway.usage_of(name))

    def _record(self, job_id: str) -> Job:
        record = self.runner.run(self.pair.fake.jobs.load(job_id))
        assert record is not None
        return record.job


@pytest.mark.timeout(1200)  # 2,000 steps on Redis
def test_memory_and_redis_never_differ(redis_flushed: str) -> None:
    with asyncio.Runner() as runner:
        wire = redis_client(redis_flushed)
        try:
            run_state_machine_as_test(
                type("MachineHere", (StoreStateMachine,), {"runner": runner, "wire": wire}),
                settings=settings(
                    max_examples=50,
                    stateful_step_count=40,
                    deadline=None,
                    # A failure is short enough to read, and shrinking takes minutes on real Redis.
                    phases=(Phase.explicit, Phase.reuse, Phase.generate),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(wire.__aexit__())
