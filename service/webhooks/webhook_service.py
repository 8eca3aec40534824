"""What tenants and operators do with callbacks: endpoints, secrets, resending. Knows no HTTP.

Every change is made upon the record as it stands: who was first wins, the other tries anew.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import orjson

from core.clock import Clock
from core.errors import Conflict, FieldError, InvalidInput, NotFound
from core.ids import IdSource, may_be_id
from core.retention import RETENTION
from core.store.deliveries import Span
from core.store.webhook_endpoints import SetupChange
from core.tenants.tenant import is_name
from core.transactions.notifications import jobless_notice
from core.webhooks.circuit_breaker import Channel
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import (
    MISSED,
    ChannelMove,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    EventType,
)
from core.webhooks.endpoint import DEFAULT_ID, Disabled, Endpoint, channel_of_endpoint
from core.webhooks.replay import Replay, Stretch
from core.webhooks.secrets import SecretKind, mint_webhook_secret
from core.webhooks.signing_keys import mint_signing_key
from service.ports import Deliveries, Replays, Setups
from service.webhooks.parser import DeliveryQuery, EndpointDraft, EndpointPolicy, Rotation

_TRIES: Final = 5
_SCAN: Final = 100
MOST_SCANNED: Final = 1000
"""How many deliveries one page looks through for those of the status asked for."""
OWED: Final = MISSED | {DeliveryState.PENDING}
"""What an endpoint is sent when it is enabled again."""


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries with their attempts; `cursor` is there while more may follow."""

    deliveries: tuple[tuple[Delivery, Sequence[DeliveryAttempt]], ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Silence:
    """An endpoint that is disabled, and how many callbacks it is owed (see `Mailroom.silent`)."""

    endpoint: Endpoint
    owed: int


@dataclass(frozen=True, slots=True)
class Mailroom:
    """The use cases, over the stores."""

    setups: Setups
    deliveries: Deliveries
    replays: Replays
    clock: Clock
    ids: IdSource
    policy: EndpointPolicy

    # Endpoints and secrets

    async def setup(self, tenant: str) -> WebhookSetup:
        """A tenant's endpoints and secrets. Raises `NotFound` for an unknown tenant."""
        setup = await self.find(tenant)
        if setup is None:
            raise NotFound("There is no such tenant.")
        return setup

    async def find(self, tenant: str) -> WebhookSetup | None:
        """The same; None where no tenant has that name. The text may be a stranger's."""
        return await self.setups.load(tenant) if is_name(tenant) else None

    async def silent(self, tenant: str) -> tuple[Silence, ...]:
        """The endpoints that get nothing, and what each is owed of the newest `MOST_SCANNED`."""
        setup = await self.setup(tenant)
        disabled = [end for end in setup.endpoints if end.disabled is not None]
        owed = await self._owed(tenant) if disabled else {}
        return tuple(Silence(end, owed.get(end.id, 0)) for end in disabled)

    async def _owed(self, tenant: str) -> Counter[str | None]:
        now = self.clock.now()
        ids = await self.deliveries.newest_first(tenant, Span(now - RETENTION, now), MOST_SCANNED)
        found = await asyncio.gather(*map(self.deliveries.load, ids))
        return Counter(each.endpoint for each in found if each and each.state in OWED)

    async def create(self, tenant: str, draft: EndpointDraft) -> Endpoint:
        """A new endpoint; the first becomes the default. Raises `InvalidInput`, `Conflict`."""
        if "url" not in draft.fields:
            wrong = FieldError("/url", "is needed")
            raise InvalidInput("The body does not fit: /url is needed.", fields=(wrong,))
        now = self.clock.now()
        endpoint_id = self.ids.endpoint_id(now)

        def decide(setup: WebhookSetup) -> WebhookSetup:
            name = endpoint_id if setup.find(DEFAULT_ID) else DEFAULT_ID
            made = _drafted(Endpoint(name, "", now), draft, now)
            return setup.adding(made)

        after = await self._change(tenant, decide)
        return after.endpoints[-1]

    async def change(self, tenant: str, endpoint_id: str, draft: EndpointDraft) -> Endpoint:
        """Change an endpoint. One that is enabled again gets what it missed, if it is kept still.

        Raises `NotFound`, `Conflict`.
        """
        now = self.clock.now()
        for _ in range(_TRIES):
            before = await self.setup(tenant)
            held = before.endpoint(endpoint_id)
            after = before.changing(_drafted(held, draft, now))
            change = SetupChange(before, after)
            if held.disabled is not None and after.endpoint(endpoint_id).disabled is None:
                missed = Stretch(now - RETENTION, now, endpoint=endpoint_id)
                replay = await self.replays.load(tenant)
                change = replace(change, replay_before=replay, replay_after=replay.adding(missed))
            if await self.setups.change(change):
                await self._ease(channel_of_endpoint(tenant, endpoint_id), Channel.forgotten)
                return after.endpoint(endpoint_id)
        raise _contended()

    async def remove(self, tenant: str, endpoint_id: str) -> None:
        """Delete an endpoint; what waits for it is given up. Raises `NotFound`."""
        await self._change(tenant, lambda setup: setup.without(endpoint_id))

    async def rotate(self, tenant: str, rotation: Rotation) -> str:
        """Make a new secret or key, and return it; those before it end after the overlap."""
        mint = mint_webhook_secret if rotation.kind is SecretKind.HMAC else mint_signing_key
        new, now = mint(self.ids.secret()), self.clock.now()
        await self._change(
            tenant, lambda setup: setup.rotated(rotation.kind, new, now, rotation.overlap)
        )
        return new

    async def test(self, tenant: str, endpoint_id: str | None = None) -> tuple[Delivery, ...]:
        """Send a test event to one endpoint, or to all that are enabled.

        Raises `NotFound`, `Conflict`.
        """
        setup, now = await self.setup(tenant), self.clock.now()
        chosen = setup.endpoints if endpoint_id is None else (setup.endpoint(endpoint_id),)
        enabled = [endpoint for endpoint in chosen if endpoint.disabled is None]
        if not enabled:
            raise Conflict("There is no enabled endpoint to test.")
        made = []
        for endpoint in enabled:
            data = orjson.dumps({"endpoint_id": endpoint.id}).decode()
            named = (self.ids.delivery_id(now), now)
            delivery = jobless_notice(setup, endpoint, EventType.TEST, data, named)
            await self.deliveries.post(None, delivery)
            await self._ease(delivery.channel, Channel.opened)
            made.append(delivery)
        return tuple(made)

    # Deliveries

    async def page(self, tenant: str, query: DeliveryQuery) -> DeliveryPage:
        """A tenant's deliveries, newest first."""
        found: list[Delivery] = []
        cursor, scanned = query.cursor, 0
        while len(found) < query.limit and scanned < MOST_SCANNED:
            span = Span(query.since, query.until, cursor)
            # One more than wanted tells whether any follow.
            asked = _SCAN if query.state else query.limit - len(found) + 1
            ids = await self.deliveries.newest_first(tenant, span, asked)
            loaded = await asyncio.gather(*map(self.deliveries.load, ids))
            for name, delivery in zip(ids, loaded, strict=True):
                cursor, scanned = name, scanned + 1
                if delivery is not None and query.state in {None, delivery.state}:
                    found.append(delivery)
                if len(found) == query.limit:
                    break
            if len(ids) < asked and (not ids or cursor == ids[-1]):
                cursor = None
                break
        return DeliveryPage(await self.with_attempts(found), cursor)

    async def with_attempts(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[tuple[Delivery, Sequence[DeliveryAttempt]], ...]:
        """Deliveries, each with what its attempts met."""
        attempts = await asyncio.gather(*(self.deliveries.attempts(d.id) for d in deliveries))
        return tuple(zip(deliveries, attempts, strict=True))

    async def named(self, ids: Sequence[str]) -> tuple[Delivery, ...]:
        """The deliveries of these ids that are still there."""
        loaded = await asyncio.gather(*map(self.deliveries.load, ids))
        return tuple(delivery for delivery in loaded if delivery is not None)

    async def resend(self, tenant: str, delivery_id: str) -> Delivery:
        """Send one event anew, now, under its old id. Raises `NotFound`, `Conflict`."""
        for _ in range(_TRIES):
            before = await self.deliveries.load(delivery_id) if may_be_id(delivery_id) else None
            if before is None or before.tenant != tenant:
                raise NotFound("There is no such delivery.")
            after = before.resent(self.clock.now())
            if await self.deliveries.post(before, after):
                await self._ease(after.channel, Channel.opened)
                return after
        raise _contended()

    async def replay(self, tenant: str, stretch: Stretch) -> Replay:
        """Have a stretch of events sent anew, a few each second. Raises `Conflict`."""
        for _ in range(_TRIES):
            before = await self.replays.load(tenant)
            after = before.adding(stretch)
            if await self.replays.move(before, after, self.clock.now()):
                return after
        raise _contended()

    async def _change(
        self, tenant: str, decide: Callable[[WebhookSetup], WebhookSetup]
    ) -> WebhookSetup:
        for _ in range(_TRIES):
            before = await self.setup(tenant)
            after = decide(before)
            if await self.setups.change(SetupChange(before, after)):
                return after
        raise _contended()

    async def _ease(self, name: str, step: Callable[[Channel], Channel]) -> None:
        """Let a channel's breaker know of a person's wish; no loss if others are faster."""
        for _ in range(_TRIES):
            before = await self.deliveries.channel(name)
            after = step(before)
            if after == before or await self.deliveries.move_channel(
                ChannelMove(name, before, after)
            ):
                return


def _drafted(endpoint: Endpoint, draft: EndpointDraft, now: datetime) -> Endpoint:
    changed = replace(endpoint, **draft.fields)
    if draft.enabled is None or draft.enabled == (endpoint.disabled is None):
        return changed
    if draft.enabled:
        return replace(changed, disabled=None, disabled_at=None)
    return replace(changed, disabled=Disabled.BY_OWNER, disabled_at=now)


def _contended() -> Conflict:
    return Conflict("Somebody else kept changing the same; ask again.")
