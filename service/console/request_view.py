"""One request as its page shows it: the phases of its life to scale, its media. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.jobs.job import JobState
from service.console.rendering import media_kind, parse_time

JsonObject = Mapping[str, Any]
_PHASES: Final[Mapping[str, str]] = {
    JobState.QUEUED: "waiting",
    JobState.FOLLOWING: "waiting",
    JobState.SUBMITTING: "submit",
    JobState.IN_DOUBT: "in doubt",
    JobState.RUNNING: "at RunComfy",
    JobState.CANCELLING: "at RunComfy",
    JobState.COLLECTING: "collecting",
}
FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})
_WEBHOOK: Final = "webhook"
_MAX_MEDIA: Final = 100
_MIN_WIDTH: Final = 0.4
"""In percent: a phase of no length is still to be seen."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a request's life. `start` and `width` are percentages of the whole."""

    name: str
    start: float
    width: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, video or sound that a document names."""

    name: str
    url: str
    kind: str


def phases(detail: JsonObject, deliveries: Sequence[JsonObject], now: datetime) -> list[Phase]:
    """Return what a request spent its time with, in order; its webhooks come last."""
    spans = [*_state_spans(detail, now), *_delivery_spans(deliveries, now)]
    if not spans:
        return []
    first = min(begin for _, begin, _ in spans)
    total = max((max(end for _, _, end in spans) - first).total_seconds(), 0.001)
    return [
        Phase(
            name,
            round((begin - first).total_seconds() / total * 100, 2),
            round(max((end - begin).total_seconds() / total * 100, _MIN_WIDTH), 2),
            (end - begin).total_seconds(),
        )
        for name, begin, end in spans
    ]


Span = tuple[str, datetime, datetime]


def _state_spans(detail: JsonObject, now: datetime) -> Iterator[Span]:
    created = parse_time(detail.get("created_at"))
    if created is None:
        return
    name, begin = "waiting", created
    for entry in detail.get("timeline", ()):
        at, state = parse_time(entry.get("at")), entry.get("state")
        phase = _PHASES.get(state, "") if state else name
        if at is None or phase == name:
            continue
        if name and at >= begin:
            yield name, begin, at
        name, begin = phase, at
    end = parse_time(detail.get("finished_at")) or now
    if name and end >= begin:
        yield name, begin, end


def _delivery_spans(deliveries: Sequence[JsonObject], now: datetime) -> Iterator[Span]:
    for delivery in deliveries:
        begin = parse_time(delivery.get("created_at"))
        if begin is not None:
            end = parse_time(delivery.get("finished_at")) or now
            yield _WEBHOOK, begin, max(begin, end)


def media_in(document: object, name: str = "") -> list[Medium]:
    """Return the media that a document names, with the name of the field, in order."""
    return list(_walk(document, name))[:_MAX_MEDIA]


def urls_of(media: Any) -> list[str]:  # noqa: ANN401 - several groups of media
    """Return the addresses of groups of media."""
    return [medium.url for group in media for medium in group]


def outputs_in(detail: JsonObject) -> list[Medium]:
    """Return the media of a request's output: those that the gateway keeps by its own links."""
    kept = [one for one in detail.get("outputs", ()) if "url" in one]
    ours = [Medium(one["field"], one["url"], one["media_type"].partition("/")[0]) for one in kept]
    sources = {one["source_url"] for one in kept}
    others = [each for each in media_in(detail.get("output")) if each.url not in sources]
    return [*ours, *others][:_MAX_MEDIA]


def _walk(value: object, name: str) -> Iterator[Medium]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{name}[{number}]")
    elif kind := media_kind(value):
        yield Medium(name, str(value), kind)
