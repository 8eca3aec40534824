"""A tenant's webhook configuration: its endpoints and secrets, one versioned record."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.errors import Conflict, NotFound
from core.tenants.tenant import Tenant
from core.webhooks.endpoint import DEFAULT_ID, MOST_ENDPOINTS, Disabled, Endpoint, EndpointKind
from core.webhooks.secrets import MOST_SECRETS, Secret, SecretKind, ending_at, is_live, live_texts


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
        return live_texts(self.secrets, now)

    def live_keys(self, now: datetime) -> tuple[str, ...]:
        """The ed25519 keys that deliveries are signed with now; none where it was not asked for."""
        return live_texts(self.signing_keys, now)

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
        live = [secret for secret in held if is_live(secret, now)]
        if len(live) >= MOST_SECRETS:
            raise Conflict(f"{MOST_SECRETS} secrets are live; wait until one has ended.")
        ends_at = now + overlap
        older = [ending_at(secret, ends_at) for secret in live]
        secrets = (Secret(new), *(secret for secret in older if is_live(secret, now)))
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
    return (*new, *(ending_at(secret, tenant.webhook_overlap_ends_at) for secret in kept))
