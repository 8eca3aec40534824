"""What the present task works on, for the lines and spans about it. Nothing may decide by it.

It travels with the task, so that a client deep below need not know jobs to be told of with one.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

from core.jobs.job import Job
from core.observability.trace_context import SpanNamer
from core.webhooks.delivery import Delivery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogContext:
    """A job, or a callback about one. `trace` is what is passed on, `parent` what `trace` is of."""

    tenant: str
    job_id: str | None
    trace: str | None = None
    parent: str | None = None


_CURRENT: Final[ContextVar[LogContext | None]] = ContextVar("subject", default=None)


def current_log_context() -> LogContext | None:
    """What the present task works on, if that is known."""
    return _CURRENT.get()


@contextmanager
def bind_log_context(context: LogContext) -> Iterator[None]:
    """While the body runs, it is about `present`."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def with_log_context(
    context_of: Callable[[T], LogContext], handle: Callable[[T], Awaitable[None]]
) -> Callable[[T], Awaitable[None]]:
    """`handle`, known to be about what it handles."""

    async def handled(item: T) -> None:
        with bind_log_context(context_of(item)):
            await handle(item)

    return handled


def job_log_context(job: Job) -> LogContext:
    """A job's step: calls made for it are children of its submit."""
    return LogContext(job.tenant, job.id, job.trace, job.trace)


def delivery_log_context(delivery: Delivery, span_namer: SpanNamer) -> LogContext:
    """One attempt at a callback, which the receiver is told as its parent."""
    # Without a trace there is none to begin: a callback is nobody's first call.
    own = delivery.trace and span_namer(delivery.trace)
    return LogContext(delivery.tenant, delivery.job_id, own, delivery.trace)
