"""Errors that only the HTTP API has. Their docstrings are the texts that callers read."""

from datetime import timedelta
from typing import Final

from core.errors import CallerError, Conflict, GatewayError, Unavailable


class UnsupportedMedia(CallerError):
    """The body must be JSON: send `Content-Type: application/json`, plain or as gzip."""

    code = "unsupported_media_type"
    title = "Unsupported media type"


class FilesOff(CallerError):
    """This gateway keeps no files: its operator has set no `GATEWAY_OBJECTS__URL`."""

    code = "files_off"
    title = "No files here"


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


class PinnedModelChanged(Conflict):
    """RunComfy has changed the model since it was pinned: the input may mean something else now."""

    code = "pinned_model_changed"
    title = "Pinned model changed"


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


class SubmitsStopped(Unavailable):
    """The request could not have been submitted for too long: no worker, or a refused account."""

    code = "submits_stopped"


class TooManyBodies(Unavailable):
    """Too many large bodies are being received here; nothing was accepted. Try again."""

    code = "too_many_bodies"


class TooManyUploads(Unavailable):
    """Too many files are being received here; nothing was stored. Try again."""

    code = "too_many_uploads"


class AcceptanceUnclear(Unavailable):
    """Redis did not answer during the admission: it is not known whether the job exists.

    A repeat is free only with an `Idempotency-Key`.
    """

    code = "acceptance_unclear"
    title = "Acceptance unclear"

    def __init__(self, path: str, *, has_key: bool, retry_after: timedelta | None = None) -> None:
        """`path` finds the job or batch, if it exists; `has_key`: it has an `Idempotency-Key`."""
        self.retryable = has_key
        advice = (
            "Repeat it with the same Idempotency-Key."
            if has_key
            else "Do not repeat it: without an Idempotency-Key it could be paid for twice."
        )
        super().__init__(
            "Redis did not answer, so it is not known whether the submit was accepted. "
            f"{advice} GET {path} returns it if it was.",
            retry_after=retry_after if has_key else None,
        )


class CutOff(Unavailable):
    """The gateway shut down before this call ended: it may have taken effect."""

    code = "cut_off"
    title = "Cut off"

    def __init__(self, *, is_repeatable: bool) -> None:
        """`is_repeatable`: sending the call again has no second effect."""
        self.retryable = is_repeatable
        super().__init__(
            "The gateway shut down before this call ended. "
            + (
                "Repeat it; a submit with the same Idempotency-Key."
                if is_repeatable
                else "It may have taken effect, and a repeat could have a second one."
            )
        )


RETRYABLE_WITH_KEY: Final[frozenset[type[GatewayError]]] = frozenset({AcceptanceUnclear, CutOff})
"""Errors of a submit that are retryable only with its `Idempotency-Key`."""
