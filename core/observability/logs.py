"""Log lines: one per event and per record of a library, without secrets.

The only module that knows structlog. `configure_logging` is called once, by the entry point of a
process.
"""

import json
import logging
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO, get_args

import orjson

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
    write, formatter = _open_log(log_format, min_level, stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=min_level, force=True)
    return EventLog(write, min_level)


def _open_log(
    log_format: LogFormat, min_level: int, stream: TextIO
) -> tuple[LineWriter, logging.Formatter]:
    if _is_json(log_format, stream):
        return _json_writer(stream, SystemClock()), _JsonFormatter()
    return _open_terminal_log(min_level, stream)


def _open_terminal_log(min_level: int, stream: TextIO) -> tuple[LineWriter, logging.Formatter]:
    import structlog  # noqa: PLC0415 - heavy: a tenth of a start and 6 MB; JSON lines do without

    processors: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # The default renderer prints local variables, which hold keys and inputs.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        lambda _logger, _name, line: redact(str(line)),
    ]
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
    )
    return lambda level, name, line: logger.log(level, name, **line), formatter


def _json_writer(stream: TextIO, clock: Clock) -> LineWriter:
    # There is one line per request, so this is on the hot path.
    def write(level: int, name: str, line: dict[str, Any]) -> None:
        if error := line.pop("exc_info", None):
            line["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
        line["event"], line["level"] = name, _LEVEL_NAMES[level]
        line["timestamp"] = clock.now()
        stream.write(redact(_to_json(line)) + "\n")
        stream.flush()

    return write


class _JsonFormatter(logging.Formatter):
    """Formats a record of a library as a line like those of events."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": _LEVEL_NAMES.get(record.levelno, record.levelname.lower()),
            "timestamp": datetime.fromtimestamp(record.created, UTC),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return redact(_to_json(line))


def _is_json(log_format: LogFormat, stream: TextIO) -> bool:
    return not stream.isatty() if log_format == "auto" else log_format == "json"


_JSON: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def _to_json(line: Mapping[str, object]) -> str:
    try:
        return orjson.dumps(line, default=str, option=_JSON).decode()
    except orjson.JSONEncodeError:
        # A lone surrogate or a huge number in a text of others must not end what emitted the event.
        return json.dumps(line, default=str)


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
