"""What the bodies and queries of the webhook calls ask for: tables of names and readers. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from core.errors import FieldError, InvalidInput
from core.retention import RETENTION
from core.webhooks.custom_headers import header_objection, headers_objection
from core.webhooks.delivery import MISSED, DeliveryState, EventType
from core.webhooks.endpoint import (
    LONGEST_TIMEOUT,
    SHORTEST_TIMEOUT,
    EndpointKind,
    Payload,
    read_stream,
)
from core.webhooks.replay import Stretch
from core.webhooks.secrets import SecretKind
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import Unfit, instant, judge, read_table, receiver, whole, word

LONGEST_OVERLAP: Final = timedelta(days=7)
DEFAULT_OVERLAP: Final = timedelta(days=1)
MOST_ON_A_PAGE: Final = 100
DEFAULT_ON_A_PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """Where endpoints may be: which URLs, and which of the operator's sinks."""

    targets: TargetPolicy
    sinks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """The fields of an endpoint that a body names, ready for the record; `enabled` apart."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """Which kind of secret is to be made anew, and how long those before it still count."""

    kind: SecretKind = SecretKind.HMAC
    overlap: timedelta = DEFAULT_OVERLAP


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """A page of a tenant's deliveries, newest first."""

    since: datetime
    until: datetime
    state: DeliveryState | None = None
    limit: int = DEFAULT_ON_A_PAGE
    cursor: str | None = None


def read_endpoint(body: Mapping[str, Any], policy: EndpointPolicy) -> EndpointDraft:
    """An endpoint's fields. Raises `InvalidInput` with every wrong one by name."""
    values = _walk(body, _ENDPOINT, policy)
    enabled = values.pop("enabled", None)
    url = values.get("url")
    if url is not None:
        is_stream = read_stream(url) is not None
        values["kind"] = EndpointKind.STREAM if is_stream else EndpointKind.HTTP
    return EndpointDraft(values, enabled)


def read_rotation(body: Mapping[str, Any]) -> Rotation:
    """What to rotate. Raises `InvalidInput`."""
    return Rotation(**_walk(body, _ROTATION, None))


def read_overlap(body: Mapping[str, Any]) -> timedelta:
    """How long the secret before an operator's new one still counts. Raises `InvalidInput`."""
    name = "overlap_seconds"
    overlap: timedelta = _walk(body, {name: _ROTATION["overlap"]}, None).get(name, DEFAULT_OVERLAP)
    return overlap


def read_replay(body: Mapping[str, Any], now: datetime) -> Stretch:
    """A stretch to send anew; by default what was missed, until now. Raises `InvalidInput`."""
    values = _walk(body, _REPLAY, None)
    if "since" not in values:
        raise _invalid(FieldError("/since", "is needed: an instant, such as 2026-11-22T08:00:00Z"))
    state, until = values.get("status"), values.get("until", now)
    states = MISSED if state is None else frozenset({state})
    stretch = Stretch(values["since"], until, states, values.get("endpoint_id"))
    if stretch.since > stretch.until:
        raise _invalid(FieldError("/until", "must not be before since"))
    return stretch


def read_test(body: Mapping[str, Any]) -> str | None:
    """Which endpoint is to be tested; None for all. Raises `InvalidInput`."""
    endpoint_id: str | None = _walk(body, {"endpoint_id": _text}, None).get("endpoint_id")
    return endpoint_id


def read_delivery_query(fields: Mapping[str, str], now: datetime) -> DeliveryQuery:
    """Which deliveries are asked for. Raises `MalformedRequest`."""
    values = read_table(fields, _QUERY)
    named = {_NAMES.get(name, name): value for name, value in values.items()}
    return DeliveryQuery(**{"since": now - 2 * RETENTION, "until": now} | named)


def _walk(body: Mapping[str, Any], readers: Mapping[str, "_Reader"], policy: Any) -> dict[str, Any]:  # noqa: ANN401 - each table has its own
    def read(name: str, value: object) -> object:
        if name not in readers:
            raise Unfit("is not a field of this")
        return readers[name](value, policy)

    values, wrong = judge(body, read, "/")
    if wrong:
        raise _invalid(*wrong)
    return values


def _invalid(*wrong: FieldError) -> InvalidInput:
    first = wrong[0]
    return InvalidInput(f"The body does not fit: {first.path} {first.message}.", fields=wrong)


_Reader = Callable[[Any, Any], Any]


def _url(value: Any, policy: EndpointPolicy) -> str:  # noqa: ANN401 - JSON
    text = _text(value)
    if text.startswith("stream:"):
        return _stream(text, policy)
    return receiver(text, policy.targets)


def _stream(text: str, policy: EndpointPolicy) -> str:
    stream = read_stream(text)
    if stream is None:
        raise Unfit("must be stream:<name> or stream:<name>@<sink>, in lower-case letters")
    if stream.sink is not None and stream.sink not in policy.sinks:
        raise Unfit("names a sink that the operator does not offer")
    return text


def _events(value: Any, _: object) -> frozenset[EventType] | None:  # noqa: ANN401 - JSON
    if value is None:
        return None
    offered = {event.value: event for event in EventType if event is not EventType.TEST}
    named = value if isinstance(value, list) else []
    if not named or not all(isinstance(text, str) and text in offered for text in named):
        raise Unfit(f"must be null or a list of: {', '.join(sorted(offered))}")
    return frozenset(offered[text] for text in named)


def _headers(value: Any, _: object) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - JSON
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Unfit("must be an object of texts")
    headers = tuple(value.items())
    objection = headers_objection(headers)
    if objection is not None:
        raise Unfit(objection)
    for name, text in headers:
        objection = header_objection(name, text)
        if objection is not None:
            raise Unfit(f"{name[:64]}: {objection}")
    return headers


def _seconds(least: timedelta, most: timedelta) -> _Reader:
    first, last = least.total_seconds(), most.total_seconds()

    def read(value: Any, _: object) -> timedelta:  # noqa: ANN401 - JSON
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not first <= value <= last:
            raise Unfit(f"must be a number of seconds from {first:g} to {last:g}")
        return timedelta(seconds=value)

    return read


def _flag(value: Any, _: object) -> bool:  # noqa: ANN401 - JSON
    if not isinstance(value, bool):
        raise Unfit("must be true or false")
    return value


def _text(value: Any, _: object = None) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not value:
        raise Unfit("must be a text")
    return value


def _instant(value: Any, _: object) -> datetime:  # noqa: ANN401 - JSON
    return instant(_text(value))


def _word(kind: type[StrEnum]) -> _Reader:
    read = word(kind)
    return lambda value, _: read(value)


_ENDPOINT: Final[Mapping[str, _Reader]] = {
    "url": _url,
    "events": _events,
    "payload": _word(Payload),
    "headers": _headers,
    "timeout": _seconds(SHORTEST_TIMEOUT, LONGEST_TIMEOUT),
    "enabled": _flag,
}
_ROTATION: Final[Mapping[str, _Reader]] = {
    "kind": _word(SecretKind),
    "overlap": _seconds(timedelta(), LONGEST_OVERLAP),
}
_REPLAY: Final[Mapping[str, _Reader]] = {
    "since": _instant,
    "until": _instant,
    "status": _word(DeliveryState),
    "endpoint_id": _text,
}
_QUERY: Final[Mapping[str, Callable[[str], Any]]] = {
    "since": instant,
    "until": instant,
    "status": word(DeliveryState),
    "limit": lambda text: whole(text, 1, MOST_ON_A_PAGE),
    "cursor": _text,
}
_NAMES: Final = {"status": "state"}
