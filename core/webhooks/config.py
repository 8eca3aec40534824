"""A tenant's webhook configuration: its endpoints and secrets, one versioned record."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.errors import Conflict, NotFound
from core.tenants.tenant import Tenant
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
    """A tenant's endpoints and secrets, newest first; one record, changed as a whole.

    What operators set at the tenant itself stands in `seen_…` as it was when this was written.
    """

    tenant: str
    version: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    secrets: tuple[Secret, ...] = ()
    signing_keys: tuple[Secret, ...] = ()
    last_applied_webhook: str | None = None
    last_applied_secrets: tuple[str, ...] = ()

    def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """Return one endpoint. Raises `NotFound`."""
        found = self.find_endpoint(endpoint_id)
        if found is None:
            raise NotFound("There is no such endpoint.")
        return found

    def find_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Return one endpoint, or None."""
        return next((end for end in self.endpoints if end.id == endpoint_id), None)

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

        Raises `NotFound`, `Conflict`.
        """
        self.get_endpoint(endpoint.id)
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


def initial_config(tenant: Tenant) -> WebhookConfig:
    """What a tenant has whose setup was never changed: what it was created with."""
    first = tenant.webhook
    return WebhookConfig(
        tenant=tenant.name,
        endpoints=()
        if first is None
        else (Endpoint(DEFAULT_ENDPOINT_ID, first, tenant.created_at),),
        secrets=_secrets_of(tenant),
        last_applied_webhook=first,
        last_applied_secrets=tenant.webhook_secrets,
    )


def reconcile(config: WebhookConfig, tenant: Tenant) -> WebhookConfig:
    """A setup with what operators changed at the tenant since it was written: that goes before."""
    if tenant.webhook != config.last_applied_webhook:
        config = replace(
            config, endpoints=_with_default(config, tenant), last_applied_webhook=tenant.webhook
        )
    if tenant.webhook_secrets != config.last_applied_secrets:
        secrets = _with_secrets(config, tenant)
        config = replace(config, secrets=secrets, last_applied_secrets=tenant.webhook_secrets)
    return config


def _with_default(config: WebhookConfig, tenant: Tenant) -> tuple[Endpoint, ...]:
    url = tenant.webhook
    others = tuple(
        end for end in config.endpoints if end.id != DEFAULT_ENDPOINT_ID and end.url != url
    )
    if url is None:
        return others
    held = config.find_endpoint(DEFAULT_ENDPOINT_ID) or Endpoint(
        DEFAULT_ENDPOINT_ID, url, tenant.created_at
    )
    kind = EndpointKind.HTTP
    return (replace(held, url=url, kind=kind, disabled_reason=None, disabled_at=None), *others)


def _secrets_of(tenant: Tenant) -> tuple[Secret, ...]:
    newest, older = tenant.webhook_secrets[:1], tenant.webhook_secrets[1:]
    ends_at = tenant.webhook_overlap_ends_at
    return (*(Secret(text) for text in newest), *(Secret(text, ends_at) for text in older))


def _with_secrets(config: WebhookConfig, tenant: Tenant) -> tuple[Secret, ...]:
    """A new one comes to those that are live; where one was only retired, no other stays."""
    given = _secrets_of(tenant)
    new = [secret for secret in given if secret.text not in config.last_applied_secrets]
    if not new:
        return given
    ended = set(config.last_applied_secrets) - set(tenant.webhook_secrets)
    kept = (secret for secret in config.secrets if secret.text not in ended)
    return (*new, *(ending_at(secret, tenant.webhook_overlap_ends_at) for secret in kept))
