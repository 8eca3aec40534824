"""The wire form of records: JSON without defaults, so that a newer gateway reads older ones."""

from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter

from core.batches import Batch
from core.circuit_breaker import Breaker
from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.operations import AuditEntry
from core.tenants.api_keys import KeyRecord
from core.tenants.tenant import Tenant
from core.webhooks.circuit_breaker import Channel
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.replay import Replay

T = TypeVar("T")


class Codec(Generic[T]):
    """One value type's bytes."""

    def __init__(self, kind: type[T]) -> None:
        """`kind` is a frozen dataclass."""
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def write(self, value: T) -> bytes:
        """The JSON of `value`."""
        return self._adapter.dump_json(value, exclude_defaults=True)

    def read(self, document: bytes) -> T:
        """What `write` wrote, by this version or an earlier one.

        Raises pydantic's `ValidationError`.
        """
        return self._adapter.validate_json(document)


JOBS: Final = Codec(Job)
ENTRIES: Final = Codec(TimelineEntry)
DELIVERIES: Final = Codec(Delivery)
ATTEMPTS: Final = Codec(DeliveryAttempt)
TENANTS: Final = Codec(Tenant)
KEYS: Final = Codec(KeyRecord)
BREAKERS: Final = Codec(Breaker)
CHANNELS: Final = Codec(Channel)
SETUPS: Final = Codec(WebhookSetup)
BATCHES: Final = Codec(Batch)
REPLAYS: Final = Codec(Replay)
AUDITS: Final = Codec(AuditEntry)
