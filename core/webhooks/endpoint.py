"""A tenant's webhook endpoints: HTTP receivers and Redis streams. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from core.webhooks.delivery import WebhookEventType

MAX_ENDPOINTS: Final = 16
MAX_ENDPOINT_TIMEOUT: Final = timedelta(seconds=20)
MIN_ENDPOINT_TIMEOUT: Final = timedelta(seconds=1)
DEFAULT_ENDPOINT_ID: Final = "default"
"""The endpoint of submits without a `webhook` option."""

INTERMEDIATE_EVENTS: Final = frozenset({WebhookEventType.IN_QUEUE, WebhookEventType.IN_PROGRESS})
UNFILTERED_EVENTS: Final = frozenset({WebhookEventType.TEST})
"""Sent to an endpoint regardless of its filter."""
SUBSCRIBABLE_EVENTS: Final = tuple(
    event for event in WebhookEventType if event not in UNFILTERED_EVENTS
)
"""What an endpoint's filter may name."""


class EndpointKind(StrEnum):
    """The kind of receiver."""

    HTTP = "http"
    STREAM = "redis_stream"


class PayloadStyle(StrEnum):
    """How much data an event has."""

    FULL = "full"
    THIN = "thin"
    """The id, the status and the caller's reference; the receiver reads the rest by the API."""


class DisabledReason(StrEnum):
    """Why an endpoint is disabled."""

    BY_OWNER = "by_owner"
    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """It failed for days, without a success."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One receiver. `url` of a stream is `stream:<name>` or `stream:<name>@<sink>`.

    `events` None: final events, and intermediate ones if the submit requested them.
    """

    id: str
    url: str
    created_at: datetime
    kind: EndpointKind = EndpointKind.HTTP
    events: frozenset[WebhookEventType] | None = None
    payload: PayloadStyle = PayloadStyle.FULL
    headers: tuple[tuple[str, str], ...] = ()
    timeout: timedelta = MAX_ENDPOINT_TIMEOUT
    disabled_reason: DisabledReason | None = None
    disabled_at: datetime | None = None

    def is_subscribed_to(self, event: WebhookEventType, *, include_intermediate: bool) -> bool:
        """Return whether the endpoint gets `event`.

        `include_intermediate`: the submit requested intermediate events.
        """
        if event in UNFILTERED_EVENTS:
            return True
        if self.events is not None:
            return event in self.events
        return include_intermediate or event not in INTERMEDIATE_EVENTS


def queue_of_endpoint(tenant: str, endpoint_id: str) -> str:
    """Return the queue of an endpoint's deliveries."""
    return f"{tenant}/{endpoint_id}"


def queue_of_url(tenant: str, url: str) -> str:
    """Return the queue of deliveries to a URL that came with a submit: one per origin.

    Not one per URL: callers put ids into paths, so every delivery would have its own breaker.
    """
    parts = urlsplit(url)
    return f"{tenant}/{parts.scheme.lower()}://{parts.netloc.lower()}"


_STREAM: Final = re.compile(
    r"stream:(?P<name>[a-z0-9][a-z0-9._-]{0,62})(?:@(?P<sink>[a-z0-9-]{1,32}))?"
)


@dataclass(frozen=True, slots=True)
class RedisStream:
    """A Redis stream. `sink` names a Redis server of the settings; None is the gateway's own."""

    name: str
    sink: str | None = None


def parse_stream_url(url: str) -> RedisStream | None:
    """Parse `stream:<name>[@<sink>]`; return None for any other text."""
    found = _STREAM.fullmatch(url)
    return None if found is None else RedisStream(found["name"], found["sink"])
