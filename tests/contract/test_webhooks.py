"""Tenants' endpoints and replays: one record each, changed whole, by one writer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.clock import to_ms
from core.store.webhook_endpoints import SetupChange
from core.tenants.api_keys import KeyRecord
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, Outcome
from core.webhooks.config import WebhookSetup, setup_of
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DEFAULT_ID, Endpoint
from core.webhooks.replay import Replay, Stretch
from tests.contract.orders import SECOND, admitted, bare, cancelled, notice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.contract.subjects import Subject


async def test_a_tenant_has_at_first_what_it_was_created_with(subject: Subject) -> None:
    now = subject.clock.now()
    made = Tenant("eve", now, webhook="https://eve.example/", webhook_secrets=("whsec_x",))
    assert await subject.tenants.create(made, KeyRecord("digest-eve", "eve", now))
    assert await subject.webhooks.load("eve") == setup_of(made)
    assert await subject.webhooks.load("ada") == WebhookSetup("ada")
    assert await subject.webhooks.load("nobody") is None


async def test_what_operators_change_at_the_tenant_is_seen_in_its_setup(subject: Subject) -> None:
    before = await subject.tenants.load("ada")
    assert before is not None
    setup = WebhookSetup("ada").adding(Endpoint("ep_1", "https://a.example/", before.created_at))
    assert await subject.webhooks.change(SetupChange(WebhookSetup("ada"), setup))
    after = replace(before, version=before.version + 1, webhook="https://new.example/")
    assert await subject.tenants.change(before, after)
    changed = await subject.webhooks.load("ada")
    assert changed is not None
    assert [(end.id, end.url) for end in changed.endpoints] == [
        (DEFAULT_ID, "https://new.example/"),
        ("ep_1", "https://a.example/"),
    ]
    assert changed.version == setup.version


async def test_of_two_changes_of_one_version_one_is_made(subject: Subject) -> None:
    before = WebhookSetup("ada")
    end = Endpoint(
        "ep_1",
        "https://a.example/",
        subject.clock.now(),
        headers=(("x-key", "1"),),
        timeout=timedelta(seconds=2.5),
    )
    after = before.adding(end)
    assert await subject.webhooks.change(SetupChange(before, after))
    assert await subject.webhooks.load("ada") == after
    assert not await subject.webhooks.change(SetupChange(before, after))
    assert await subject.webhooks.load("bob") == WebhookSetup("bob")


async def test_a_change_brings_its_callbacks_and_its_replay_or_nothing(subject: Subject) -> None:
    now = subject.clock.now()
    before = WebhookSetup("ada")
    after = replace(before, version=1)
    told = bare(subject, "msg_told")
    replay = Replay("ada").adding(Stretch(now, now))
    change = SetupChange(before, after, (told,), Replay("ada"), replay)
    stale = replace(change, replay_before=Replay("ada", 7))
    assert not await subject.webhooks.change(stale)
    assert (await subject.webhooks.load("ada"), await subject.deliveries.load(told.id)) == (
        before,
        None,
    )
    assert await subject.webhooks.change(change)
    assert await subject.deliveries.load(told.id) == told
    assert await subject.probe.outbox() == {told.id: to_ms(now)}
    assert await subject.replays.load("ada") == replay


@pytest.mark.parametrize("endpoint", [None, "ep_1"])
async def test_a_replay_is_claimed_under_a_lease_and_moved_on(
    subject: Subject, endpoint: str | None
) -> None:
    now = subject.clock.now()
    states = frozenset({DeliveryState.DELIVERED})
    first = Replay("ada").adding(Stretch(now, now, states, endpoint))
    assert await subject.replays.move(Replay("ada"), first, now)
    assert await subject.replays.claim_due(30 * SECOND, 5) == [first]
    assert await subject.replays.claim_due(30 * SECOND, 5) == []
    further = first.past(["msg_1"], asked=1)
    assert await subject.replays.move(first, further, now + SECOND)
    assert not await subject.replays.move(first, further, now)
    subject.clock.move(SECOND)
    assert await subject.replays.claim_due(30 * SECOND, 5) == [further]
    ended = further.past([], asked=1)
    assert await subject.replays.move(further, ended, now)
    subject.clock.move(60 * SECOND)
    assert await subject.replays.claim_due(30 * SECOND, 5) == []
    assert await subject.replays.load("ada") == ended


HOOK = Endpoint("ep_1", "https://a.example/", datetime(2026, 3, 1, tzinfo=UTC))


async def endpoint_added(subject: Subject) -> None:
    """The tenant's own change."""
    before = WebhookSetup("ada")
    assert await subject.webhooks.change(SetupChange(before, before.adding(HOOK)))


async def webhook_set(subject: Subject) -> None:
    """An operator's change, at the tenant itself."""
    before = await subject.tenants.load("ada")
    assert before is not None
    after = replace(before, version=before.version + 1, webhook=HOOK.url)
    assert await subject.tenants.change(before, after)


async def test_a_setup_has_a_mark_that_stays_with_it(subject: Subject) -> None:
    first, nobody = await subject.webhooks.marked("ada"), await subject.webhooks.marked("nobody")
    assert (first.setup, nobody.setup) == (WebhookSetup("ada"), WebhookSetup("nobody"))
    assert await subject.webhooks.marked("ada") == first
    await endpoint_added(subject)
    second = await subject.webhooks.marked("ada")
    await webhook_set(subject)
    third = await subject.webhooks.marked("ada")
    assert [len(known.setup.endpoints) for known in (first, second, third)] == [0, 1, 1]
    assert len({known.mark for known in (first, second, third, nobody)}) == 4


@pytest.mark.parametrize("change_endpoints", [endpoint_added, webhook_set])
async def test_callbacks_that_were_made_for_other_endpoints_are_refused_with_their_change(
    subject: Subject, change_endpoints: Callable[[Subject], Awaitable[None]]
) -> None:
    job = await admitted(subject)
    known = await subject.webhooks.marked("ada")
    await change_endpoints(subject)
    now = subject.clock.now()
    ending = replace(cancelled(job, now), setup_mark=known.mark)
    assert await subject.jobs.store(ending) is Outcome.SETUP_CHANGED
    held = await subject.jobs.view(job.id)
    assert held is not None
    assert (held.record.job, len(held.timeline), held.delivery_ids) == (job, 1, ())
    anew = await subject.webhooks.marked("ada")
    told = notice(ending.after)
    ending = replace(ending, setup_mark=anew.mark, deliveries=(told,))
    assert await subject.jobs.store(ending) is Outcome.STORED
    assert await subject.deliveries.load(told.id) == told


async def test_a_change_that_concerns_no_endpoint_minds_none(subject: Subject) -> None:
    job = await admitted(subject)
    await endpoint_added(subject)
    after = job.noted(subject.clock.now(), due_at=subject.clock.now() + SECOND)
    assert await subject.jobs.store(Change(job, after)) is Outcome.STORED


async def test_who_was_first_at_the_record_is_told_before_the_endpoints_are(
    subject: Subject,
) -> None:
    job = await admitted(subject)
    ending = cancelled(job, subject.clock.now())
    assert await subject.jobs.store(ending) is Outcome.STORED
    assert await subject.jobs.store(replace(ending, setup_mark="old")) is Outcome.STALE
    gone = replace(job, id="req_gone")
    lost = cancelled(gone, subject.clock.now())
    assert await subject.jobs.store(replace(lost, setup_mark="old")) is Outcome.UNKNOWN
