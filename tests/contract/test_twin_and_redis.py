"""Whatever is done, the plain Python specification and the scripts in Redis agree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

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

from core.changes import Change, ReuseRequest
from core.controls import Pause, Wallet
from core.errors import CallerError, LimitReached
from core.jobs import Billed, Errand, Job, JobState
from core.limits import GlobalLimits, Limits, Priority, UnknownPrice
from core.money import MicroUsd
from core.reuse import CacheMode, CacheOption, ReusePolicy
from tests.contract import observed
from tests.contract.flight import EXPIRED, OUTPUT, Flight
from tests.contract.gateway import Gateway, HandClock, in_memory, in_redis, wire_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from core.store.connection import Wire
    from tests.fakes.memory import Memory
    from worker.decisions.moves import Move

    Act = Callable[[Gateway], Awaitable[Any]]

NEAR_MIDNIGHT: Final = datetime(2026, 3, 30, 23, 59, 59, 999_000, tzinfo=UTC)
TENANTS: Final = ("ape", "bee", "cow")
MODELS: Final = ("kling/fast", "kling/slow", "flux/dev")
LONGEST_RUN: Final = timedelta(days=6)
"""Less than finished jobs are kept: Redis' own clock, which expires them, stands still here."""

tenants = st.sampled_from(TENANTS)
models = st.sampled_from(MODELS)
few = st.none() | st.integers(0, 4)
money = st.integers(0, 6).map(MicroUsd)
budget = st.none() | st.integers(0, 20).map(MicroUsd)
limits = st.builds(
    Limits,
    # So slow that what Redis forgets of them by its own clock is long past by ours.
    requests_per_minute=st.sampled_from((None, None, 0, 1, 2, 6)),
    burst=st.none() | st.integers(1, 8),
    running=few,
    waiting=few,
    jobs_per_day=st.none() | st.integers(0, 12),
    jobs_per_month=st.none() | st.integers(0, 20),
    usd_per_request=budget,
    usd_per_day=budget,
    usd_per_month=budget,
    weight=st.sampled_from((0.3, 1.0, 2.0, 4.0, 7.0)),
    models=st.sampled_from(((), (), ("kling/*",), ("*/dev", "kling/fast"))),
    priority=st.sampled_from(Priority),
    unknown_price=st.sampled_from(UnknownPrice),
    unknown_price_counts=money,
)
loose = st.builds(
    Limits, running=st.none() | st.integers(1, 3), weight=st.sampled_from((0.3, 1.0, 2.0, 4.0))
)
global_limits = st.builds(
    GlobalLimits,
    running=few,
    submits_per_second=st.sampled_from((None, 0.01)),
    models=st.dictionaries(models, st.integers(0, 3)).map(lambda caps: tuple(sorted(caps.items()))),
)
requests = st.builds(ReuseRequest, asked=st.none() | st.sampled_from(CacheOption))
sharing = st.builds(
    ReusePolicy,
    cache=st.sampled_from((None, None, CacheMode.USE, CacheMode.OFF)),
    lifetime=st.sampled_from((None, None, timedelta(seconds=20), timedelta(hours=1))),
    shared=st.booleans(),
)
fingerprints = st.sampled_from(("1:f", "1:f", "1:g"))
pauses = st.just(Pause.everything()) | tenants.map(Pause.tenant) | models.map(Pause.model)


@dataclass(slots=True)
class Pair:
    """The two gateways, and the loop in which both live."""

    runner: asyncio.Runner
    clock: HandClock
    memory: Memory
    spec: Gateway
    real: Gateway

    def both(self, act: Act) -> Any:  # noqa: ANN401 - whatever the act gives
        """Do it in both; the answers have to be the same."""
        said, told = (self.runner.run(_outcome(act, gateway)) for gateway in (self.spec, self.real))
        assert told == said
        return said


async def _outcome(act: Act, gateway: Gateway) -> object:
    try:
        return await act(gateway)
    except LimitReached as error:
        wait = None if error.retry_after is None else error.retry_after // timedelta(milliseconds=1)
        return type(error), error.policy, wait, error.quotas
    except CallerError as error:
        return type(error), str(error)


class Machine(RuleBasedStateMachine):
    """Random acts. Hypothesis makes a machine for each example; all share a loop and a Redis."""

    jobs = Bundle("jobs")
    runner: ClassVar[asyncio.Runner]
    wire: ClassVar[Wire]

    def __init__(self) -> None:
        super().__init__()
        clock = HandClock(NEAR_MIDNIGHT)
        spec, stores = in_memory(clock)
        self.runner.run(self.wire.execute("FLUSHALL"))
        self.pair = Pair(self.runner, clock, stores.memory, spec, in_redis(self.wire, clock))
        self.passed = timedelta()
        self.decided: list[tuple[Job, Move]] = []

    @initialize(
        given=st.tuples(*(loose for _ in TENANTS)),
        shared=st.tuples(*(sharing for _ in TENANTS)),
        slots=st.none() | st.integers(1, 3),
    )
    def meet(
        self, given: tuple[Limits, ...], shared: tuple[ReusePolicy, ...], slots: int | None
    ) -> None:
        self.pair.both(lambda gateway: gateway.controls.set_limits(GlobalLimits(running=slots)))
        for name, own, reuse in zip(TENANTS, given, shared, strict=True):
            self._meet(name, own, reuse)

    def _meet(self, name: str, own: Limits, reuse: ReusePolicy) -> None:
        self.pair.both(lambda gateway: gateway.tenant(name, own, reuse))

    @rule(
        target=jobs,
        tenant=tenants,
        model=models,
        priority=st.sampled_from(Priority),
        price=st.none() | money,
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
            job = self.pair.spec.job(
                tenant,
                model,
                priority=int(priority),
                estimate=price,
                finish_by=None if within is None else self.pair.clock.now() + within,
            )
            if self._admit(job):
                admitted.append(job.id)
        return multiple(*admitted)

    def _admit(self, job: Job, **more: Any) -> bool:  # noqa: ANN401 - fields of the admission
        self.pair.both(lambda gateway: gateway.admit(job, **more))
        return self.pair.memory.job(job.id) is not None

    @rule(
        target=jobs,
        tenant=tenants,
        model=st.sampled_from(MODELS[:2]),
        fingerprint=fingerprints,
        reuse=requests,
        key=st.sampled_from((None, None, None, "k", "l")),
        priority=st.sampled_from(Priority),
        price=st.none() | money,
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
        more["idempotency"] = more.pop("key")
        admitted = []
        for _ in range(times):
            job = self.pair.spec.job(
                tenant,
                model,
                fingerprint=f"{fingerprint}:{model}",
                priority=int(priority),
                estimate=price,
                finish_by=None if within is None else self.pair.clock.now() + within,
            )
            if self._admit(job, **more):
                admitted.append(job.id)
        return multiple(*admitted)

    @rule(tenant=tenants, reuse=sharing)
    def share_otherwise(self, tenant: str, reuse: ReusePolicy) -> None:
        self.pair.both(lambda gateway: gateway.share(tenant, reuse))

    @rule(job=jobs, promote=st.booleans())
    def look(self, job: str, *, promote: bool) -> None:
        held = self._record(job)
        if held.state is JobState.FOLLOWING:
            self.pair.both(lambda gateway: Flight(gateway).look(held, promote=promote))

    @rule(promote=st.booleans())
    def look_all(self, *, promote: bool) -> None:
        for name in list(self.pair.memory.flights.leaders):
            self.look(name, promote=promote)

    @rule(job=jobs, promote=st.booleans())
    def decide_only(self, job: str, *, promote: bool) -> None:
        held = self._record(job)
        if held.state is JobState.FOLLOWING:
            _, move = self.pair.both(lambda gateway: Flight(gateway).decide(held, promote=promote))
            if move is not None:
                self.decided.append((held, move))

    @precondition(lambda self: self.decided)
    @rule()
    def carry_out_late(self) -> None:
        held, move = self.decided.pop(0)
        self.pair.both(lambda gateway: Flight(gateway).carry_out(held, move))

    @rule(job=jobs, running=st.booleans())
    def accept(self, job: str, *, running: bool) -> None:
        if self._record(job).state is JobState.SUBMITTING:
            self.pair.both(
                lambda gateway: gateway.move(
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
            self.pair.both(lambda gateway: Flight(gateway).cancel(held))

    @rule(job=jobs, expired=st.booleans())
    def hand_on(self, job: str, *, expired: bool) -> None:
        held = self._record(job)
        if held.state is JobState.RUNNING and self.pair.memory.flights.followed(job):
            how = (EXPIRED,) if expired else ()
            self.pair.both(lambda gateway: Flight(gateway).hand_on(held, *how))

    @rule(job=jobs)
    def notify(self, job: str) -> None:
        held = self._record(job)
        if held.errand is Errand.NOTIFY:
            self.pair.both(lambda gateway: Flight(gateway).notify(held))

    @rule(job=jobs)
    def start(self, job: str) -> None:
        if self._record(job).state is JobState.QUEUED:
            self.pair.both(lambda gateway: gateway.start(job))

    @rule(job=jobs, cost=st.none() | money)
    def succeed(self, job: str, cost: int | None) -> None:
        if not self._record(job).final:
            self.pair.both(lambda gateway: gateway.succeed(job, cost, OUTPUT))

    @rule(ends=st.lists(st.tuples(st.integers(0, 9), money), min_size=1, max_size=4))
    def end_some_that_run(self, ends: list[tuple[int, MicroUsd]]) -> None:
        for place, cost in ends:
            running = sorted(self.pair.memory.turns.slots)
            if running:
                self.succeed(running[place % len(running)], cost)

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        if not self._record(job).final:
            self.pair.both(lambda gateway: gateway.cancel(job))

    @rule(job=jobs, billed=st.sampled_from(Billed))
    def fail(self, job: str, billed: Billed) -> None:
        if not self._record(job).final:
            self.pair.both(
                lambda gateway: gateway.move(job, JobState.FAILED, billed=billed, errand=None)
            )

    @rule(job=jobs)
    def doubt(self, job: str) -> None:
        if self._record(job).state is JobState.SUBMITTING:
            self.pair.both(lambda gateway: gateway.move(job, JobState.IN_DOUBT))

    @rule(job=jobs, cost=st.none() | money)
    def learn_late(self, job: str, cost: MicroUsd | None) -> None:
        record = self._record(job)
        if record.final and record.errand is Errand.READ_COST:
            self.pair.both(lambda gateway: gateway.move(job, record.state, cost=cost, errand=None))

    @rule(job=jobs)
    def store_over_a_newer_version(self, job: str) -> None:
        held = self._record(job)
        old = held.noted(self.pair.clock.now(), state=JobState.SUBMITTING)
        self.pair.both(lambda gateway: gateway.jobs.store(Change(old, old)))

    @rule(lease=st.integers(1, 60).map(lambda s: timedelta(seconds=s)), most=st.integers(1, 4))
    def claim_due(self, lease: timedelta, most: int) -> None:
        self.pair.both(lambda gateway: gateway.jobs.claim_due(lease, most))

    @rule(tenant=tenants, given=limits)
    def limit_tenant(self, tenant: str, given: Limits) -> None:
        self.pair.both(lambda gateway: gateway.limit(tenant, given))

    @rule(tenant=st.just("cow"))
    def delete(self, tenant: str) -> None:
        self.pair.both(lambda gateway: gateway.delete(tenant))

    @rule(given=global_limits)
    def limit_all(self, given: GlobalLimits) -> None:
        self.pair.both(lambda gateway: gateway.controls.set_limits(given))
        self.pair.both(lambda gateway: gateway.controls.limits())

    @rule(given=pauses)
    def pause(self, given: Pause) -> None:
        self.pair.both(lambda gateway: gateway.controls.pause(given))
        self.pair.both(lambda gateway: gateway.controls.pauses())

    @rule(given=pauses)
    def resume(self, given: Pause) -> None:
        self.pair.both(lambda gateway: gateway.controls.resume(given))

    @rule()
    def dispatch(self) -> None:
        self.pair.both(lambda gateway: gateway.controls.dispatch())

    @rule(balance=st.none() | money, floor=st.none() | money)
    def wallet(self, balance: MicroUsd | None, floor: MicroUsd | None) -> None:
        self.pair.both(lambda gateway: gateway.controls.set_wallet(Wallet(balance)))
        self.pair.both(lambda gateway: gateway.controls.set_floor(floor))
        self.pair.both(lambda gateway: gateway.controls.wallet())

    @rule()
    def take_submit(self) -> None:
        self.pair.both(lambda gateway: gateway.breakers.take_submit())

    @rule(seconds=st.sampled_from((-3600, -1, 0.001, 1, 20, 61, 3600, 86_400)))
    def pass_time(self, seconds: float) -> None:
        span = timedelta(seconds=seconds)
        if self.passed + span <= LONGEST_RUN:
            self.passed += span
            self.pair.clock.jump(span)

    @invariant()
    def hold_the_same(self) -> None:
        seen = self.runner.run(observed.in_redis(self.wire))
        assert seen == observed.in_memory(self.pair.memory)

    @invariant()
    def count_the_same(self) -> None:
        for name in TENANTS:
            self._count(name)

    def _count(self, name: str) -> None:
        self.pair.both(lambda gateway: gateway.use(name))

    def _record(self, job_id: str) -> Job:
        record = self.runner.run(self.pair.spec.jobs.load(job_id))
        assert record is not None
        return record.job


@pytest.mark.timeout(300)
def test_the_twin_and_redis_never_differ(redis_flushed: str) -> None:
    with asyncio.Runner() as runner:
        wire = wire_to(redis_flushed)
        try:
            run_state_machine_as_test(
                type("MachineHere", (Machine,), {"runner": runner, "wire": wire}),
                settings=settings(
                    max_examples=50,
                    stateful_step_count=40,
                    deadline=None,
                    # A failure is short enough to read; to shrink it takes minutes on real Redis.
                    phases=(Phase.explicit, Phase.reuse, Phase.generate),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(wire.__aexit__())
