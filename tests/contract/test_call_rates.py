"""Calls that are no submits have a rate of their own; those that cause many events a lower one."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from core.errors import LimitReached
from core.jobs.query import JobQuery
from core.quotas import CallRate, QuotaPolicy
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope, api_key_digest
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import Limits
from core.transactions.admission import IdempotencyClaim
from tests.support.store_harness import StoreHarness

APE: Final = Credential("ape", api_key_digest("ape"))
MINUTE: Final = timedelta(minutes=1)


async def _call(harness: StoreHarness, rate: CallRate | None = CallRate.CALLS) -> None:
    await harness.jobs.authenticate(APE, Scope.WEBHOOKS, rate=rate)


async def test_the_third_call_of_two_a_minute_is_refused_until_one_is_refilled(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=2))
    job = await harness.submit("ape")
    await _call(harness)
    await harness.jobs.read(APE, job.id, Projection.STATUS)
    with pytest.raises(LimitReached) as refused:
        await harness.jobs.read(APE, job.id, Projection.STATUS)
    assert (refused.value.policy, refused.value.retry_after) == (QuotaPolicy.CALLS, MINUTE / 2)
    harness.clock.move(MINUTE / 2)
    await harness.jobs.read(APE, job.id, Projection.STATUS)
    with pytest.raises(LimitReached):
        await _call(harness)


async def test_submits_use_up_no_calls_but_dry_runs_do(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=1))
    for _ in range(3):
        await harness.submit("ape")
    await harness.admit(harness.job("ape"), dry_run=True)
    with pytest.raises(LimitReached) as refused:
        await harness.admit(harness.job("ape"), dry_run=True)
    assert refused.value.policy == QuotaPolicy.CALLS
    await harness.submit("ape")


async def test_a_repeated_idempotency_key_is_a_call(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=3))
    job, claim = harness.job("ape"), IdempotencyClaim("k", "1:f")
    await harness.admit(job, idempotency=claim)
    for _ in range(2):
        again = await harness.admit(harness.job("ape"), idempotency=claim)
        assert again.cache_status is CacheStatus.REPLAYED
    assert await harness.jobs.find_replay(APE, claim) is not None
    for other in (claim, replace(claim, fingerprint="1:g")):
        with pytest.raises(LimitReached) as refused:
            await harness.admit(harness.job("ape"), idempotency=other)
        assert refused.value.policy == QuotaPolicy.CALLS
        with pytest.raises(LimitReached):
            await harness.jobs.find_replay(APE, other)
    await harness.admit(harness.job("ape"), idempotency=replace(claim, digest="new"))
    assert await harness.jobs.find_replay(APE, replace(claim, digest="newer")) is None
    harness.clock.move(MINUTE / 3)
    assert await harness.jobs.find_replay(APE, claim) is not None


async def test_a_repeated_dry_run_counts_once(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=2))
    claim = IdempotencyClaim("k", "1:f")
    await harness.admit(harness.job("ape"), idempotency=claim)
    for _ in range(2):
        await harness.admit(harness.job("ape"), idempotency=claim, dry_run=True)
    with pytest.raises(LimitReached):
        await harness.admit(harness.job("ape"), idempotency=claim, dry_run=True)


async def test_what_causes_many_events_has_a_lower_rate(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(webhook_actions_per_minute=3))
    for _ in range(3):
        await _call(harness, rate=CallRate.WEBHOOK_ACTIONS)
    with pytest.raises(LimitReached) as refused:
        await _call(harness, rate=CallRate.WEBHOOK_ACTIONS)
    assert refused.value.policy == QuotaPolicy.WEBHOOK_ACTIONS
    await _call(harness)


async def test_what_an_open_page_reads_by_itself_uses_up_no_call(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=1))
    job, uncounted = await harness.submit("ape"), replace(APE, is_counted=False)
    for _ in range(3):
        await harness.jobs.authenticate(uncounted, Scope.READ)
        await harness.jobs.read(uncounted, job.id, Projection.STATUS)
        await harness.job_index.list_page(uncounted, JobQuery())
    await _call(harness)
    for read in (
        harness.jobs.read(APE, job.id, Projection.STATUS),
        harness.job_index.list_page(APE, JobQuery()),
    ):
        with pytest.raises(LimitReached):
            await read


async def test_another_tenants_calls_do_not_count(harness: StoreHarness) -> None:
    for name in ("ape", "bee"):
        await harness.tenant(name, Limits(calls_per_minute=1))
    await harness.jobs.authenticate(Credential("bee", api_key_digest("bee")), Scope.READ)
    await _call(harness)


async def test_a_key_that_is_refused_uses_up_no_call(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(calls_per_minute=1))
    with pytest.raises(Exception, match="key"):
        await harness.jobs.authenticate(Credential("ape", api_key_digest("no")), Scope.READ)
    await _call(harness)


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (Limits(), None),
        (Limits(calls_per_minute=5), 5),
        (Limits(requests_per_minute=1), 600),
        (Limits(requests_per_minute=100), 6000),
        (Limits(requests_per_minute=100, calls_per_minute=7), 7),
    ],
)
def test_a_tenant_with_a_rate_of_submits_has_a_rate_of_calls(
    limits: Limits, calls: int | None
) -> None:
    assert limits.effective_calls_per_minute == calls
