"""A tenant's webhook configuration: its endpoints and secrets, one versioned record.

The types of events are `WebhookEventType` in `core.webhooks.delivery`.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from core.errors import Conflict, NotFound
from core.webhooks.endpoint import (
    DEFAULT_ENDPOINT_ID,
    MAX_ENDPOINTS,
    DisabledReason,
    Endpoint,
    EndpointKind,
)
from core.webhooks.secrets import MAX_SECRETS, Secret, SecretKind, ending_at, is_live, live_texts


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A tenant's endpoints and secrets, newest first; one record, changed as a whole."""

    tenant: str
    version: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    secrets: tuple[Secret, ...] = ()
    signing_keys: tuple[Secret, ...] = ()
    unknown_fields: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """What another release has stored; see `core.store.unknown_fields`."""

    def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """Return one endpoint. Raises `NotFound`."""
        found = self.find_endpoint(endpoint_id)
        if found is None:
            raise NotFound("There is no such endpoint.")
        return found

    def find_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Return one endpoint, or None."""
        return next((end for end in self.endpoints if end.id == endpoint_id), None)

    @property
    def default_url(self) -> str | None:
        """The URL of the default endpoint, which an operator sets as the tenant's `webhook`."""
        endpoint = self.find_endpoint(DEFAULT_ENDPOINT_ID)
        return None if endpoint is None else endpoint.url

    def live_secrets(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign deliveries now, newest first."""
        return live_texts(self.secrets, now)

    def live_signing_keys(self, now: datetime) -> tuple[str, ...]:
        """Return the ed25519 keys that sign deliveries now; none unless the tenant created one."""
        return live_texts(self.signing_keys, now)

    def with_endpoint(self, endpoint: Endpoint) -> "WebhookConfig":
        """Return the configuration with one more endpoint.

        Raises `Conflict` if there are too many, or one for the same URL.
        """
        if len(self.endpoints) >= MAX_ENDPOINTS:
            raise Conflict(f"A tenant has at most {MAX_ENDPOINTS} endpoints.")
        self._reject_duplicate_url(endpoint)
        return self._next(endpoints=(*self.endpoints, endpoint))

    def with_replaced_endpoint(self, endpoint: Endpoint) -> "WebhookConfig":
        """Return the configuration with this endpoint in place of the one with its id.

        It is the same configuration if the endpoint is. Raises `NotFound`, `Conflict`.
        """
        if endpoint == self.get_endpoint(endpoint.id):
            return self
        self._reject_duplicate_url(endpoint)
        return self._next(
            endpoints=tuple(endpoint if end.id == endpoint.id else end for end in self.endpoints)
        )

    def without_endpoint(self, endpoint_id: str) -> "WebhookConfig":
        """Return the configuration without one endpoint. Raises `NotFound`."""
        self.get_endpoint(endpoint_id)
        return self._next(endpoints=tuple(e for e in self.endpoints if e.id != endpoint_id))

    def with_rotated_secret(
        self, kind: SecretKind, new_secret: str, now: datetime, overlap: timedelta
    ) -> "WebhookConfig":
        """Return the configuration with a new secret; the older ones expire after `overlap`.

        Raises `Conflict` if too many are live: dropping the oldest would break receivers that
        still verify with it.
        """
        held = self.secrets if kind is SecretKind.HMAC else self.signing_keys
        live = [secret for secret in held if is_live(secret, now)]
        if len(live) >= MAX_SECRETS:
            raise Conflict(f"{MAX_SECRETS} secrets are live; wait until one has ended.")
        ends_at = now + overlap
        older = [ending_at(secret, ends_at) for secret in live]
        secrets = (Secret(new_secret), *(secret for secret in older if is_live(secret, now)))
        if kind is SecretKind.HMAC:
            return self._next(secrets=secrets)
        return self._next(signing_keys=secrets)

    def with_default_url(self, url: str | None, now: datetime) -> "WebhookConfig":
        """With another URL of the default endpoint, which is enabled; None removes the endpoint.

        Another endpoint with that URL is removed: it would get every event twice.
        """
        if url == self.default_url:
            return self
        others = tuple(e for e in self.endpoints if e.id != DEFAULT_ENDPOINT_ID and e.url != url)
        if url is None:
            return self._next(endpoints=others)
        held = self.find_endpoint(DEFAULT_ENDPOINT_ID) or Endpoint(DEFAULT_ENDPOINT_ID, url, now)
        kind = EndpointKind.HTTP
        default = replace(held, url=url, kind=kind, disabled_reason=None, disabled_at=None)
        return self._next(endpoints=(default, *others))

    def without_older_secrets(self) -> "WebhookConfig":
        """With the newest secret of each kind only."""
        newest = {"secrets": self.secrets[:1], "signing_keys": self.signing_keys[:1]}
        if (self.secrets, self.signing_keys) == tuple(newest.values()):
            return self
        return self._next(**newest)

    def with_disabled_endpoint(
        self, endpoint_id: str, reason: DisabledReason, now: datetime
    ) -> "WebhookConfig":
        """Return the configuration with one endpoint disabled. Raises `NotFound`."""
        end = replace(self.get_endpoint(endpoint_id), disabled_reason=reason, disabled_at=now)
        return self.with_replaced_endpoint(end)

    def _reject_duplicate_url(self, endpoint: Endpoint) -> None:
        if any(e.url == endpoint.url and e.id != endpoint.id for e in self.endpoints):
            raise Conflict("Another endpoint has that URL: it would get every event twice.")

    def _next(self, **changes: object) -> "WebhookConfig":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields


@dataclass(frozen=True, slots=True)
class VersionedConfig:
    """A setup as it was read. Where the store finds the same mark later, it is still in force."""

    config: WebhookConfig
    version_digest: str


def initial_config(tenant: str, url: str | None, secret: str, now: datetime) -> WebhookConfig:
    """Return the config that a new tenant gets, with a default endpoint if there is a URL."""
    endpoint = () if url is None else (Endpoint(DEFAULT_ENDPOINT_ID, url, now),)
    return WebhookConfig(tenant, endpoints=endpoint, secrets=(Secret(secret),))
