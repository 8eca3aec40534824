"""How endpoints, callbacks and replays are shown to their tenant and to operators. Pure."""

from collections.abc import Sequence
from typing import Any

from core.representations.jobs import present
from core.representations.webhooks import delivery_document
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.endpoint import Endpoint
from core.webhooks.replay import Replay, Stretch
from core.webhooks.secrets import SecretKind
from core.webhooks.signing_keys import public_key

Document = dict[str, Any]


def endpoint_document(endpoint: Endpoint) -> Document:
    """An endpoint. Headers may hold secrets: only their names are shown."""
    fields = {
        "id": endpoint.id,
        "kind": endpoint.kind,
        "url": endpoint.url,
        "events": sorted(endpoint.events) if endpoint.events is not None else None,
        "payload": endpoint.payload,
        "headers": [name for name, _ in endpoint.headers],
        "timeout": endpoint.timeout.total_seconds(),
        "created_at": endpoint.created_at,
        "enabled": endpoint.disabled is None,
        "disabled_reason": endpoint.disabled,
        "disabled_at": endpoint.disabled_at,
    }
    return present(fields)


def endpoints_document(endpoints: Sequence[Endpoint]) -> Document:
    """All of a tenant's."""
    return {"endpoints": [endpoint_document(endpoint) for endpoint in endpoints]}


def deliveries_document(
    rows: Sequence[tuple[Delivery, Sequence[DeliveryAttempt]]], cursor: str | None = None
) -> Document:
    """A page of callbacks; `cursor` leads to the next one."""
    shown = [delivery_document(delivery, attempts) for delivery, attempts in rows]
    return {"deliveries": shown} | ({"next_cursor": cursor} if cursor else {})


def secret_document(kind: SecretKind, new: str) -> Document:
    """What is shown once of a new secret; of a key the public half."""
    return {"secret": new} if kind is SecretKind.HMAC else {"public_key": public_key(new)}


def replay_document(stretch: Stretch, after: Replay) -> Document:
    """A stretch that is to be sent anew, and how many wait with it."""
    return present(
        {
            "since": stretch.since,
            "until": stretch.until,
            "statuses": sorted(stretch.states),
            "endpoint_id": stretch.endpoint,
            "waiting": len(after.stretches),
        }
    )
