"""JSON encoding of stored records.

Defaults are left out, so that a newer version reads records without its new fields, and records are
small. Fields that this version does not know are kept and written back.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator

from core.batches import Batch
from core.errors import RecordUnreadable
from core.files.records import StoredFile
from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.models.changes import ModelChange
from core.models.pins import ModelPin
from core.operators.audit import AuditEntry
from core.operators.operator import Operator
from core.store.unknown_fields import remove_unknown, restore_unknown
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.upstream.circuit_breaker import CircuitBreaker
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.replay import Replay

T = TypeVar("T")
UNKNOWN_FIELDS: Final = "unknown_fields"
"""The field of a record that holds what this version does not know. Never part of the JSON."""
_UNKNOWN_FIELD_ERROR: Final = "unexpected_keyword_argument"


class _Coder(NamedTuple):
    """What pydantic builds from the type of a record."""

    to_json: Callable[..., bytes]
    strict: SchemaValidator


class Codec(Generic[T]):
    """Encodes and decodes one type of record. Built when it is first used: few are in a process."""

    def __init__(self, value_type: type[T]) -> None:
        """`value_type` is a frozen dataclass."""
        self._value_type = value_type
        self._keeps_unknown = any(f.name == UNKNOWN_FIELDS for f in fields(value_type))  # type: ignore[arg-type]  # see `__init__`

    @cached_property
    def _coder(self) -> _Coder:
        adapter: TypeAdapter[T] = TypeAdapter(self._value_type)
        strict = SchemaValidator(_without_extra_fields(adapter.core_schema))
        return _Coder(adapter.serializer.to_json, strict)

    def encode(self, value: T) -> bytes:
        """Return a record as JSON, with the unknown fields that it was read with."""
        unknown = getattr(value, UNKNOWN_FIELDS, ())
        if not unknown:
            return self._coder.to_json(value, exclude_defaults=True)
        document = orjson.loads(
            self._coder.to_json(value, exclude_defaults=True, exclude={UNKNOWN_FIELDS})
        )
        restore_unknown(document, unknown)
        return orjson.dumps(document)

    def decode(self, document: bytes) -> T:
        """Parse a record that this version or another one encoded. Raises `RecordUnreadable`."""
        try:
            value: T = self._coder.strict.validate_json(document)
        except ValidationError as error:
            return self._decode_with_unknown(document, error.errors(include_url=False))
        return value

    def _decode_with_unknown(self, document: bytes, errors: list[ErrorDetails]) -> T:
        if any(error["type"] != _UNKNOWN_FIELD_ERROR for error in errors):
            raise RecordUnreadable(record_issue(errors))
        parsed = orjson.loads(document)
        unknown = remove_unknown(parsed, [error["loc"] for error in errors])
        value: T = self._coder.strict.validate_json(orjson.dumps(parsed))
        kept: dict[str, Any] = {UNKNOWN_FIELDS: unknown} if self._keeps_unknown else {}
        return replace(value, **kept)  # type: ignore[type-var]  # see `__init__`


def decode_readable(codec: Codec[T], documents: Iterable[bytes]) -> list[T]:
    """Return the records of a list that this version can read."""
    readable = []
    for document in documents:
        with suppress(RecordUnreadable):
            readable.append(codec.decode(document))
    return readable


def record_issue(errors: list[ErrorDetails]) -> str:
    """Return where a record cannot be read and why, without any of its values."""
    found = [error for error in errors if error["type"] != _UNKNOWN_FIELD_ERROR]
    path = ".".join(str(step) for step in found[0]["loc"]) or "document"
    return (
        f"This record cannot be read by this release of the gateway ({path}: {found[0]['type']})."
    )


def _without_extra_fields(schema: Any) -> Any:  # noqa: ANN401 - pydantic-core's schemas are nested dicts
    """Return a core schema in which every dataclass reports fields that it does not have."""
    if isinstance(schema, list):
        return [_without_extra_fields(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _without_extra_fields(part) for name, part in schema.items()}
    is_dataclass = schema.get("type") == "dataclass-args"
    return changed | {"extra_behavior": "forbid"} if is_dataclass else changed


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
OPERATOR_CODEC: Final = Codec(Operator)
FILE_CODEC: Final = Codec(StoredFile)
MODEL_CHANGE_CODEC: Final = Codec(ModelChange)
MODEL_PIN_CODEC: Final = Codec(ModelPin)
