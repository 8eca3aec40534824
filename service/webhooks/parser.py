"""What the bodies and queries of the webhook calls ask for: tables of names and readers. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from core.errors import FieldError, InvalidInput
from core.retention import DELIVERY_RETENTION
from core.webhooks.custom_headers import header_error, header_list_error
from core.webhooks.delivery import UNDELIVERED_STATES, DeliveryState, WebhookEventType
from core.webhooks.endpoint import (
    MAX_ENDPOINT_TIMEOUT,
    MIN_ENDPOINT_TIMEOUT,
    EndpointKind,
    PayloadStyle,
    parse_stream_url,
)
from core.webhooks.replay import ReplayRange
from core.webhooks.secrets import SecretKind
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import (
    InvalidField,
    enum_parser,
    parse_fields,
    parse_integer,
    parse_query_fields,
    parse_timestamp,
    parse_webhook_url,
)

MAX_OVERLAP: Final = timedelta(days=7)
DEFAULT_OVERLAP: Final = timedelta(days=1)
MAX_PAGE_SIZE: Final = 100
DEFAULT_PAGE_SIZE: Final = 50


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """Where endpoints may be: which URLs, and which of the operator's sinks."""

    target_policy: TargetPolicy
    sinks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EndpointInput:
    """The fields of an endpoint that a body names, ready for the record; `enabled` apart."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class SecretRotation:
    """Which kind of secret is to be made anew, and how long those before it still count."""

    kind: SecretKind = SecretKind.HMAC
    overlap: timedelta = DEFAULT_OVERLAP


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """A page of a tenant's deliveries, newest first."""

    since: datetime
    until: datetime
    state: DeliveryState | None = None
    limit: int = DEFAULT_PAGE_SIZE
    cursor: str | None = None


def parse_endpoint(body: Mapping[str, Any], policy: EndpointPolicy) -> EndpointInput:
    """An endpoint's fields. Raises `InvalidInput` with every wrong one by name."""
    values = _parse_body(body, _ENDPOINT_PARSERS, policy)
    enabled = values.pop("enabled", None)
    url = values.get("url")
    if url is not None:
        is_stream = parse_stream_url(url) is not None
        values["kind"] = EndpointKind.STREAM if is_stream else EndpointKind.HTTP
    return EndpointInput(values, enabled)


def parse_rotation(body: Mapping[str, Any]) -> SecretRotation:
    """What to rotate. Raises `InvalidInput`."""
    return SecretRotation(**_parse_body(body, _ROTATION_PARSERS, None))


def parse_overlap(body: Mapping[str, Any]) -> timedelta:
    """How long the secret before an operator's new one still counts. Raises `InvalidInput`."""
    name = "overlap_seconds"
    overlap: timedelta = _parse_body(body, {name: _ROTATION_PARSERS["overlap"]}, None).get(
        name, DEFAULT_OVERLAP
    )
    return overlap


def parse_replay(body: Mapping[str, Any], now: datetime) -> ReplayRange:
    """A stretch to send anew; by default what was missed, until now. Raises `InvalidInput`."""
    values = _parse_body(body, _REPLAY_PARSERS, None)
    if "since" not in values:
        raise _invalid_body(
            FieldError("/since", "is needed: an instant, such as 2026-11-22T08:00:00Z")
        )
    state, until = values.get("status"), values.get("until", now)
    states = UNDELIVERED_STATES if state is None else frozenset({state})
    stretch = ReplayRange(values["since"], until, states, values.get("endpoint_id"))
    if stretch.since > stretch.until:
        raise _invalid_body(FieldError("/until", "must not be before since"))
    return stretch


def parse_test_request(body: Mapping[str, Any]) -> str | None:
    """Which endpoint is to be tested; None for all. Raises `InvalidInput`."""
    endpoint_id: str | None = _parse_body(body, {"endpoint_id": _parse_text}, None).get(
        "endpoint_id"
    )
    return endpoint_id


def parse_delivery_query(fields: Mapping[str, str], now: datetime) -> DeliveryQuery:
    """Which deliveries are asked for. Raises `MalformedRequest`."""
    values = parse_query_fields(fields, _QUERY_PARSERS)
    named = {_FIELD_NAMES.get(name, name): value for name, value in values.items()}
    return DeliveryQuery(**{"since": now - DELIVERY_RETENTION, "until": now} | named)


def _parse_body(
    body: Mapping[str, Any],
    parsers: Mapping[str, "_Parser"],
    policy: Any,  # noqa: ANN401 - each table has its own
) -> dict[str, Any]:
    def read(name: str, value: object) -> object:
        if name not in parsers:
            raise InvalidField("is not a field of this")
        return parsers[name](value, policy)

    values, wrong = parse_fields(body, read, "/")
    if wrong:
        raise _invalid_body(*wrong)
    return values


def _invalid_body(*errors: FieldError) -> InvalidInput:
    first = errors[0]
    return InvalidInput(f"The body does not fit: {first.path} {first.message}.", fields=errors)


_Parser = Callable[[Any, Any], Any]


def _parse_url(value: Any, policy: EndpointPolicy) -> str:  # noqa: ANN401 - JSON
    text = _parse_text(value)
    if text.startswith("stream:"):
        return _parse_stream_url(text, policy)
    return parse_webhook_url(text, policy.target_policy)


def _parse_stream_url(text: str, policy: EndpointPolicy) -> str:
    stream = parse_stream_url(text)
    if stream is None:
        raise InvalidField("must be stream:<name> or stream:<name>@<sink>, in lower-case letters")
    if stream.sink is not None and stream.sink not in policy.sinks:
        raise InvalidField("names a sink that the operator does not offer")
    return text


def _parse_event_types(value: Any, _: object) -> frozenset[WebhookEventType] | None:  # noqa: ANN401 - JSON
    if value is None:
        return None
    offered = {
        event.value: event for event in WebhookEventType if event is not WebhookEventType.TEST
    }
    named = value if isinstance(value, list) else []
    if not named or not all(isinstance(text, str) and text in offered for text in named):
        raise InvalidField(f"must be null or a list of: {', '.join(sorted(offered))}")
    return frozenset(offered[text] for text in named)


def _parse_headers(value: Any, _: object) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - JSON
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidField("must be an object of texts")
    headers = tuple(value.items())
    objection = header_list_error(headers)
    if objection is not None:
        raise InvalidField(objection)
    for name, text in headers:
        objection = header_error(name, text)
        if objection is not None:
            raise InvalidField(f"{name[:64]}: {objection}")
    return headers


def _seconds_parser(minimum: timedelta, maximum: timedelta) -> _Parser:
    first, last = minimum.total_seconds(), maximum.total_seconds()

    def read(value: Any, _: object) -> timedelta:  # noqa: ANN401 - JSON
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not first <= value <= last:
            raise InvalidField(f"must be a number of seconds from {first:g} to {last:g}")
        return timedelta(seconds=value)

    return read


def _parse_boolean(value: Any, _: object) -> bool:  # noqa: ANN401 - JSON
    if not isinstance(value, bool):
        raise InvalidField("must be true or false")
    return value


def _parse_text(value: Any, _: object = None) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not value:
        raise InvalidField("must be a text")
    return value


def _parse_timestamp(value: Any, _: object) -> datetime:  # noqa: ANN401 - JSON
    return parse_timestamp(_parse_text(value))


def _enum_parser(kind: type[StrEnum]) -> _Parser:
    read = enum_parser(kind)
    return lambda value, _: read(value)


_ENDPOINT_PARSERS: Final[Mapping[str, _Parser]] = {
    "url": _parse_url,
    "events": _parse_event_types,
    "payload": _enum_parser(PayloadStyle),
    "headers": _parse_headers,
    "timeout": _seconds_parser(MIN_ENDPOINT_TIMEOUT, MAX_ENDPOINT_TIMEOUT),
    "enabled": _parse_boolean,
}
_ROTATION_PARSERS: Final[Mapping[str, _Parser]] = {
    "kind": _enum_parser(SecretKind),
    "overlap": _seconds_parser(timedelta(), MAX_OVERLAP),
}
_REPLAY_PARSERS: Final[Mapping[str, _Parser]] = {
    "since": _parse_timestamp,
    "until": _parse_timestamp,
    "status": _enum_parser(DeliveryState),
    "endpoint_id": _parse_text,
}
_QUERY_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "since": parse_timestamp,
    "until": parse_timestamp,
    "status": enum_parser(DeliveryState),
    "limit": lambda text: parse_integer(text, 1, MAX_PAGE_SIZE),
    "cursor": _parse_text,
}
_FIELD_NAMES: Final = {"status": "state"}
