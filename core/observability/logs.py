"""Log lines: one per event and per record of a library, without secrets.

The only module that knows structlog. `configure_logging` is called once, by the entry point of a
process.
"""

import json
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
    JobReconciled,
    JournalCalled,
    JournalDisconnected,
    JournalReconnected,
    OperationalWarning,
    RedisAnswered,
    RedisDisconnected,
    RedisReconnected,
    SubmitsStopped,
    UpstreamCalled,
)
from core.observability.log_context import current_log_context
from core.observability.trace_context import TraceContext
from core.settings.definitions import LogFormat, LogLevel

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
    JournalCalled: _NEVER,
    JournalDisconnected: _E,
    JournalReconnected: _W,
    SubmitsStopped: _E,
    JobReconciled: _W,
    RedisAnswered: _NEVER,
    RedisReconnected: _W,
    RedisDisconnected: _E,
    OperationalWarning: _W,
    UpstreamCalled: _D,
    AccountBalanceRead: _D,
}
"""The others are logged at `info`. Polls are too many for it, and an admission already has the line
of its HTTP request."""

_INNER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
LOG_LINES: Final[Mapping[type[Event], tuple[str, int]]] = {
    kind: (_INNER_CAPITAL.sub("_", kind.__name__).lower(), _LEVELS_OF.get(kind, _I))
    for kind in get_args(Event)
}
"""The name of each event's line, from its class name, and the level."""

_FIELDS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in LOG_LINES}

_SECRETS: Final = (
    (re.compile(r"rc([go])_([a-z0-9-]{1,40})_[A-Za-z0-9]+"), r"rc\1_\2_***"),
    (re.compile(r"(whsec|whsk)_[A-Za-z0-9+/=_-]+"), r"\1_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"), r"\1 ***"),
    (re.compile(r"(?i)\b(redis|rediss|unix|https?)://[^\s/@\"']+@"), r"\1://***@"),
)
# Each pattern needs one of these: a line without any of them skips the regular expressions.
_SECRET_HINTS: Final = ("rcg_", "rco_", "whsec_", "whsk_", "bearer", "basic", "@")


def redact(text: str) -> str:
    """Return `text` without keys, webhook secrets, bearer tokens and passwords in URLs.

    A key keeps its tenant's name, so that an operator can find the owner of a leaked one.
    """
    lower = text.lower()
    if not any(mark in lower for mark in _SECRET_HINTS):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


LineWriter = Callable[[int, str, dict[str, Any]], None]
"""Writes one line: level, name, fields."""


class EventLog:
    """Writes each event as one line; an `Emit`."""

    def __init__(self, write: LineWriter, min_level: int) -> None:
        """Pass lines of `min_level` or above to `write`."""
        self._write = write
        self._min_level = min_level

    def __call__(self, event: Event) -> None:
        """Write `event`; fields that are None are left out."""
        name, level = LOG_LINES[type(event)]
        if level >= self._min_level:
            self._write(level, name, _event_fields(event))


def configure_logging(log_format: LogFormat, level: LogLevel, stream: TextIO) -> EventLog:
    """Send every log line of this process to `stream`; return the log of its events."""
    min_level = logging.getLevelNamesMapping()[level]
    processors = _processors(is_json=_is_json(log_format, stream))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
        )
    )
    logging.basicConfig(handlers=[handler], level=min_level, force=True)
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
    )
    if _is_json(log_format, stream):
        return EventLog(_direct_writer(stream, logger, SystemClock()), min_level)
    return EventLog(lambda level, name, line: logger.log(level, name, **line), min_level)


def _direct_writer(
    stream: TextIO, logger: structlog.typing.FilteringBoundLogger, clock: Clock
) -> LineWriter:
    """Return a writer of the JSON lines that structlog would write, in a quarter of its time.

    There is one line per request, so this is on the hot path. Lines with an exception go to
    structlog, which formats the traceback.
    """

    def write(level: int, name: str, line: dict[str, Any]) -> None:
        if "exc_info" in line:
            logger.log(level, name, **line)
            return
        line["event"], line["level"] = name, _LEVEL_NAMES[level]
        line["timestamp"] = clock.now()
        stream.write(_redact_line(None, "", _as_json(None, "", line)) + "\n")
        stream.flush()

    return write


def _is_json(log_format: LogFormat, stream: TextIO) -> bool:
    return not stream.isatty() if log_format == "auto" else log_format == "json"


def _processors(*, is_json: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_json:
        return [*shared, structlog.processors.format_exc_info, _as_json, _redact_line]
    # The default renderer prints local variables, which hold keys and inputs.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return [*shared, plain, _redact_line]


_JSON: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def _as_json(_: WrappedLogger, __: str, line: EventDict) -> str:
    try:
        return orjson.dumps(line, default=str, option=_JSON).decode()
    except orjson.JSONEncodeError:
        # A lone surrogate or a huge number in a text of others must not end what emitted the event.
        return json.dumps(line, default=str)


def _redact_line(_: WrappedLogger, __: str, line: Any) -> str:  # noqa: ANN401 - structlog's chain
    return redact(str(line))


def _event_fields(event: Event) -> dict[str, object]:
    line: dict[str, object] = {}
    for field in _FIELDS[type(event)]:
        value = getattr(event, field)
        if value is not None:
            line[field] = _to_seconds(value) if isinstance(value, timedelta) else value
    line.pop("caller_trace", None)
    _add_identifiers(line)
    if isinstance(event, OperationalWarning) and event.error is not None:
        line["exc_info"] = line.pop("error")
    return line


def _add_identifiers(line: dict[str, object]) -> None:
    """Add the job, tenant and trace of the log context where the event has none."""
    context = current_log_context()
    trace = line.pop("trace", None) or (context and context.trace)
    if isinstance(trace, str):
        line["trace_id"] = TraceContext.parse(trace).trace_id
    if context is not None:
        line.setdefault("tenant", context.tenant)
        if context.job_id is not None:
            line.setdefault("job_id", context.job_id)


def _to_seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 6)
