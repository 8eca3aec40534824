"""Where a tenant's events go, and what proves that they are ours. Pure; knows no store, no HTTP."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from core.deliveries import EventType
from core.errors import Conflict, NotFound
from core.tenants import Tenant

MOST_ENDPOINTS: Final = 16
MOST_HEADERS: Final = 16
MOST_HEADER_CHARS: Final = 1024
MOST_SECRETS: Final = 5
LONGEST_TIMEOUT: Final = timedelta(seconds=20)
SHORTEST_TIMEOUT: Final = timedelta(seconds=1)
DEFAULT_ID: Final = "default"
"""The endpoint that stands in where a submit names no `webhook`."""

ON_THE_WAY: Final = frozenset({EventType.IN_QUEUE, EventType.IN_PROGRESS})
ASKED_FOR: Final = frozenset({EventType.TEST})
"""Sent to an endpoint whatever its filter says."""


class EndpointKind(StrEnum):
    """What takes the events."""

    HTTP = "http"
    STREAM = "redis_stream"


class Payload(StrEnum):
    """How much an event carries."""

    FULL = "full"
    THIN = "thin"
    """The id, the status and the caller's reference: for receivers that ask for the rest."""


class Disabled(StrEnum):
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
    events: frozenset[EventType] | None = None
    payload: Payload = Payload.FULL
    headers: tuple[tuple[str, str], ...] = ()
    timeout: timedelta = LONGEST_TIMEOUT
    disabled: Disabled | None = None
    disabled_at: datetime | None = None

    def wants(self, event: EventType, *, asked: bool) -> bool:
        """Whether `event` goes there. `asked`: the submit asked for what is on the way."""
        if event in ASKED_FOR:
            return True
        if self.events is not None:
            return event in self.events
        return asked or event not in ON_THE_WAY


@dataclass(frozen=True, slots=True)
class Secret:
    """A `whsec_` secret (HMAC) or a `whsk_` seed (ed25519). None: it has no end yet."""

    text: str
    ends_at: datetime | None = None


class SecretKind(StrEnum):
    """The two schemes of Standard Webhooks."""

    HMAC = "hmac"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class WebhookSetup:
    """A tenant's endpoints and secrets, newest first; one record, changed as a whole.

    What operators set at the tenant itself stands in `seen_…` as it was when this was written.
    """

    tenant: str
    version: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    secrets: tuple[Secret, ...] = ()
    signing_keys: tuple[Secret, ...] = ()
    seen_webhook: str | None = None
    seen_secrets: tuple[str, ...] = ()

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """One endpoint. Raises `NotFound`."""
        found = self.find(endpoint_id)
        if found is None:
            raise NotFound("There is no such endpoint.")
        return found

    def find(self, endpoint_id: str) -> Endpoint | None:
        """One endpoint, if it is there."""
        return next((end for end in self.endpoints if end.id == endpoint_id), None)

    def live_secrets(self, now: datetime) -> tuple[str, ...]:
        """What deliveries are signed with now, newest first."""
        return _live(self.secrets, now)

    def live_keys(self, now: datetime) -> tuple[str, ...]:
        """The ed25519 keys that deliveries are signed with now; none where it was not asked for."""
        return _live(self.signing_keys, now)

    def adding(self, endpoint: Endpoint) -> "WebhookSetup":
        """With one more. Raises `Conflict` when there are too many, or one for the same URL."""
        if len(self.endpoints) >= MOST_ENDPOINTS:
            raise Conflict(f"A tenant has at most {MOST_ENDPOINTS} endpoints.")
        self._refuse_twin(endpoint)
        return self._next(endpoints=(*self.endpoints, endpoint))

    def changing(self, endpoint: Endpoint) -> "WebhookSetup":
        """With this record in place of the one of its id. Raises `NotFound`, `Conflict`."""
        self.endpoint(endpoint.id)
        self._refuse_twin(endpoint)
        return self._next(
            endpoints=tuple(endpoint if end.id == endpoint.id else end for end in self.endpoints)
        )

    def without(self, endpoint_id: str) -> "WebhookSetup":
        """With one less. Raises `NotFound`."""
        self.endpoint(endpoint_id)
        return self._next(endpoints=tuple(e for e in self.endpoints if e.id != endpoint_id))

    def rotated(
        self, kind: SecretKind, new: str, now: datetime, overlap: timedelta
    ) -> "WebhookSetup":
        """With a new secret; those before it end after `overlap` at the latest.

        Raises `Conflict` when too many are live: a receiver must not be cut off unforeseen.
        """
        held = self.secrets if kind is SecretKind.HMAC else self.signing_keys
        live = [secret for secret in held if _is_live(secret, now)]
        if len(live) >= MOST_SECRETS:
            raise Conflict(f"{MOST_SECRETS} secrets are live; wait until one has ended.")
        ends_at = now + overlap
        older = [_ending(secret, ends_at) for secret in live]
        secrets = (Secret(new), *(secret for secret in older if _is_live(secret, now)))
        if kind is SecretKind.HMAC:
            return self._next(secrets=secrets)
        return self._next(signing_keys=secrets)

    def disabling(self, endpoint_id: str, why: Disabled, now: datetime) -> "WebhookSetup":
        """With one endpoint disabled. Raises `NotFound`."""
        end = replace(self.endpoint(endpoint_id), disabled=why, disabled_at=now)
        return self.changing(end)

    def _refuse_twin(self, endpoint: Endpoint) -> None:
        if any(e.url == endpoint.url and e.id != endpoint.id for e in self.endpoints):
            raise Conflict("Another endpoint has that URL: it would get every event twice.")

    def _next(self, **changes: object) -> "WebhookSetup":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields


@dataclass(frozen=True, slots=True)
class MarkedSetup:
    """A setup as it was read. Where the store finds the same mark later, it is still in force."""

    setup: WebhookSetup
    mark: str


def setup_of(tenant: Tenant) -> WebhookSetup:
    """What a tenant has whose setup was never changed: what it was created with."""
    first = tenant.webhook
    return WebhookSetup(
        tenant=tenant.name,
        endpoints=() if first is None else (Endpoint(DEFAULT_ID, first, tenant.created_at),),
        secrets=_secrets_of(tenant),
        seen_webhook=first,
        seen_secrets=tenant.webhook_secrets,
    )


def reconciled(setup: WebhookSetup, tenant: Tenant) -> WebhookSetup:
    """A setup with what operators changed at the tenant since it was written: that goes before."""
    if tenant.webhook != setup.seen_webhook:
        setup = replace(setup, endpoints=_with_default(setup, tenant), seen_webhook=tenant.webhook)
    if tenant.webhook_secrets != setup.seen_secrets:
        secrets = _with_secrets(setup, tenant)
        setup = replace(setup, secrets=secrets, seen_secrets=tenant.webhook_secrets)
    return setup


def _with_default(setup: WebhookSetup, tenant: Tenant) -> tuple[Endpoint, ...]:
    url = tenant.webhook
    others = tuple(end for end in setup.endpoints if end.id != DEFAULT_ID and end.url != url)
    if url is None:
        return others
    held = setup.find(DEFAULT_ID) or Endpoint(DEFAULT_ID, url, tenant.created_at)
    kind = EndpointKind.HTTP
    return (replace(held, url=url, kind=kind, disabled=None, disabled_at=None), *others)


def _secrets_of(tenant: Tenant) -> tuple[Secret, ...]:
    newest, older = tenant.webhook_secrets[:1], tenant.webhook_secrets[1:]
    ends_at = tenant.webhook_overlap_ends_at
    return (*(Secret(text) for text in newest), *(Secret(text, ends_at) for text in older))


def _with_secrets(setup: WebhookSetup, tenant: Tenant) -> tuple[Secret, ...]:
    """A new one comes to those that are live; where one was only retired, no other stays."""
    given = _secrets_of(tenant)
    new = [secret for secret in given if secret.text not in setup.seen_secrets]
    if not new:
        return given
    ended = set(setup.seen_secrets) - set(tenant.webhook_secrets)
    kept = (secret for secret in setup.secrets if secret.text not in ended)
    return (*new, *(_ending(secret, tenant.webhook_overlap_ends_at) for secret in kept))


def _ending(secret: Secret, ends_at: datetime | None) -> Secret:
    """With this end, unless its own comes before."""
    if ends_at is None:
        return secret
    return replace(secret, ends_at=min(secret.ends_at or ends_at, ends_at))


def channel_of_endpoint(tenant: str, endpoint_id: str) -> str:
    """What an endpoint's deliveries wait in."""
    return f"{tenant}/{endpoint_id}"


def channel_of_url(tenant: str, url: str) -> str:
    """What deliveries to URLs that came with submits wait in: one channel for each origin.

    Callers write ids into their paths; by the whole URL every delivery would have its own breaker.
    """
    parts = urlsplit(url)
    return f"{tenant}/{parts.scheme.lower()}://{parts.netloc.lower()}"


_STREAM: Final = re.compile(
    r"stream:(?P<name>[a-z0-9][a-z0-9._-]{0,62})(?:@(?P<sink>[a-z0-9-]{1,32}))?"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A Redis stream: `sink` is a Redis that the operator named; None is the gateway's own."""

    name: str
    sink: str | None = None


def read_stream(url: str) -> Stream | None:
    """The stream that `stream:<name>[@<sink>]` names; None when it is none."""
    found = _STREAM.fullmatch(url)
    return None if found is None else Stream(found["name"], found["sink"])


# What a tenant may not set: ours, and what changes how the request is framed (RFC 9110, 7.6.1).
FORBIDDEN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
FORBIDDEN_PREFIXES: Final = ("webhook-", "x-forwarded-", "proxy-", "sec-")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def header_objection(name: str, value: str) -> str | None:
    """Why a header may not be sent along; None when it may."""
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        return "is not a header's name"
    if lower in FORBIDDEN_HEADERS or lower.startswith(FORBIDDEN_PREFIXES):
        return "is not yours to set"
    if len(value) > MOST_HEADER_CHARS or not _HEADER_VALUE.fullmatch(value):
        return f"must be 1 to {MOST_HEADER_CHARS} printable ASCII characters"
    return None


def headers_objection(headers: Sequence[tuple[str, str]]) -> str | None:
    """As `header_objection`, for a set of them together."""
    if len(headers) > MOST_HEADERS:
        return f"are more than {MOST_HEADERS}"
    if len({name.lower() for name, _ in headers}) != len(headers):
        return "name one twice"
    return None


def _live(secrets: Sequence[Secret], now: datetime) -> tuple[str, ...]:
    return tuple(secret.text for secret in secrets if _is_live(secret, now))


def _is_live(secret: Secret, now: datetime) -> bool:
    return secret.ends_at is None or now < secret.ends_at
