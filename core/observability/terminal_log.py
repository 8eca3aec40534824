"""Log lines for a terminal. The only module that knows structlog."""

import logging
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import Processor, WrappedLogger

LineWriter = Callable[[int, str, dict[str, Any]], None]
"""Writes one line: level, name, fields."""


def open_terminal_log(
    stream: TextIO, min_level: int, redact: Callable[[str], str]
) -> tuple[LineWriter, logging.Formatter]:
    """Return what writes lines of this process, and what formats the records of libraries.

    `redact` is applied to each line.
    """

    def redact_line(_: WrappedLogger, __: str, line: Any) -> str:  # noqa: ANN401 - structlog's chain
        return redact(str(line))

    # The default renderer prints local variables, which hold keys and inputs.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        plain,
        redact_line,
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
