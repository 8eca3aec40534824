"""Tenants' endpoints and replays: one record each, replaced as a whole, by one writer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.clock import to_ms
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.config import WebhookConfig, initial_config
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DEFAULT_ENDPOINT_ID, Endpoint
from core.webhooks.replay import Replay, ReplayRange
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    SECOND,
    admit_job,
    cancellation_change,
    delivery_for,
    enqueue_jobless_delivery,
)


async def test_a_tenant_has_at_first_what_it_was_created_with(backend: StoreBackend) -> None:
    now = backend.clock.now()
    made = initial_config("eve", "https://eve.example/", "whsec_x", now)
    assert await backend.tenants.create(Tenant("eve", now), ApiKey("digest-eve", "eve", now), made)
    assert await backend.webhook_configs.load("eve") == made
    assert await backend.webhook_configs.load("ada") == WebhookConfig("ada")
    assert await backend.webhook_configs.load("nobody") is None


async def test_every_tenant_with_a_config_is_listed(backend: StoreBackend) -> None:
    now = backend.clock.now()
    made = initial_config("eve", None, "whsec_x", now)
    await backend.tenants.create(Tenant("eve", now), ApiKey("digest-eve", "eve", now), made)
    assert await backend.webhook_configs.list_tenants() == {"ada", "bob", "eve"}


async def test_what_operators_change_at_the_tenant_is_seen_in_its_setup(
    backend: StoreBackend,
) -> None:
    now = backend.clock.now()
    setup = WebhookConfig("ada").with_endpoint(Endpoint("ep_1", "https://a.example/", now))
    assert await backend.webhook_configs.update(WebhookConfigUpdate(WebhookConfig("ada"), setup))
    after = setup.with_default_url("https://new.example/", now)
    assert await backend.webhook_configs.update(WebhookConfigUpdate(setup, after))
    changed = await backend.webhook_configs.load("ada")
    assert changed is not None
    assert [(end.id, end.url) for end in changed.endpoints] == [
        (DEFAULT_ENDPOINT_ID, "https://new.example/"),
        ("ep_1", "https://a.example/"),
    ]
    assert changed.version == setup.version + 1


async def test_of_two_changes_of_one_version_one_is_made(backend: StoreBackend) -> None:
    before = WebhookConfig("ada")
    end = Endpoint(
        "ep_1",
        "https://a.example/",
        backend.clock.now(),
        headers=(("x-key", "1"),),
        timeout=timedelta(seconds=2.5),
    )
    after = before.with_endpoint(end)
    assert await backend.webhook_configs.update(WebhookConfigUpdate(before, after))
    assert await backend.webhook_configs.load("ada") == after
    assert not await backend.webhook_configs.update(WebhookConfigUpdate(before, after))
    assert await backend.webhook_configs.load("bob") == WebhookConfig("bob")


async def test_a_change_brings_its_callbacks_and_its_replay_or_nothing(
    backend: StoreBackend,
) -> None:
    now = backend.clock.now()
    before = WebhookConfig("ada")
    after = replace(before, version=1)
    told = enqueue_jobless_delivery(backend, "msg_told")
    replay = Replay("ada").with_range(ReplayRange(now, now))
    change = WebhookConfigUpdate(before, after, (told,), Replay("ada"), replay)
    stale = replace(change, replay_before=Replay("ada", 7))
    assert not await backend.webhook_configs.update(stale)
    assert (await backend.webhook_configs.load("ada"), await backend.deliveries.load(told.id)) == (
        before,
        None,
    )
    assert await backend.webhook_configs.update(change)
    assert await backend.deliveries.load(told.id) == told
    assert await backend.probe.outbox() == {told.id: to_ms(now)}
    assert await backend.replays.load("ada") == replay


@pytest.mark.parametrize("endpoint", [None, "ep_1"])
async def test_a_replay_is_claimed_under_a_lease_and_moved_on(
    backend: StoreBackend, endpoint: str | None
) -> None:
    now = backend.clock.now()
    states = frozenset({DeliveryState.DELIVERED})
    first = Replay("ada").with_range(ReplayRange(now, now, states, endpoint))
    assert await backend.replays.update(Replay("ada"), first, now)
    assert await backend.replays.claim_due(30 * SECOND, 5) == [first]
    assert await backend.replays.claim_due(30 * SECOND, 5) == []
    further = first.advance(["msg_1"], limit=1)
    assert await backend.replays.update(first, further, now + SECOND)
    assert not await backend.replays.update(first, further, now)
    backend.clock.move(SECOND)
    assert await backend.replays.claim_due(30 * SECOND, 5) == [further]
    ended = further.advance([], limit=1)
    assert await backend.replays.update(further, ended, now)
    backend.clock.move(60 * SECOND)
    assert await backend.replays.claim_due(30 * SECOND, 5) == []
    assert await backend.replays.load("ada") == ended


HOOK = Endpoint("ep_1", "https://a.example/", datetime(2026, 3, 1, tzinfo=UTC))


async def add_endpoint(backend: StoreBackend) -> None:
    """Add an endpoint, as the tenant does."""
    before = WebhookConfig("ada")
    assert await backend.webhook_configs.update(
        WebhookConfigUpdate(before, before.with_endpoint(HOOK))
    )


async def set_tenant_webhook(backend: StoreBackend) -> None:
    """An operator's change of the tenant's webhook."""
    before = await backend.webhook_configs.load("ada")
    assert before is not None
    after = before.with_default_url(HOOK.url, backend.clock.now())
    assert await backend.webhook_configs.update(WebhookConfigUpdate(before, after))


async def test_a_setup_has_a_mark_that_stays_with_it(backend: StoreBackend) -> None:
    first, nobody = (
        await backend.webhook_configs.load_versioned("ada"),
        await backend.webhook_configs.load_versioned("nobody"),
    )
    assert (first.config, nobody.config) == (WebhookConfig("ada"), WebhookConfig("nobody"))
    assert await backend.webhook_configs.load_versioned("ada") == first
    await add_endpoint(backend)
    second = await backend.webhook_configs.load_versioned("ada")
    await set_tenant_webhook(backend)
    third = await backend.webhook_configs.load_versioned("ada")
    assert [len(known.config.endpoints) for known in (first, second, third)] == [0, 1, 1]
    assert len({known.version_digest for known in (first, second, third, nobody)}) == 4


@pytest.mark.parametrize("change_endpoints", [add_endpoint, set_tenant_webhook])
async def test_callbacks_that_were_made_for_other_endpoints_are_refused_with_their_change(
    backend: StoreBackend, change_endpoints: Callable[[StoreBackend], Awaitable[None]]
) -> None:
    job = await admit_job(backend)
    known = await backend.webhook_configs.load_versioned("ada")
    await change_endpoints(backend)
    now = backend.clock.now()
    ending = replace(cancellation_change(job, now), config_digest=known.version_digest)
    assert await backend.jobs.store(ending) is WriteResult.WEBHOOK_CONFIG_CHANGED
    held = await backend.jobs.load_view(job.id)
    assert held is not None
    assert (held.record.job, len(held.timeline), held.delivery_ids) == (job, 1, ())
    anew = await backend.webhook_configs.load_versioned("ada")
    told = delivery_for(ending.after)
    ending = replace(ending, config_digest=anew.version_digest, deliveries=(told,))
    assert await backend.jobs.store(ending) is WriteResult.STORED
    assert await backend.deliveries.load(told.id) == told


async def test_a_change_that_concerns_no_endpoint_minds_none(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    await add_endpoint(backend)
    after = job.evolve(backend.clock.now(), next_run_at=backend.clock.now() + SECOND)
    assert await backend.jobs.store(Change(job, after)) is WriteResult.STORED


async def test_who_was_first_at_the_record_is_told_before_the_endpoints_are(
    backend: StoreBackend,
) -> None:
    job = await admit_job(backend)
    ending = cancellation_change(job, backend.clock.now())
    assert await backend.jobs.store(ending) is WriteResult.STORED
    assert await backend.jobs.store(replace(ending, config_digest="old")) is WriteResult.CONFLICT
    gone = replace(job, id="req_gone")
    lost = cancellation_change(gone, backend.clock.now())
    assert await backend.jobs.store(replace(lost, config_digest="old")) is WriteResult.NOT_FOUND
