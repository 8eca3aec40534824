"""An API key may have addresses, models and a budget of its own."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from core.errors import BudgetReached, ModelNotAllowed, NotPermitted
from core.jobs.job import BillingStatus, Job, Trigger
from core.money import MicroUsd
from core.quotas import QuotaPolicy
from core.store.jobs import Projection
from core.tenants.api_keys import ApiKey, Credential, KeyLimits, Scope
from core.tenants.limits import Limits
from core.transactions.admission import CacheRequest
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import admission_of, apply_triggers, cancellation_change, new_job
from worker.jobs.decisions.follow_leader import decide_follow

KEY: Final = Credential("ada", "digest-limited")
OTHER_KEY: Final = Credential("ada", "digest-ada")
DAY: Final = timedelta(days=1)
DOLLAR: Final = MicroUsd(1_000_000)
TWO_DOLLARS: Final = MicroUsd(2_000_000)


async def add_key(backend: StoreBackend, **limits: Any) -> None:  # noqa: ANN401 - fields of the record
    key = ApiKey(KEY.digest, "ada", backend.clock.now(), limits=KeyLimits(**limits))
    assert await backend.tenants.add_key(key)


async def submit(
    backend: StoreBackend,
    job_id: str,
    credential: Credential = KEY,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Job:
    fields: dict[str, Any] = {"estimate": DOLLAR, "fingerprint": f"1:{job_id}"} | changes
    job = replace(new_job(backend.clock.now(), job_id), **fields)
    admission = replace(admission_of(job), credential=credential, cache=CacheRequest())
    await backend.jobs.admit(admission)
    return job


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8:1::5", True),
        ("2001:db8:2::5", False),
        ("", False),
        ("unix", False),
    ],
)
async def test_a_key_is_used_from_its_addresses_only(
    backend: StoreBackend, address: str, *, is_allowed: bool
) -> None:
    await add_key(backend, addresses=("10.1.0.0/16", "192.0.2.7", "2001:db8:1::/48"))
    caller = replace(KEY, address=address)
    if is_allowed:
        await backend.jobs.authenticate(caller, Scope.READ)
        job = await submit(backend, "req_1", caller)
        await backend.jobs.read(caller, job.id, Projection.STATUS)
        return
    with pytest.raises(NotPermitted):
        await backend.jobs.authenticate(caller, Scope.READ)
    with pytest.raises(NotPermitted):
        await submit(backend, "req_1", caller)


async def test_a_key_is_used_for_its_models_only(backend: StoreBackend) -> None:
    await add_key(backend, models=("flux/*",))
    await submit(backend, "req_1", model_id="flux/pro")
    with pytest.raises(ModelNotAllowed) as refused:
        await submit(backend, "req_2", model_id="kling/standard")
    assert refused.value.policy == QuotaPolicy.KEY_MODELS
    await submit(backend, "req_3", OTHER_KEY, model_id="kling/standard")


@pytest.mark.parametrize("window", ["day", "month"])
async def test_a_key_spends_its_budget_only(backend: StoreBackend, window: str) -> None:
    await add_key(backend, **{f"usd_per_{window}": TWO_DOLLARS})
    await submit(backend, "req_1")
    second = await submit(backend, "req_2")
    with pytest.raises(BudgetReached) as refused:
        await submit(backend, "req_3")
    assert refused.value.policy == f"key-usd-per-{window}"
    await submit(backend, "req_4", OTHER_KEY)
    # What is released can be spent again.
    change = cancellation_change(second, backend.clock.now())
    assert await backend.jobs.store(change) is WriteResult.STORED
    await submit(backend, "req_5")
    with pytest.raises(BudgetReached):
        await submit(backend, "req_6")


async def test_the_charge_counts_in_place_of_the_estimate(backend: StoreBackend) -> None:
    await add_key(backend, usd_per_day=TWO_DOLLARS)
    job = await submit(backend, "req_1")
    running = await apply_triggers(
        backend, job, Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED
    )
    now = backend.clock.now()
    ended = running.transition(
        Trigger.COLLECTED,
        now,
        next_run_at=None,
        finished_at=now,
        billed=BillingStatus.YES,
        cost=MicroUsd(DOLLAR // 4),
    )
    assert await backend.jobs.store(Change(running, ended)) is WriteResult.STORED
    await submit(backend, "req_2")
    with pytest.raises(BudgetReached):
        await submit(backend, "req_3")
    await submit(backend, "req_4", estimate=MicroUsd(3 * DOLLAR // 4))


async def test_the_next_day_has_a_new_budget(backend: StoreBackend) -> None:
    await add_key(backend, usd_per_day=DOLLAR)
    await submit(backend, "req_1")
    backend.clock.move(DAY)
    await submit(backend, "req_2")


@pytest.mark.parametrize("counts", [0, 1])
async def test_an_unknown_price_passes_no_budget_of_a_key(
    backend: StoreBackend, counts: int
) -> None:
    """Regression: it counted 0, so that a key's budget was no bound where the tenant had none."""
    before = await backend.tenants.load("ada")
    assert before is not None
    limits = Limits(unknown_price_counts=MicroUsd(counts * DOLLAR))
    assert await backend.tenants.change(before, replace(before, limits=limits, version=2))
    await add_key(backend, usd_per_day=DOLLAR)
    if counts:
        await submit(backend, "req_1", estimate=None)
    with pytest.raises(BudgetReached) as refused:
        await submit(backend, "req_2", estimate=None)
    assert refused.value.policy == ("key-usd-per-day" if counts else "unknown-price")
    await submit(backend, "req_3", OTHER_KEY, estimate=None)


@pytest.mark.parametrize(
    ("limits", "price", "expected"),
    [
        ({}, DOLLAR, WriteResult.STORED),
        ({"usd_per_day": TWO_DOLLARS}, DOLLAR, WriteResult.STORED),
        ({"usd_per_day": TWO_DOLLARS}, MicroUsd(DOLLAR + 1), WriteResult.OVER_BUDGET),
        ({"usd_per_month": TWO_DOLLARS}, MicroUsd(DOLLAR + 1), WriteResult.OVER_BUDGET),
        ({"usd_per_day": TWO_DOLLARS}, None, WriteResult.OVER_BUDGET),
        ({}, None, WriteResult.STORED),
    ],
)
async def test_a_follower_is_promoted_within_the_budget_of_its_key(
    backend: StoreBackend, limits: dict[str, Any], price: MicroUsd | None, expected: WriteResult
) -> None:
    await add_key(backend, **limits)
    leader = await submit(backend, "req_1", OTHER_KEY, estimate=price, fingerprint="1:f")
    await submit(backend, "req_2", fingerprint="1:f", estimate=price)
    await submit(backend, "req_3")
    change = cancellation_change(leader, backend.clock.now())
    assert await backend.jobs.store(change) is WriteResult.STORED
    assert await _promote(backend, "req_2") is expected
    if expected is WriteResult.STORED and limits:
        with pytest.raises(BudgetReached):
            await submit(backend, "req_4")


async def test_a_follower_of_a_revoked_key_is_promoted(backend: StoreBackend) -> None:
    await add_key(backend, usd_per_day=DOLLAR)
    leader = await submit(backend, "req_1", OTHER_KEY, fingerprint="1:f")
    await submit(backend, "req_2", fingerprint="1:f")
    await submit(backend, "req_3")
    await backend.tenants.revoke_key("ada", KEY.digest)
    change = cancellation_change(leader, backend.clock.now())
    assert await backend.jobs.store(change) is WriteResult.STORED
    assert await _promote(backend, "req_2") is WriteResult.STORED


async def _promote(backend: StoreBackend, job_id: str) -> WriteResult:
    held = await backend.jobs.load(job_id)
    assert held is not None
    leader = await backend.jobs.load_leader(held.job)
    change = decide_follow(held.job, leader, backend.clock.now(), promote=True)
    assert isinstance(change, Change)
    return await backend.jobs.store(change)
