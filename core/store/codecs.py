"""JSON encoding of stored records.

Defaults are left out, so that a newer version reads records without its new fields, and records are
small.
"""

from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter

from core.admin import AuditEntry
from core.batches import Batch
from core.circuit_breaker import CircuitBreaker
from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.model_changes import ModelChange
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.replay import Replay

T = TypeVar("T")


class Codec(Generic[T]):
    """Encodes and decodes one type of record."""

    def __init__(self, value_type: type[T]) -> None:
        """`value_type` is a frozen dataclass."""
        self._adapter: TypeAdapter[T] = TypeAdapter(value_type)

    def encode(self, value: T) -> bytes:
        """Return a record as JSON."""
        return self._adapter.dump_json(value, exclude_defaults=True)

    def decode(self, document: bytes) -> T:
        """Parse a record that this version or an earlier one encoded.

        Raises pydantic's `ValidationError`.
        """
        return self._adapter.validate_json(document)


JOB_CODEC: Final = Codec(Job)
TIMELINE_ENTRY_CODEC: Final = Codec(TimelineEntry)
DELIVERY_CODEC: Final = Codec(Delivery)
DELIVERY_ATTEMPT_CODEC: Final = Codec(DeliveryAttempt)
TENANT_CODEC: Final = Codec(Tenant)
API_KEY_CODEC: Final = Codec(ApiKey)
CIRCUIT_BREAKER_CODEC: Final = Codec(CircuitBreaker)
ENDPOINT_CIRCUIT_CODEC: Final = Codec(EndpointCircuit)
WEBHOOK_CONFIG_CODEC: Final = Codec(WebhookConfig)
BATCH_CODEC: Final = Codec(Batch)
REPLAY_CODEC: Final = Codec(Replay)
AUDIT_ENTRY_CODEC: Final = Codec(AuditEntry)
MODEL_CHANGE_CODEC: Final = Codec(ModelChange)
