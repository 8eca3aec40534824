"""The webhook deliveries of a change. Pure; they are stored in the same write as the change."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import orjson

from core.batches import Batch, BatchSnapshot
from core.billing.thresholds import ReachedThreshold
from core.clock import iso
from core.ids import IdSource, derived_delivery_id
from core.jobs.job import FollowUp, Job
from core.money import to_usd
from core.representations.batches import batch_completed_data
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.delivery import EVENT_OF_STATUS, Delivery, DeliveryState, WebhookEventType
from core.webhooks.endpoint import DEFAULT_ENDPOINT_ID, Endpoint, queue_of_endpoint, queue_of_url

ENDPOINT_DISABLED = "endpoint_disabled"
"""The last outcome of a delivery that is held."""


def event_of_change(before: Job, after: Job) -> WebhookEventType | None:
    """Return the event that a change is; None if it is none, and so concerns no endpoint."""
    if before.follow_up is FollowUp.NOTIFY:
        is_event = after.follow_up is None
    elif before.is_final and before.archived_at is None and after.archived_at is not None:
        return WebhookEventType.ARCHIVED
    else:
        is_event = after.status is not before.status or (after.is_final and not before.is_final)
    return EVENT_OF_STATUS[after.status] if is_event else None


def job_deliveries(
    after: Job, event: WebhookEventType, config: WebhookConfig, now: datetime
) -> tuple[Delivery, ...]:
    """Return the deliveries of a job's event: exactly one for each endpoint subscribed to it.

    The `webhook` URL of a submit replaces the tenant's default endpoint, and no other.
    """
    return tuple(
        replace(
            _new_delivery(
                after.tenant, endpoint, event, (_delivery_id(after, event, endpoint), now)
            ),
            job_id=after.id,
            trace=after.trace,
        )
        for endpoint in _matching_endpoints(after.webhook, after.created_at, config)
        if endpoint.is_subscribed_to(event, include_intermediate=after.webhook_intermediate)
    )


def with_deliveries(
    change: Change, event: WebhookEventType, config: VersionedConfig, now: datetime
) -> Change:
    """Return the change with its event's deliveries; the store refuses it if `config` is old."""
    deliveries = job_deliveries(change.after, event, config.config, now)
    return replace(change, deliveries=deliveries, config_digest=config.version_digest)


def system_delivery(
    config: WebhookConfig,
    endpoint: Endpoint,
    event: WebhookEventType,
    data: str,
    id_and_time: tuple[str, datetime],
) -> Delivery:
    """Return the delivery of an event that is not about a job, to one endpoint."""
    return replace(_new_delivery(config.tenant, endpoint, event, id_and_time), data=data)


def endpoint_disabled_deliveries(
    config: WebhookConfig, disabled_endpoint: Endpoint, ids: IdSource, now: datetime
) -> tuple[Delivery, ...]:
    """Return the deliveries to the tenant's other endpoints after one was disabled."""
    event = WebhookEventType.ENDPOINT_DISABLED
    data = orjson.dumps(
        {
            "endpoint_id": disabled_endpoint.id,
            "url": disabled_endpoint.url,
            "reason": disabled_endpoint.disabled_reason,
            "disabled_at": disabled_endpoint.disabled_at,
        }
    ).decode()
    return tuple(
        system_delivery(config, endpoint, event, data, (ids.delivery_id(now), now))
        for endpoint in config.endpoints
        if endpoint.id != disabled_endpoint.id
        and endpoint.disabled_reason is None
        and endpoint.is_subscribed_to(event, include_intermediate=False)
    )


def threshold_deliveries(
    tenant: Tenant, reached: ReachedThreshold, config: WebhookConfig, now: datetime
) -> tuple[Delivery, ...]:
    """Return the deliveries to the tenant's endpoints after a share of a budget was used."""
    event, window = WebhookEventType.BUDGET_THRESHOLD, reached.window
    data = orjson.dumps(
        {
            "window": window.kind,
            "threshold": reached.percent,
            "used_usd": to_usd(reached.used),
            "budget_usd": to_usd(reached.budget),
            "resets_at": iso(window.resets_at),
        }
    ).decode()
    subject = f"{tenant.name} {window.name} {reached.percent}"
    return tuple(
        system_delivery(
            config,
            endpoint,
            event,
            data,
            (derived_delivery_id(subject, tenant.created_at, event, _name_of(endpoint)), now),
        )
        for endpoint in config.endpoints
        if endpoint.is_subscribed_to(event, include_intermediate=False)
    )


def batch_deliveries(
    snapshot: BatchSnapshot, config: WebhookConfig, now: datetime
) -> tuple[Delivery, ...]:
    """Return the deliveries of a batch's end: exactly one for each endpoint subscribed to it."""
    batch, event = snapshot.batch, WebhookEventType.BATCH_COMPLETED
    data = orjson.dumps(batch_completed_data(snapshot)).decode()
    return tuple(
        replace(
            system_delivery(
                config, endpoint, event, data, (_batch_delivery_id(batch, endpoint), now)
            ),
            trace=batch.trace,
        )
        for endpoint in _matching_endpoints(batch.webhook, batch.created_at, config)
        if endpoint.is_subscribed_to(event, include_intermediate=False)
    )


def _delivery_id(after: Job, event: WebhookEventType, endpoint: Endpoint) -> str:
    """Return the id of a delivery about a job.

    An end has one id for each endpoint, so that it is recognized if it is sent again after Redis
    went back. A status can be reached several times before the end: then the version counts too.
    """
    name: str = event
    if not after.is_final:
        name = f"{event} {after.version}"
    return derived_delivery_id(after.id, after.created_at, name, _name_of(endpoint))


def _batch_delivery_id(batch: Batch, endpoint: Endpoint) -> str:
    event = WebhookEventType.BATCH_COMPLETED
    return derived_delivery_id(batch.id, batch.created_at, event, _name_of(endpoint))


def _name_of(endpoint: Endpoint) -> str:
    return endpoint.id or endpoint.url


def _matching_endpoints(
    request_url: str | None, created_at: datetime, config: WebhookConfig
) -> Iterator[Endpoint]:
    for endpoint in config.endpoints:
        if endpoint.id != DEFAULT_ENDPOINT_ID or request_url is None or endpoint.url == request_url:
            yield endpoint
    if request_url is not None and all(
        endpoint.url != request_url for endpoint in config.endpoints
    ):
        yield Endpoint("", request_url, created_at)


def _new_delivery(
    tenant: str, endpoint: Endpoint, event: WebhookEventType, id_and_time: tuple[str, datetime]
) -> Delivery:
    """Return the delivery of an event to one endpoint; it is held if that is disabled."""
    delivery_id, now = id_and_time
    held = endpoint.disabled_reason is not None
    return Delivery(
        id=delivery_id,
        job_id=None,
        tenant=tenant,
        event=event,
        url=endpoint.url,
        created_at=now,
        next_attempt_at=None if held else now,
        state=DeliveryState.HELD if held else DeliveryState.PENDING,
        last_outcome=ENDPOINT_DISABLED if held else None,
        endpoint_id=endpoint.id or None,
        queue=queue_of_endpoint(tenant, endpoint.id)
        if endpoint.id
        else queue_of_url(tenant, endpoint.url),
    )
