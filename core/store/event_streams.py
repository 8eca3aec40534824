"""Events written to Redis streams, for teams that do not want to be called. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from core.errors import StoreUnavailable
from core.store import keys
from core.store.client import Wire
from core.webhooks.endpoint import Stream

FIELD: Final = "event"
"""The one field of a stream's entries: the CloudEvent as JSON."""


@dataclass(frozen=True, slots=True)
class SinkPolicy:
    """`keep` is about how many entries a stream holds; older ones are trimmed."""

    keep: int = 10_000


class StreamSinks:
    """The gateway's own Redis, and those that the operator named."""

    def __init__(self, own: Wire, named: Mapping[str, Wire], policy: SinkPolicy) -> None:
        """`named` are the wires to other Redis servers, by the names that tenants use."""
        self._own = own
        self._named = named
        self._policy = policy

    async def append(self, tenant: str, stream: Stream, event: bytes) -> None:
        """Add one event. Raises `StoreUnavailable`, also for a sink that is no longer named."""
        wire = self._own if stream.sink is None else self._named.get(stream.sink)
        if wire is None:
            raise StoreUnavailable("The operator names no such sink.")
        key = keys.sink(tenant, stream.name)
        try:
            await wire.execute("XADD", key, "MAXLEN", "~", self._policy.keep, "*", FIELD, event)
        except ResponseError as error:
            raise StoreUnavailable("The sink refuses the event.") from error
