"""What tenants and operators send about webhooks: endpoints, secrets, replays, deliveries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from core.errors import FieldError
from core.retention import DELIVERY_RETENTION
from core.webhooks.custom_headers import header_error, header_list_error
from core.webhooks.delivery import UNDELIVERED_STATES, DeliveryState, WebhookEventType
from core.webhooks.endpoint import (
    MAX_ENDPOINT_TIMEOUT,
    MIN_ENDPOINT_TIMEOUT,
    SUBSCRIBABLE_EVENTS,
    DisabledReason,
    Endpoint,
    EndpointKind,
    PayloadStyle,
    parse_stream_url,
)
from core.webhooks.replay import ReplayRange
from core.webhooks.secrets import SecretKind
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import InvalidField, parse_webhook_url
from service.parsing.request_models import (
    Flag,
    Number,
    RequestModel,
    Text,
    Timestamp,
    WholeNumberOption,
    invalid_input,
    optional,
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

    def check_url(self, url: str) -> None:
        """Raises `InvalidInput` for a URL that no endpoint may have."""
        try:
            if url.startswith("stream:"):
                self._check_stream(url)
            else:
                parse_webhook_url(url, self.target_policy)
        except InvalidField as error:
            raise invalid_input((FieldError("/url", str(error)),)) from error

    def _check_stream(self, url: str) -> None:
        stream = parse_stream_url(url)
        if stream is None:
            raise InvalidField(
                "must be stream:<name> or stream:<name>@<sink>, in lower-case letters"
            )
        if stream.sink is not None and stream.sink not in self.sinks:
            raise InvalidField("names a sink that the operator does not offer")


def _check_event(event: WebhookEventType) -> WebhookEventType:
    if event not in SUBSCRIBABLE_EVENTS:
        raise InvalidField("is sent to every endpoint and cannot be subscribed to")
    return event


def _check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    objection = header_list_error(tuple(headers.items()))
    if objection is not None:
        raise InvalidField(objection)
    for name, text in headers.items():
        objection = header_error(name, text)
        if objection is not None:
            raise InvalidField(f"{name[:64]}: {objection}")
    return headers


_Event = Annotated[
    WebhookEventType,
    AfterValidator(_check_event),
    WithJsonSchema({"type": "string", "enum": [str(event) for event in SUBSCRIBABLE_EVENTS]}),
]
_HeaderValue = Annotated[Text, WithJsonSchema({"type": "string", "pattern": "^[ -~]{1,1024}$"})]
_Name = Annotated[Text, Field(min_length=1)]


class EndpointChange(RequestModel):
    """The fields of an endpoint to change."""

    url: Text = Field(
        "",
        description="`https://…`; or `stream:<name>` (a Redis stream of the gateway, CloudEvents "
        "1.0), `stream:<name>@<sink>` for one that the operator offers.",
    )
    events: Annotated[list[_Event], Field(min_length=1)] | None = Field(
        None, description="null: the final events, and intermediate ones that the submit requested."
    )
    payload: PayloadStyle = PayloadStyle.FULL
    headers: Annotated[Mapping[str, _HeaderValue], AfterValidator(_check_headers)] = Field(
        {}, description="Sent with each webhook, for example an authorization."
    )
    timeout: Annotated[
        float,
        Number(
            MIN_ENDPOINT_TIMEOUT.total_seconds(),
            MAX_ENDPOINT_TIMEOUT.total_seconds(),
            " of seconds",
        ),
    ] = Field(MAX_ENDPOINT_TIMEOUT.total_seconds(), description="Seconds for one attempt.")
    enabled: Flag = True

    def applied_to(self, endpoint: Endpoint, now: datetime) -> Endpoint:
        """Return the endpoint with the fields that were given."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        enabled = given.pop("enabled", endpoint.disabled_reason is None)
        if "url" in given:
            is_stream = parse_stream_url(self.url) is not None
            given["kind"] = EndpointKind.STREAM if is_stream else EndpointKind.HTTP
        if "events" in given:
            given["events"] = None if self.events is None else frozenset(self.events)
        if "headers" in given:
            given["headers"] = tuple(self.headers.items())
        if "timeout" in given:
            given["timeout"] = timedelta(seconds=self.timeout)
        return _switched(replace(endpoint, **given), now, enabled=enabled)


def _switched(endpoint: Endpoint, now: datetime, *, enabled: bool) -> Endpoint:
    if enabled is (endpoint.disabled_reason is None):
        return endpoint
    if enabled:
        return replace(endpoint, disabled_reason=None, disabled_at=None)
    return replace(endpoint, disabled_reason=DisabledReason.BY_OWNER, disabled_at=now)


class EndpointRequest(EndpointChange):
    """An endpoint to create."""

    url: Text


class SecretRotation(RequestModel):
    """Which kind of secret to replace, and how long the previous ones remain valid."""

    kind: SecretKind = SecretKind.HMAC
    overlap: Annotated[float, Number(0, MAX_OVERLAP.total_seconds(), " of seconds")] = Field(
        DEFAULT_OVERLAP.total_seconds(), description="Seconds."
    )


class ReplayRequest(RequestModel):
    """A range of deliveries to send again; by default those that failed or were held, until now."""

    since: Timestamp
    until: Timestamp | None = optional()
    status: DeliveryState | None = optional()
    endpoint_id: _Name | None = optional()

    def range(self, now: datetime) -> ReplayRange:
        """Return the range. Raises `InvalidInput` where its end is before its start."""
        until = self.until or now
        if self.since > until:
            raise invalid_input((FieldError("/until", "must not be before since"),))
        states = UNDELIVERED_STATES if self.status is None else frozenset({self.status})
        return ReplayRange(self.since, until, states, self.endpoint_id)


class TestEventRequest(RequestModel):
    """Which endpoint to test."""

    endpoint_id: _Name | None = optional("Left out: every endpoint that is enabled.")


class DeliveryQuery(RequestModel):
    """A page of a tenant's deliveries, newest first."""

    status: DeliveryState | None = Field(None, description="Only these.")
    since: Timestamp | None = Field(None, description="Created at this time or later.")
    until: Timestamp | None = Field(None, description="Created at this time or earlier.")
    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(
        DEFAULT_PAGE_SIZE, description="Page size."
    )
    cursor: _Name | None = Field(None, description="`next_cursor` of the previous page.")

    def created_between(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the first and the last time; by default all that is stored."""
        return self.since or now - DELIVERY_RETENTION, self.until or now
