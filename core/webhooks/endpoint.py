"""Where a tenant's events go, and what proves that they are ours. Pure; knows no store, no HTTP."""

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
"""The endpoint that stands in where a submit names no `webhook`."""


INTERMEDIATE_EVENTS: Final = frozenset({WebhookEventType.IN_QUEUE, WebhookEventType.IN_PROGRESS})


UNFILTERED_EVENTS: Final = frozenset({WebhookEventType.TEST})
"""Sent to an endpoint whatever its filter says."""


class EndpointKind(StrEnum):
    """What takes the events."""

    HTTP = "http"
    STREAM = "redis_stream"


class PayloadStyle(StrEnum):
    """How much an event carries."""

    FULL = "full"
    THIN = "thin"
    """The id, the status and the caller's reference: for receivers that ask for the rest."""


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing."""

    BY_OWNER = "by_owner"
    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """It took nothing for days."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One receiver. `url` of a stream is `stream:<name>` or `stream:<name>@<sink>`.

    `events` None: the ends, and what is on the way where the submit asked for it.
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
        """Whether `event` goes there. `asked`: the submit asked for what is on the way."""
        if event in UNFILTERED_EVENTS:
            return True
        if self.events is not None:
            return event in self.events
        return include_intermediate or event not in INTERMEDIATE_EVENTS


def queue_of_endpoint(tenant: str, endpoint_id: str) -> str:
    """What an endpoint's deliveries wait in."""
    return f"{tenant}/{endpoint_id}"


def queue_of_url(tenant: str, url: str) -> str:
    """What deliveries to URLs that came with submits wait in: one channel for each origin.

    Callers write ids into their paths; by the whole URL every delivery would have its own breaker.
    """
    parts = urlsplit(url)
    return f"{tenant}/{parts.scheme.lower()}://{parts.netloc.lower()}"


_STREAM: Final = re.compile(
    r"stream:(?P<name>[a-z0-9][a-z0-9._-]{0,62})(?:@(?P<sink>[a-z0-9-]{1,32}))?"
)


@dataclass(frozen=True, slots=True)
class RedisStream:
    """A Redis stream: `sink` is a Redis that the operator named; None is the gateway's own."""

    name: str
    sink: str | None = None


def parse_stream_url(url: str) -> RedisStream | None:
    """The stream that `stream:<name>[@<sink>]` names; None when it is none."""
    found = _STREAM.fullmatch(url)
    return None if found is None else RedisStream(found["name"], found["sink"])
