"""Errors that only an HTTP face has. Knows what went wrong, not which status says so."""

from core.errors import CallerError, Conflict, Unavailable


class UnsupportedMedia(CallerError):
    """The body must be JSON: send `Content-Type: application/json`, unencoded."""

    code = "unsupported_media_type"
    title = "Unsupported media type"


class MethodNotAllowed(CallerError):
    """This address does not take that method; `Allow` names those it takes."""

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
    """The job kept changing meanwhile; ask again."""

    code = "job_contended"
    retryable = True


class JobOpen(Conflict):
    """The job has not ended yet: cancel it first, or wait for its end."""

    code = "job_open"


class JobHasPendingWork(Conflict):
    """A callback about the job, or what it cost, is still to come; it can be deleted after that."""

    code = "job_awaited"
    retryable = True


class TooManyWaiters(Unavailable):
    """As many callers follow events here as this process takes; poll, or come again."""

    code = "too_many_waiters"


class AcceptanceUnclear(Unavailable):
    """The store fell silent while it took the job in: whether it has it is not known.

    Not retryable as it stands: a second submit could be a second job. Its id is in the problem;
    asked for later, it is either there or was never accepted.
    """

    code = "acceptance_unclear"
    title = "Acceptance unclear"
    retryable = False


class CutOff(Unavailable):
    """The gateway stopped before this call was through: what it asked for may have been done.

    Not retryable as it stands; with its `Idempotency-Key` a submit is safely sent again.
    """

    code = "cut_off"
    title = "Cut off"
    retryable = False
