"""The job or delivery that the present task works on, for log lines and spans only.

The other fields of a line are those of its event: `core.observability.events`.

A context variable carries it, so that an HTTP client need not know about jobs. No decision may
depend on it.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from core.jobs.job import Job
from core.observability.trace_context import SpanNamer
from core.runtime.statically_frozen import statically_frozen
from core.webhooks.delivery import Delivery

T = TypeVar("T")


@statically_frozen
class LogContext:
    """A job or a webhook delivery. `trace` is the `traceparent` to pass on, `parent` its parent."""

    tenant: str
    job_id: str | None
    trace: str | None = None
    parent: str | None = None


_CURRENT: Final[ContextVar[LogContext | None]] = ContextVar("subject", default=None)


def current_log_context() -> LogContext | None:
    """Return the log context of the present task, if any."""
    return _CURRENT.get()


@contextmanager
def bind_log_context(context: LogContext) -> Iterator[None]:
    """Set the log context for the body of a `with` statement."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def with_log_context(
    context_of: Callable[[T], LogContext], handle: Callable[[T], Awaitable[None]]
) -> Callable[[T], Awaitable[None]]:
    """Return `handle` with the log context of its item."""

    async def handled(item: T) -> None:
        with bind_log_context(context_of(item)):
            await handle(item)

    return handled


def job_log_context(job: Job) -> LogContext:
    """Return the context of a job: calls to RunComfy are children of the submit's span."""
    return LogContext(job.tenant, job.id, job.trace, job.trace)


def delivery_log_context(delivery: Delivery, span_namer: SpanNamer) -> LogContext:
    """Return the context of a delivery attempt; the receiver gets the attempt as parent span."""
    # A delivery never starts a trace: without one, there is none.
    own = delivery.trace and span_namer(delivery.trace)
    return LogContext(delivery.tenant, delivery.job_id, own, delivery.trace)
