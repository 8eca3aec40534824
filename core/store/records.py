"""The wire form of records: JSON without defaults, so that a newer gateway reads older ones."""

from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter

from core.audit import AuditEntry
from core.batches import Batch
from core.breaker import Breaker
from core.channels import Channel
from core.deliveries import Delivery, DeliveryAttempt
from core.endpoints import WebhookSetup
from core.jobs import Job, TimelineEntry
from core.replays import Replay
from core.tenants import KeyRecord, Tenant

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
