"""Tenants' endpoints and replays: one record each, changed whole, by one writer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from core.clock import to_ms
from core.deliveries import DeliveryState
from core.endpoints import DEFAULT_ID, Endpoint, WebhookSetup, setup_of
from core.replays import Replay, Stretch
from core.store.webhooks import SetupChange
from core.tenants import KeyRecord, Tenant
from tests.contract.orders import SECOND, bare

if TYPE_CHECKING:
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
