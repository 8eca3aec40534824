"""Deliveries and their timeline entries as the tenant reads them. Pure.

Operators read why a target was not reached. To a tenant it would show which names and addresses
exist in the operator's network.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.outcomes import FailureKind
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.endpoint import Endpoint

UNREACHABLE: Final = "unreachable"
_HIDDEN: Final = frozenset(
    {FailureKind.DNS_ERROR, FailureKind.BLOCKED_TARGET, FailureKind.CONNECT_ERROR}
)

DeliveryRow = tuple[Delivery, Sequence[DeliveryAttempt]]
EndpointRow = tuple[Endpoint, EndpointCircuit]
"""An endpoint, and how attempts to it go at the moment."""


def deliveries_for_tenant(rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
    """Return the deliveries with one word for every target that was not reached."""
    return [
        (_delivery(delivery), [_attempt(attempt) for attempt in attempts])
        for delivery, attempts in rows
    ]


def timeline_for_tenant(timeline: Sequence[TimelineEntry]) -> tuple[TimelineEntry, ...]:
    """Return the timeline with the same words in its entries about deliveries."""
    return tuple(
        replace(entry, code=_outcome(entry.code)) if entry.kind is TimelineKind.DELIVERY else entry
        for entry in timeline
    )


def endpoints_for_tenant(rows: Sequence[EndpointRow]) -> list[EndpointRow]:
    """Return the endpoints with the same words for their last failure."""
    return [
        (
            one,
            state
            if (last := state.last_failure) is None
            else replace(state, last_failure=_outcome(last)),
        )
        for one, state in rows
    ]


def _delivery(delivery: Delivery) -> Delivery:
    last = delivery.last_outcome
    return delivery if last is None else replace(delivery, last_outcome=_outcome(last))


def _attempt(attempt: DeliveryAttempt) -> DeliveryAttempt:
    if attempt.outcome not in _HIDDEN:
        return attempt
    # The gateway's own message names the kind of address.
    return replace(attempt, outcome=UNREACHABLE, response_excerpt=None)


def _outcome(word: str) -> str:
    return UNREACHABLE if word in _HIDDEN else word
