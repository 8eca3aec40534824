"""What the present task works on, for the lines and spans about it. Nothing may decide by it.

It travels with the task, so that a client deep below need not know jobs to be told of with one.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

from core.jobs.job import Job
from core.observability.trace_context import SpanOf
from core.webhooks.delivery import Delivery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subject:
    """A job, or a callback about one. `trace` is what is passed on, `parent` what `trace` is of."""

    tenant: str
    job_id: str | None
    trace: str | None = None
    parent: str | None = None


_PRESENT: Final[ContextVar[Subject | None]] = ContextVar("subject", default=None)


def subject() -> Subject | None:
    """What the present task works on, if that is known."""
    return _PRESENT.get()


@contextmanager
def about(present: Subject) -> Iterator[None]:
    """While the body runs, it is about `present`."""
    token = _PRESENT.set(present)
    try:
        yield
    finally:
        _PRESENT.reset(token)


def within(
    subject_of: Callable[[T], Subject], handle: Callable[[T], Awaitable[None]]
) -> Callable[[T], Awaitable[None]]:
    """`handle`, known to be about what it handles."""

    async def handled(item: T) -> None:
        with about(subject_of(item)):
            await handle(item)

    return handled


def job_subject(job: Job) -> Subject:
    """A job's step: calls made for it are children of its submit."""
    return Subject(job.tenant, job.id, job.trace, job.trace)


def delivery_subject(delivery: Delivery, span_of: SpanOf) -> Subject:
    """One attempt at a callback, which the receiver is told as its parent."""
    # Without a trace there is none to begin: a callback is nobody's first call.
    own = delivery.trace and span_of(delivery.trace)
    return Subject(delivery.tenant, delivery.job_id, own, delivery.trace)
