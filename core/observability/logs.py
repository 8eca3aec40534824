"""How log lines look: events and the libraries' own records, one line each, without secrets.

Knows structlog; knows no business. `configure_logging` is called once, by a process's entry point.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, Final, TextIO, get_args

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from core.clock import Clock, SystemClock
from core.observability.events import (
    AccountBalanceRead,
    AdminAction,
    CacheLookup,
    CircuitBreakerTransitioned,
    EndpointDisabled,
    Event,
    JobAdmitted,
    JobPolled,
    OperationalWarning,
    RedisAnswered,
    RedisDisconnected,
    RedisReconnected,
    UpstreamCalled,
)
from core.observability.log_context import current_log_context
from core.observability.trace_context import TraceContext
from core.settings import LogFormat, LogLevel

_LEVEL_NAMES: Final = {
    number: name.lower() for name, number in logging.getLevelNamesMapping().items()
}
_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
_NEVER: Final = logging.NOTSET

_LEVELS_OF: Final[Mapping[type[Event], int]] = {
    AdminAction: _W,
    CircuitBreakerTransitioned: _W,
    EndpointDisabled: _W,
    JobAdmitted: _D,
    JobPolled: _D,
    CacheLookup: _D,
    RedisAnswered: _NEVER,
    RedisReconnected: _W,
    RedisDisconnected: _E,
    OperationalWarning: _W,
    UpstreamCalled: _D,
    AccountBalanceRead: _D,
}
"""Not told at `info`: a poll is one of thousands; of an admission the call is told of."""

_INNER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
LOG_LINES: Final[Mapping[type[Event], tuple[str, int]]] = {
    kind: (_INNER_CAPITAL.sub("_", kind.__name__).lower(), _LEVELS_OF.get(kind, _I))
    for kind in get_args(Event)
}
"""Each event's word, made of its name, and its level."""

_FIELDS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in LOG_LINES}

_SECRETS: Final = (
    (re.compile(r"rcg_([a-z0-9-]{1,40})_[A-Za-z0-9]+"), r"rcg_\1_***"),
    (re.compile(r"(whsec|whsk)_[A-Za-z0-9+/=_-]+"), r"\1_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"), r"\1 ***"),
    (re.compile(r"(?i)\b(redis|rediss|unix|https?)://[^\s/@\"']+@"), r"\1://***@"),
)
# Every secret's pattern needs one of these: looking for them first makes most lines cheap.
_SECRET_HINTS: Final = ("rcg_", "whsec_", "whsk_", "bearer", "basic", "@")


def redact(text: str) -> str:
    """`text` without keys, webhook secrets, bearer tokens and passwords in URLs.

    A key keeps its tenant's name, so that a leaked one finds its owner.
    """
    lower = text.lower()
    if not any(mark in lower for mark in _SECRET_HINTS):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


LineWriter = Callable[[int, str, dict[str, Any]], None]
"""Writes one line: its level, its word, its fields."""


class EventLog:
    """Writes each event as one line; an `Emit`."""

    def __init__(self, write: LineWriter, min_level: int) -> None:
        """Hand what is of level `least` or above to `write`."""
        self._write = write
        self._min_level = min_level

    def __call__(self, event: Event) -> None:
        """Write `event`, its fields without those that are empty."""
        word, level = LOG_LINES[type(event)]
        if level >= self._min_level:
            self._write(level, word, _event_fields(event))


def configure_logging(log_format: LogFormat, level: LogLevel, stream: TextIO) -> EventLog:
    """Send every line of this process to `stream`."""
    least = logging.getLevelNamesMapping()[level]
    processors = _processors(is_json=_is_json(log_format, stream))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
        )
    )
    logging.basicConfig(handlers=[handler], level=least, force=True)
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
    )
    if _is_json(log_format, stream):
        return EventLog(_direct_writer(stream, logger, SystemClock()), least)
    return EventLog(lambda level, word, shown: logger.log(level, word, **shown), least)


def _direct_writer(
    stream: TextIO, logger: structlog.typing.FilteringBoundLogger, clock: Clock
) -> LineWriter:
    """The lines that structlog would write, at a quarter of its time: one for every request.

    What holds an exception is structlog's: it knows how to lay them out.
    """

    def write(level: int, word: str, shown: dict[str, Any]) -> None:
        if "exc_info" in shown:
            logger.log(level, word, **shown)
            return
        shown["event"], shown["level"] = word, _LEVEL_NAMES[level]
        shown["timestamp"] = clock.now()
        stream.write(_redact_line(None, "", _as_json(None, "", shown)) + "\n")
        stream.flush()

    return write


def _is_json(log_format: LogFormat, stream: TextIO) -> bool:
    if log_format is LogFormat.AUTO:
        return not stream.isatty()
    return log_format is LogFormat.JSON


def _processors(*, is_json: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_json:
        return [*shared, structlog.processors.format_exc_info, _as_json, _redact_line]
    return [*shared, structlog.dev.ConsoleRenderer(), _redact_line]


_JSON: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def _as_json(_: WrappedLogger, __: str, line: EventDict) -> str:
    return orjson.dumps(line, default=str, option=_JSON).decode()


def _redact_line(_: WrappedLogger, __: str, line: Any) -> str:  # noqa: ANN401 - structlog's chain
    return redact(str(line))


def _event_fields(event: Event) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name in _FIELDS[type(event)]:
        value = getattr(event, name)
        if value is not None:
            shown[name] = _to_seconds(value) if isinstance(value, timedelta) else value
    shown.pop("caller_trace", None)
    _add_identifiers(shown)
    if isinstance(event, OperationalWarning) and event.error is not None:
        shown["exc_info"] = shown.pop("error")
    return shown


def _add_identifiers(shown: dict[str, object]) -> None:
    """Name the job, tenant and trace of a line, also where its event does not know them."""
    present = current_log_context()
    trace = shown.pop("trace", None) or (present and present.trace)
    if isinstance(trace, str):
        shown["trace_id"] = TraceContext.parse(trace).trace_id
    if present is not None:
        shown.setdefault("tenant", present.tenant)
        if present.job_id is not None:
            shown.setdefault("job_id", present.job_id)


def _to_seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 6)
