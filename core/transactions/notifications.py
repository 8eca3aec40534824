"""Which callbacks a change calls for. Pure; they are written in the same step as the change."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import orjson

from core.batches import BatchView
from core.ids import IdSource
from core.jobs.job import Errand, Job
from core.representations.batches import batch_summary
from core.transactions.job_update import Change
from core.webhooks.config import MarkedSetup, WebhookSetup
from core.webhooks.delivery import EVENT_OF_STATUS, Delivery, DeliveryState, EventType
from core.webhooks.endpoint import DEFAULT_ID, Endpoint, channel_of_endpoint, channel_of_url

ENDPOINT_DISABLED = "endpoint_disabled"
"""The outcome of a delivery that is held."""


def notices(
    before: Job, after: Job, setup: WebhookSetup, ids: IdSource, now: datetime
) -> tuple[Delivery, ...]:
    """The deliveries for this step: exactly one for each endpoint that wants the event.

    A URL that came with the submit stands in for the tenant's default endpoint, and for no other.
    """
    if not may_notify(before, after):
        return ()
    event = EVENT_OF_STATUS[after.status]
    return tuple(
        replace(
            _delivery(after.tenant, endpoint, event, (ids.delivery_id(now), now)),
            job_id=after.id,
            trace=after.trace,
        )
        for endpoint in _concerned(after.webhook, after.created_at, setup)
        if endpoint.wants(event, asked=after.webhook_intermediate)
    )


def announced(change: Change, known: MarkedSetup, ids: IdSource, now: datetime) -> Change:
    """The change with its callbacks, to be refused should `known` not be in force any more."""
    told = notices(change.before, change.after, known.setup, ids, now)
    return replace(change, deliveries=told, setup_mark=known.mark)


def may_notify(before: Job, after: Job) -> bool:
    """Whether the tenant's endpoints must be known to decide `notices`."""
    if before.errand is Errand.NOTIFY:
        return after.errand is None
    return after.status is not before.status or (after.final and not before.final)


def jobless_notice(
    setup: WebhookSetup, endpoint: Endpoint, event: EventType, data: str, made: tuple[str, datetime]
) -> Delivery:
    """An event about no job, for one endpoint; `made` is its id and the present instant."""
    return replace(_delivery(setup.tenant, endpoint, event, made), data=data)


def disabling_notices(
    setup: WebhookSetup, lost: Endpoint, ids: IdSource, now: datetime
) -> tuple[Delivery, ...]:
    """What the tenant's other endpoints are told when one was disabled."""
    event = EventType.ENDPOINT_DISABLED
    data = orjson.dumps(
        {
            "endpoint_id": lost.id,
            "url": lost.url,
            "reason": lost.disabled,
            "disabled_at": lost.disabled_at,
        }
    ).decode()
    return tuple(
        jobless_notice(setup, endpoint, event, data, (ids.delivery_id(now), now))
        for endpoint in setup.endpoints
        if endpoint.id != lost.id
        and endpoint.disabled is None
        and endpoint.wants(event, asked=False)
    )


def batch_notices(
    view: BatchView, setup: WebhookSetup, ids: IdSource, now: datetime
) -> tuple[Delivery, ...]:
    """The closing event of a batch: exactly one for each endpoint that wants it."""
    batch, event = view.batch, EventType.BATCH_COMPLETED
    data = orjson.dumps(batch_summary(view)).decode()
    return tuple(
        replace(
            jobless_notice(setup, endpoint, event, data, (ids.delivery_id(now), now)),
            trace=batch.trace,
        )
        for endpoint in _concerned(batch.webhook, batch.created_at, setup)
        if endpoint.wants(event, asked=False)
    )


def _concerned(own: str | None, since: datetime, setup: WebhookSetup) -> Iterator[Endpoint]:
    for endpoint in setup.endpoints:
        if endpoint.id != DEFAULT_ID or own is None or endpoint.url == own:
            yield endpoint
    if own is not None and all(endpoint.url != own for endpoint in setup.endpoints):
        yield Endpoint("", own, since)


def _delivery(
    tenant: str, endpoint: Endpoint, event: EventType, made: tuple[str, datetime]
) -> Delivery:
    """An event for one endpoint, held where that is disabled."""
    delivery_id, now = made
    held = endpoint.disabled is not None
    return Delivery(
        id=delivery_id,
        job_id=None,
        tenant=tenant,
        event=event,
        url=endpoint.url,
        created_at=now,
        due_at=None if held else now,
        state=DeliveryState.HELD if held else DeliveryState.PENDING,
        last_outcome=ENDPOINT_DISABLED if held else None,
        endpoint=endpoint.id or None,
        channel=channel_of_endpoint(tenant, endpoint.id)
        if endpoint.id
        else channel_of_url(tenant, endpoint.url),
    )
