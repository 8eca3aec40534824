"""The delivery queues: fairness between endpoints, circuit breakers, leases and retention."""

from collections import Counter
from dataclasses import replace

from core.clock import to_ms
from core.jobs.job import Job
from core.retention import DELIVERY_RETENTION, RESULT_GRACE_PERIOD, RETENTION
from core.store.jobs import Projection
from core.transactions.job_update import WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.delivery import (
    CircuitUpdate,
    Delivery,
    DeliveryRange,
    DeliveryState,
    WebhookEventType,
)
from tests.support.backends import StoreBackend
from tests.support.redis import is_close_to
from tests.support.store_steps import (
    LEASE,
    SECOND,
    admit_job,
    attempt_completion,
    cancellation_change,
    claim_deliveries,
    enqueue_jobless_delivery,
    tenant_credential,
    timeline_entry,
)

MAX_CONCURRENCY = EndpointCircuitPolicy().max_concurrency


async def enqueue_deliveries(backend: StoreBackend, channel: str, number: int) -> list[str]:
    """Enqueue deliveries for one endpoint."""
    names = [f"msg_{channel}_{index:04}" for index in range(number)]
    for name in names:
        assert await backend.deliveries.enqueue(
            None, enqueue_jobless_delivery(backend, name, queue=channel)
        )
    return names


async def test_a_claim_is_shared_out_over_the_channels(backend: StoreBackend) -> None:
    await enqueue_deliveries(backend, "a", 50)
    await enqueue_deliveries(backend, "b", 3)
    await enqueue_deliveries(backend, "c", 50)
    first = Counter(each.delivery.queue for each in await claim_deliveries(backend, 9))
    assert first == {"a": 3, "b": 3, "c": 3}


async def test_an_unreadable_delivery_is_set_aside_until_it_is_requeued(
    backend: StoreBackend,
) -> None:
    broken, *others = await enqueue_deliveries(backend, "a", 3)
    await backend.probe.rewrite_delivery(broken, "dreaming")
    claimed = await claim_deliveries(backend, 9)
    assert [each.delivery.id for each in claimed] == others
    since = backend.clock.now()
    backend.clock.shift(LEASE)
    again = await claim_deliveries(backend, 9)
    assert [each.delivery.id for each in again] == others
    found = await backend.deliveries.list_unreadable(9)
    assert [(each.delivery_id, each.tenant, each.since) for each in found] == [(broken, "a", since)]

    await backend.probe.rewrite_delivery(broken, "pending")
    assert await backend.deliveries.requeue_unreadable(broken)
    assert not await backend.deliveries.requeue_unreadable(broken)
    assert not await backend.deliveries.list_unreadable(9)
    assert [each.delivery.id for each in await claim_deliveries(backend, 9)] == [broken]


async def test_an_endpoint_with_nothing_but_unreadable_deliveries_is_idle(
    backend: StoreBackend,
) -> None:
    for name in await enqueue_deliveries(backend, "a", 3):
        await backend.probe.rewrite_delivery(name, "dreaming")
    assert await claim_deliveries(backend, 9) == []
    assert await backend.probe.outbox() == {}
    assert await backend.probe.channels() == {}
    assert len(await backend.deliveries.list_unreadable(2)) == 2


async def test_an_unreadable_delivery_is_forgotten_after_its_retention(
    backend: StoreBackend,
) -> None:
    for name in ("old", "young"):
        (delivery,) = await enqueue_deliveries(backend, name, 1)
        await backend.probe.rewrite_delivery(delivery, "dreaming")
        await claim_deliveries(backend, 9)
        backend.clock.shift(DELIVERY_RETENTION)
    found = await backend.deliveries.list_unreadable(9)
    assert [each.tenant for each in found] == ["young"]


async def enqueue_for_hosts(backend: StoreBackend, tenant: str, number: int) -> None:
    """Enqueue a delivery to each of many hosts, as a batch with a URL in each item does."""
    for index in range(number):
        queue = f"{tenant}/https://host-{index}.example"
        delivery = enqueue_jobless_delivery(
            backend, f"msg_{tenant}_{index:04}", tenant=tenant, queue=queue
        )
        assert await backend.deliveries.enqueue(None, delivery)


async def test_a_tenant_with_many_hosts_leaves_a_third_of_the_worker_free(
    backend: StoreBackend,
) -> None:
    await enqueue_for_hosts(backend, "ada", 200)
    held: Counter[str] = Counter()
    while claimed := await backend.deliveries.claim_due(LEASE, 99 - held.total(), held):
        held.update(each.delivery.tenant for each in claimed)
    assert held == {"ada": 66}
    backend.clock.move(SECOND)
    await enqueue_for_hosts(backend, "bob", 8)
    others = await backend.deliveries.claim_due(LEASE, 99 - held.total(), held)
    assert Counter(each.delivery.tenant for each in others) == {"bob": 8}


async def test_the_last_free_place_goes_to_a_tenant_that_has_none(backend: StoreBackend) -> None:
    await enqueue_for_hosts(backend, "ada", 30)
    await enqueue_for_hosts(backend, "bob", 2)
    (claimed,) = await backend.deliveries.claim_due(LEASE, 1, {"ada": 98})
    assert claimed.delivery.tenant == "bob"


async def test_tenants_take_turns_however_many_deliveries_one_has(backend: StoreBackend) -> None:
    await enqueue_for_hosts(backend, "ada", 50)
    backend.clock.move(SECOND)
    await enqueue_for_hosts(backend, "bob", 3)
    turns = []
    for _ in range(6):
        backend.clock.move(SECOND)
        (claimed,) = await claim_deliveries(backend, 1)
        turns.append(claimed.delivery.tenant)
        await backend.deliveries.complete_attempt(attempt_completion(claimed))
    assert turns == ["ada", "bob"] * 3


async def test_an_endpoint_has_a_share_of_its_tenants_places(backend: StoreBackend) -> None:
    for name in ("ada/dead", "ada/live"):
        for index in range(40):
            delivery = enqueue_jobless_delivery(backend, f"msg_{name[4:]}_{index:04}", queue=name)
            assert await backend.deliveries.enqueue(None, delivery)
        backend.clock.move(SECOND)
    claimed = await claim_deliveries(backend, 30)
    assert {each.delivery.queue for each in claimed} == {"ada/dead", "ada/live"}


async def test_one_channel_has_no_more_under_way_than_its_bound(backend: StoreBackend) -> None:
    await enqueue_deliveries(backend, "a", 2 * MAX_CONCURRENCY)
    assert len(await claim_deliveries(backend, 100)) == MAX_CONCURRENCY
    assert await claim_deliveries(backend, 100) == []
    backend.clock.move(LEASE)
    assert len(await claim_deliveries(backend, 100)) == MAX_CONCURRENCY


async def test_a_place_that_is_given_back_is_used_at_once(backend: StoreBackend) -> None:
    names = await enqueue_deliveries(backend, "a", MAX_CONCURRENCY + 1)
    claimed = await claim_deliveries(backend, 100)
    stored = await backend.deliveries.complete_attempt(attempt_completion(claimed[0]))
    assert (stored.result, stored.circuit_stored) == (WriteResult.STORED, True)
    (last,) = await claim_deliveries(backend, 100)
    assert last.delivery.id == names[-1]


async def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(
    backend: StoreBackend,
) -> None:
    (name,) = await enqueue_deliveries(backend, "a", 1)
    assert [each.delivery.id for each in await claim_deliveries(backend, 5)] == [name]
    backend.clock.move(LEASE - SECOND)
    assert await claim_deliveries(backend, 5) == []
    assert await backend.probe.channels() == {"a": to_ms(backend.clock.now() + SECOND)}
    backend.clock.move(SECOND)
    assert [each.delivery.id for each in await claim_deliveries(backend, 5)] == [name]


async def test_a_closed_channel_holds_back_and_lets_one_probe_through(
    backend: StoreBackend,
) -> None:
    await enqueue_deliveries(backend, "a", 10)
    until = backend.clock.now() + 60 * SECOND
    broken = EndpointCircuit(
        1, max_concurrency=1, paused_until=until, is_open=True, consecutive_failures=3
    )
    assert await backend.deliveries.update_circuit(CircuitUpdate("a", EndpointCircuit(), broken))
    assert await claim_deliveries(backend, 100) == []
    assert await backend.probe.channels() == {"a": to_ms(until)}
    backend.clock.move(60 * SECOND)
    (probe,) = await claim_deliveries(backend, 100)
    assert probe.circuit == broken
    assert await claim_deliveries(backend, 100) == []
    healed = EndpointCircuit(2)
    await backend.deliveries.complete_attempt(attempt_completion(probe, healed))
    assert await backend.deliveries.load_circuit("a") == healed
    assert len(await claim_deliveries(backend, 100)) == 9


async def test_a_new_delivery_does_not_open_a_closed_channel(backend: StoreBackend) -> None:
    until = backend.clock.now() + 60 * SECOND
    closed = EndpointCircuit(1, max_concurrency=1, paused_until=until)
    assert await backend.deliveries.update_circuit(CircuitUpdate("a", EndpointCircuit(), closed))
    await enqueue_deliveries(backend, "a", 1)
    assert await claim_deliveries(backend, 100) == []
    assert await backend.probe.channels() == {"a": to_ms(until)}


async def test_a_breaker_is_moved_by_one_of_many(backend: StoreBackend) -> None:
    one = CircuitUpdate("a", EndpointCircuit(), EndpointCircuit(1, consecutive_failures=1))
    assert await backend.deliveries.update_circuit(one)
    assert not await backend.deliveries.update_circuit(one)
    assert await backend.deliveries.load_circuit("a") == EndpointCircuit(1, consecutive_failures=1)


async def test_a_settlement_says_when_others_moved_the_breaker(backend: StoreBackend) -> None:
    await enqueue_deliveries(backend, "a", 1)
    (claimed,) = await claim_deliveries(backend, 1)
    theirs = EndpointCircuit(1, consecutive_failures=1)
    assert await backend.deliveries.update_circuit(CircuitUpdate("a", EndpointCircuit(), theirs))
    stored = await backend.deliveries.complete_attempt(
        attempt_completion(claimed, EndpointCircuit(1, consecutive_failures=2))
    )
    assert (stored.result, stored.circuit_stored) == (WriteResult.STORED, False)
    assert await backend.deliveries.load_circuit("a") == theirs


async def test_an_attempt_is_kept_although_the_delivery_was_sent_anew(
    backend: StoreBackend,
) -> None:
    await enqueue_deliveries(backend, "a", 1)
    (claimed,) = await claim_deliveries(backend, 1)
    before = claimed.delivery
    assert await backend.deliveries.enqueue(before, before.resend(backend.clock.now()))
    assert (
        await backend.deliveries.complete_attempt(attempt_completion(claimed))
    ).result is WriteResult.CONFLICT
    assert len(await backend.deliveries.list_attempts(before.id)) == 1
    (again,) = await claim_deliveries(backend, 1)
    assert (again.delivery.version, again.delivery.id) == (2, before.id)


async def test_a_delivery_of_a_store_that_went_back_to_its_claim_comes_back_with_its_lease(
    backend: StoreBackend,
) -> None:
    await enqueue_deliveries(backend, "a", 1)
    (claimed,) = await claim_deliveries(backend, 1)
    forgotten = replace(claimed.delivery, version=claimed.delivery.version + 1)
    stray = attempt_completion(replace(claimed, delivery=forgotten))
    assert (await backend.deliveries.complete_attempt(stray)).result is WriteResult.CONFLICT
    assert await claim_deliveries(backend, 1) == []
    backend.clock.move(LEASE)
    (again,) = await claim_deliveries(backend, 1)
    assert again.delivery == claimed.delivery


async def test_a_delivery_that_is_written_by_two_is_written_once(backend: StoreBackend) -> None:
    (name,) = await enqueue_deliveries(backend, "a", 1)
    assert not await backend.deliveries.enqueue(None, enqueue_jobless_delivery(backend, name))
    before = await backend.deliveries.load(name)
    assert before is not None
    now = backend.clock.now()
    assert await backend.deliveries.enqueue(before, before.resend(now))
    assert not await backend.deliveries.enqueue(before, before.resend(now))


async def test_a_vanished_record_leaves_the_channel(backend: StoreBackend) -> None:
    await enqueue_deliveries(backend, "a", 1)
    (claimed,) = await claim_deliveries(backend, 1)
    never = replace(claimed.delivery, id="msg_never")
    stray = attempt_completion(replace(claimed, delivery=never))
    assert (await backend.deliveries.complete_attempt(stray)).result is WriteResult.NOT_FOUND
    await backend.deliveries.complete_attempt(attempt_completion(claimed))
    assert await backend.probe.channels() == {}


async def test_what_is_held_waits_in_no_channel_and_is_listed(backend: StoreBackend) -> None:
    held = enqueue_jobless_delivery(
        backend, "msg_held", state=DeliveryState.HELD, next_attempt_at=None
    )
    assert await backend.deliveries.enqueue(None, held)
    assert await backend.probe.channels() == {}
    now = backend.clock.now()
    assert await backend.deliveries.list_newest_first("ada", DeliveryRange(now, now), 5) == [
        "msg_held"
    ]


async def ended_job(backend: StoreBackend) -> tuple[Job, Delivery]:
    """A job that has ended, with its delivery."""
    job = await admit_job(backend)
    now = backend.clock.now()
    told = enqueue_jobless_delivery(
        backend, "msg_job", job_id=job.id, event=WebhookEventType.CANCELLED, data=None
    )
    change = cancellation_change(job, now, told)
    assert await backend.jobs.store(change) is WriteResult.STORED
    return change.after, told


async def test_a_result_outlives_its_last_callback_by_a_day(backend: StoreBackend) -> None:
    job, _ = await ended_job(backend)
    (claimed,) = await claim_deliveries(backend, 1)
    await backend.deliveries.complete_attempt(attempt_completion(claimed))
    assert is_close_to(await backend.probe.ttl_of_job(job.id), RETENTION)
    due_at = backend.clock.now() + RETENTION
    late = attempt_completion(
        replace(claimed, delivery=replace(claimed.delivery, version=2)),
        state=DeliveryState.PENDING,
        next_attempt_at=due_at,
    )
    assert (await backend.deliveries.complete_attempt(late)).result is WriteResult.STORED
    assert is_close_to(await backend.probe.ttl_of_job(job.id), RETENTION + RESULT_GRACE_PERIOD)


async def test_every_attempt_is_in_the_jobs_history_and_kept_longer_than_it(
    backend: StoreBackend,
) -> None:
    job, told = await ended_job(backend)
    (claimed,) = await claim_deliveries(backend, 1)
    line = timeline_entry(backend.clock.now(), "delivered", job.state)
    await backend.deliveries.complete_attempt(replace(attempt_completion(claimed), entry=line))
    view = await backend.jobs.read(tenant_credential(), job.id, Projection.ALL)
    assert view.timeline[-1] == line
    assert view.delivery_ids == (told.id,)
    assert is_close_to(await backend.probe.ttl_of_delivery(told.id), DELIVERY_RETENTION)


async def test_a_tenants_deliveries_are_paged_by_age(backend: StoreBackend) -> None:
    names = []
    start = backend.clock.now()
    for number in range(7):
        names += [f"msg_{number}"]
        assert await backend.deliveries.enqueue(None, enqueue_jobless_delivery(backend, names[-1]))
        backend.clock.move(SECOND)
    span = DeliveryRange(start + SECOND, start + 5 * SECOND)
    store = backend.deliveries
    assert await store.list_oldest_first("ada", span, 10) == names[1:6]
    assert await store.list_newest_first("ada", span, 10) == names[5:0:-1]
    after = replace(span, after="msg_4")
    assert await store.list_oldest_first("ada", after, 10) == ["msg_5"]
    assert await store.list_newest_first("ada", after, 2) == ["msg_3", "msg_2"]
    assert await store.list_newest_first("ada", replace(span, after="msg_gone"), 1) == ["msg_5"]
    assert await store.list_newest_first("bob", span, 10) == []


async def test_what_is_too_old_is_no_longer_listed(backend: StoreBackend) -> None:
    await enqueue_deliveries(backend, "a", 1)
    start = backend.clock.now()
    backend.clock.move(DELIVERY_RETENTION + SECOND)
    await backend.deliveries.enqueue(None, enqueue_jobless_delivery(backend, "msg_new"))
    span = DeliveryRange(start, backend.clock.now())
    assert await backend.deliveries.list_oldest_first("ada", span, 10) == ["msg_new"]
