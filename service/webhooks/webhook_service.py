"""Use cases of webhooks: endpoints, secrets, deliveries and replays. Knows no HTTP.

Writes use optimistic concurrency: the first writer wins, and the others retry.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson

from core.clock import Clock
from core.errors import Conflict, NotFound
from core.ids import IdSource, is_valid_id
from core.page import Page
from core.retention import RETENTION
from core.tenants.tenant import is_tenant_name
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.transactions.webhook_deliveries import system_delivery
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import (
    UNDELIVERED_STATES,
    CircuitUpdate,
    Delivery,
    DeliveryAttempt,
    DeliveryRange,
    DeliveryState,
    WebhookEventType,
)
from core.webhooks.endpoint import DEFAULT_ENDPOINT_ID, Endpoint, queue_of_endpoint
from core.webhooks.replay import Replay, ReplayRange
from core.webhooks.secrets import SecretKind, encode_webhook_secret
from core.webhooks.signing_keys import encode_signing_key
from service.webhooks.requests import (
    DeliveryQuery,
    EndpointChange,
    EndpointPolicy,
    EndpointRequest,
    SecretRotation,
)
from service.webhooks.tenant_view import EndpointRow

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from core.store.interfaces import DeliveryRepository, ReplayRepository, WebhookConfigRepository

_MAX_TRIES: Final = 5
_SCAN_PAGE_SIZE: Final = 100
MAX_SCANNED: Final = 1000
"""How many deliveries are read for one page with a filter by status."""
OUTSTANDING_STATES: Final = UNDELIVERED_STATES | {DeliveryState.PENDING}
"""States of deliveries that an endpoint gets when it is enabled again."""


AttemptedDelivery = tuple[Delivery, Sequence[DeliveryAttempt]]
"""A delivery with its attempts."""


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """A disabled endpoint, and how many of its deliveries are pending."""

    endpoint: Endpoint
    pending: int


@dataclass(frozen=True, slots=True)
class ChangedEndpoint:
    """An endpoint after a change, and whether it or its circuit breaker is another than before."""

    endpoint: Endpoint
    has_changed: bool


@dataclass(frozen=True, slots=True)
class WebhookService:
    """The use cases; `audited_webhooks` adds the audit log."""

    configs: "WebhookConfigRepository"
    deliveries: "DeliveryRepository"
    replays: "ReplayRepository"
    clock: Clock
    ids: IdSource
    policy: EndpointPolicy

    # Endpoints and secrets

    async def load_config(self, tenant: str) -> WebhookConfig:
        """Return a tenant's endpoints and secrets. Raises `NotFound` for an unknown tenant."""
        config = await self.find_config(tenant)
        if config is None:
            raise NotFound("There is no such tenant.")
        return config

    async def find_config(self, tenant: str) -> WebhookConfig | None:
        """Return the same, or None for an unknown tenant. The name may be any text."""
        return await self.configs.load(tenant) if is_tenant_name(tenant) else None

    async def list_endpoints(self, tenant: str) -> Sequence[EndpointRow]:
        """Return a tenant's endpoints with their circuits now. Raises `NotFound` for no tenant."""
        config, now = await self.load_config(tenant), self.clock.now()
        queues = [queue_of_endpoint(tenant, one.id) for one in config.endpoints]
        found = await asyncio.gather(*map(self.deliveries.load_circuit, queues))
        return [(one, each.at(now)) for one, each in zip(config.endpoints, found, strict=True)]

    async def show_endpoint(self, tenant: str, endpoint_id: str) -> EndpointRow:
        """Return one of them. Raises `NotFound`."""
        config = await self.load_config(tenant)
        endpoint = config.get_endpoint(endpoint_id)
        circuit = await self.deliveries.load_circuit(queue_of_endpoint(tenant, endpoint.id))
        return endpoint, circuit.at(self.clock.now())

    async def disabled_endpoints(self, tenant: str) -> tuple[DisabledEndpoint, ...]:
        """Return the disabled endpoints, with their pending ones of the newest `MAX_SCANNED`."""
        config = await self.load_config(tenant)
        disabled = [one for one in config.endpoints if one.disabled_reason is not None]
        pending = await self._count_pending(tenant) if disabled else {}
        return tuple(DisabledEndpoint(one, pending.get(one.id, 0)) for one in disabled)

    async def _count_pending(self, tenant: str) -> Counter[str | None]:
        now = self.clock.now()
        ids = await self.deliveries.list_newest_first(
            tenant, DeliveryRange(now - RETENTION, now), MAX_SCANNED
        )
        found = await asyncio.gather(*map(self.deliveries.load, ids))
        return Counter(
            each.endpoint_id for each in found if each and each.state in OUTSTANDING_STATES
        )

    async def create_endpoint(self, tenant: str, new: EndpointRequest) -> Endpoint:
        """A new endpoint; the first becomes the default. Raises `InvalidInput`, `Conflict`."""
        self.policy.check_url(new.url)
        now = self.clock.now()
        endpoint_id = self.ids.endpoint_id(now)

        def decide(config: WebhookConfig) -> WebhookConfig:
            name = endpoint_id if config.find_endpoint(DEFAULT_ENDPOINT_ID) else DEFAULT_ENDPOINT_ID
            return config.with_endpoint(new.applied_to(Endpoint(name, "", now), now))

        return (await self._update_config(tenant, decide)).after.endpoints[-1]

    async def change_endpoint(
        self, tenant: str, endpoint_id: str, change: EndpointChange
    ) -> ChangedEndpoint:
        """Change an endpoint. If it is enabled again, the deliveries that it missed are replayed.

        Raises `NotFound`, `Conflict`.
        """
        if "url" in change.model_fields_set:
            self.policy.check_url(change.url)
        now = self.clock.now()
        for _ in range(_MAX_TRIES):
            before = await self.load_config(tenant)
            held = before.get_endpoint(endpoint_id)
            after = before.with_replaced_endpoint(change.applied_to(held, now))
            update = WebhookConfigUpdate(before, after)
            if (
                held.disabled_reason is not None
                and after.get_endpoint(endpoint_id).disabled_reason is None
            ):
                missed = ReplayRange(now - RETENTION, now, endpoint_id=endpoint_id)
                replay = await self.replays.load(tenant)
                update = replace(
                    update, replay_before=replay, replay_after=replay.with_range(missed)
                )
            if after is before or await self.configs.update(update):
                was_reset = await self._update_circuit(
                    queue_of_endpoint(tenant, endpoint_id), EndpointCircuit.reset
                )
                has_changed = after is not before or was_reset
                return ChangedEndpoint(after.get_endpoint(endpoint_id), has_changed)
        raise _contended()

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> None:
        """Delete an endpoint; its pending deliveries are dropped. Raises `NotFound`."""
        await self._update_config(tenant, lambda config: config.without_endpoint(endpoint_id))

    async def rotate_secret(self, tenant: str, rotation: SecretRotation) -> tuple[str, datetime]:
        """Create a secret or signing key; return it, and when the previous ones end.

        Raises `NotFound`; `Conflict` if too many are live.
        """
        mint = encode_webhook_secret if rotation.kind is SecretKind.HMAC else encode_signing_key
        new, now = mint(self.ids.secret()), self.clock.now()
        overlap = timedelta(seconds=rotation.overlap)
        await self._update_config(
            tenant,
            lambda config: config.with_rotated_secret(rotation.kind, new, now, overlap),
        )
        return new, now + overlap

    async def retire_secrets(self, tenant: str) -> WebhookConfigUpdate:
        """Sign webhooks with the newest secret alone from now on, and the newest key pair.

        Returns the change. Raises `NotFound`.
        """
        return await self._update_config(tenant, WebhookConfig.without_older_secrets)

    async def send_test_events(
        self, tenant: str, endpoint_id: str | None = None
    ) -> tuple[Delivery, ...]:
        """Send a test event to one endpoint, or to all that are enabled.

        Raises `NotFound`, `Conflict`.
        """
        config, now = await self.load_config(tenant), self.clock.now()
        chosen = config.endpoints if endpoint_id is None else (config.get_endpoint(endpoint_id),)
        enabled = [endpoint for endpoint in chosen if endpoint.disabled_reason is None]
        if not enabled:
            raise Conflict("There is no enabled endpoint to test.")
        deliveries = []
        for endpoint in enabled:
            data = orjson.dumps({"endpoint_id": endpoint.id}).decode()
            named = (self.ids.delivery_id(now), now)
            delivery = system_delivery(config, endpoint, WebhookEventType.TEST, data, named)
            await self.deliveries.enqueue(None, delivery)
            await self._update_circuit(delivery.queue, EndpointCircuit.reset_pause)
            deliveries.append(delivery)
        return tuple(deliveries)

    # Deliveries

    async def list_deliveries(
        self, tenant: str, query: DeliveryQuery
    ) -> Page[AttemptedDelivery, str]:
        """Return a page of a tenant's deliveries, newest first."""
        found: list[Delivery] = []
        cursor, scanned = query.cursor, 0
        since, until = query.created_between(self.clock.now())
        while len(found) < query.limit and scanned < MAX_SCANNED:
            span = DeliveryRange(since, until, cursor)
            # One more than requested shows whether another page follows.
            count = _SCAN_PAGE_SIZE if query.status else query.limit - len(found) + 1
            ids = await self.deliveries.list_newest_first(tenant, span, count)
            loaded = await asyncio.gather(*map(self.deliveries.load, ids))
            for name, delivery in zip(ids, loaded, strict=True):
                cursor, scanned = name, scanned + 1
                if delivery is not None and query.status in {None, delivery.state}:
                    found.append(delivery)
                if len(found) == query.limit:
                    break
            if len(ids) < count and (not ids or cursor == ids[-1]):
                cursor = None
                break
        return Page(await self.with_attempts(found), cursor)

    async def with_attempts(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[tuple[Delivery, Sequence[DeliveryAttempt]], ...]:
        """Return the deliveries, each with its attempts."""
        attempts = await asyncio.gather(*(self.deliveries.list_attempts(d.id) for d in deliveries))
        return tuple(zip(deliveries, attempts, strict=True))

    async def load_deliveries(self, ids: Sequence[str]) -> tuple[Delivery, ...]:
        """Return the deliveries with these ids that still exist."""
        loaded = await asyncio.gather(*map(self.deliveries.load, ids))
        return tuple(delivery for delivery in loaded if delivery is not None)

    async def resend(self, tenant: str, delivery_id: str) -> Delivery:
        """Send a delivery again, under the same id. Raises `NotFound`, `Conflict`."""
        for _ in range(_MAX_TRIES):
            is_valid = is_valid_id(delivery_id)
            before = await self.deliveries.load_own(tenant, delivery_id) if is_valid else None
            if before is None:
                raise NotFound("There is no such delivery.")
            after = before.resend(self.clock.now())
            if await self.deliveries.enqueue(before, after):
                await self._update_circuit(after.queue, EndpointCircuit.reset_pause)
                return after
        raise _contended()

    async def replay(self, tenant: str, replay_range: ReplayRange) -> Replay:
        """Send a range of deliveries again, at a limited rate. Raises `Conflict`."""
        for _ in range(_MAX_TRIES):
            before = await self.replays.load(tenant)
            after = before.with_range(replay_range)
            if await self.replays.update(before, after, self.clock.now()):
                return after
        raise _contended()

    async def _update_config(
        self, tenant: str, decide: Callable[[WebhookConfig], WebhookConfig]
    ) -> WebhookConfigUpdate:
        for _ in range(_MAX_TRIES):
            before = await self.load_config(tenant)
            update = WebhookConfigUpdate(before, decide(before))
            if update.after is before or await self.configs.update(update):
                return update
        raise _contended()

    async def _update_circuit(
        self, queue: str, transition: Callable[[EndpointCircuit], EndpointCircuit]
    ) -> bool:
        """Apply an operator's or a tenant's action to a circuit breaker; return if it changed it.

        It only sends deliveries earlier, so that giving up after some tries loses nothing.
        """
        for _ in range(_MAX_TRIES):
            before = await self.deliveries.load_circuit(queue)
            after = transition(before)
            if after == before:
                return False
            if await self.deliveries.update_circuit(CircuitUpdate(queue, before, after)):
                return True
        return False


def _contended() -> Conflict:
    return Conflict("The record changed too often meanwhile; try again.")
