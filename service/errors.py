"""Errors that only the HTTP API has. Their docstrings are the texts that callers read."""

from core.errors import CallerError, Conflict, Unavailable


class UnsupportedMedia(CallerError):
    """The body must be JSON: send `Content-Type: application/json`, plain or as gzip."""

    code = "unsupported_media_type"
    title = "Unsupported media type"


class MethodNotAllowed(CallerError):
    """This address does not support the method; `Allow` lists those it supports."""

    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, allow: str = "") -> None:
        """`allow` is the header of that name (RFC 9110, 10.2.1)."""
        super().__init__()
        self.allow = allow


class BodyTooSlow(CallerError):
    """The body did not arrive in time."""

    code = "body_too_slow"
    title = "Request timeout"
    retryable = True


class CostAboveLimit(CallerError):
    """The request costs more than its `max_cost`."""

    code = "cost_above_limit"
    title = "Cost above limit"


class JobContended(Conflict):
    """The job changed too often meanwhile; try again."""

    code = "job_contended"
    retryable = True


class JobOpen(Conflict):
    """The job has not ended yet: cancel it first, or wait for its end."""

    code = "job_open"


class JobHasPendingWork(Conflict):
    """The job has a webhook or a cost update pending; delete it after that."""

    code = "job_awaited"
    retryable = True


class TooManyWaiters(Unavailable):
    """Too many open event streams on this instance. Poll instead, or retry later."""

    code = "too_many_waiters"


class TooManyBodies(Unavailable):
    """Too many large bodies are being received here; nothing was accepted. Try again."""

    code = "too_many_bodies"


class AcceptanceUnclear(Unavailable):
    """Redis did not answer during the admission: it is not known whether the job exists.

    Not retryable: a second submit could be a second job. The job's id is in the problem: read it
    later; it either exists or was never accepted.
    """

    code = "acceptance_unclear"
    title = "Acceptance unclear"
    retryable = False


class CutOff(Unavailable):
    """The gateway shut down before this call ended: it may have taken effect.

    Not retryable in general; a submit with an `Idempotency-Key` is safe to send again.
    """

    code = "cut_off"
    title = "Cut off"
    retryable = False
