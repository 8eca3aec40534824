"""JSON of endpoints, deliveries and replays, for tenants and operators. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from core.clock import iso
from core.representations.jobs import without_none
from core.representations.webhooks import delivery_representation
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.endpoint import Endpoint
from core.webhooks.replay import Replay, ReplayRange
from core.webhooks.secrets import SecretKind
from core.webhooks.signing_keys import public_key
from service.webhooks.tenant_view import DeliveryRow, EndpointRow, deliveries_for_tenant

JsonObject = dict[str, Any]
_HEALTHY: Final = EndpointCircuit()


def endpoint_representation(endpoint: Endpoint, circuit: EndpointCircuit = _HEALTHY) -> JsonObject:
    """Return an endpoint. Header values may be secrets: only the names are included."""
    fields = {
        "id": endpoint.id,
        "kind": endpoint.kind,
        "url": endpoint.url,
        "events": sorted(endpoint.events) if endpoint.events is not None else None,
        "payload": endpoint.payload,
        "headers": [name for name, _ in endpoint.headers],
        "timeout": endpoint.timeout.total_seconds(),
        "created_at": iso(endpoint.created_at),
        "enabled": endpoint.disabled_reason is None,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": iso(endpoint.disabled_at),
        "failing_since": iso(circuit.failing_since),
        "held_back_until": iso(circuit.paused_until),
        "last_failure": circuit.last_failure,
    }
    return without_none(fields)


def endpoints_representation(rows: Sequence[EndpointRow]) -> JsonObject:
    """Return all endpoints of a tenant."""
    return {"endpoints": [endpoint_representation(endpoint, state) for endpoint, state in rows]}


def deliveries_representation(rows: Sequence[DeliveryRow], cursor: str | None = None) -> JsonObject:
    """Return a page of deliveries; `cursor` is that of the next page."""
    deliveries = [delivery_representation(delivery, attempts) for delivery, attempts in rows]
    return {"deliveries": deliveries} | ({"next_cursor": cursor} if cursor else {})


def tenant_deliveries_representation(
    rows: Sequence[DeliveryRow], cursor: str | None = None
) -> JsonObject:
    """Return a page of deliveries as their tenant reads them."""
    return deliveries_representation(deliveries_for_tenant(rows), cursor)


def secret_representation(kind: SecretKind, secret: str) -> JsonObject:
    """Return a new secret, which is returned only once; of a signing key the public half."""
    return {"secret": secret} if kind is SecretKind.HMAC else {"public_key": public_key(secret)}


def replay_representation(replay_range: ReplayRange, replay: Replay) -> JsonObject:
    """Return a range that is to be replayed, and the number of ranges that wait."""
    return without_none(
        {
            "since": iso(replay_range.since),
            "until": iso(replay_range.until),
            "statuses": sorted(replay_range.states),
            "endpoint_id": replay_range.endpoint_id,
            "waiting": len(replay.ranges),
        }
    )
