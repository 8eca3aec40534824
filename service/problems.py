"""Errors as RFC 9457 problem documents. The only place that knows an error's HTTP status."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import orjson

from core import errors as core
from core.jobs.job import Billed
from service import errors as own
from service.rate_limit_headers import ratelimit_fields

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:runcomfy-gateway:problem:"

STATUS: Final[Mapping[type[core.GatewayError], int]] = {
    core.GatewayError: 500,
    core.CallerError: 400,
    core.MalformedRequest: 400,
    core.IdempotencyKeyMissing: 400,
    core.Unauthenticated: 401,
    own.CostAboveLimit: 402,
    core.BudgetReached: 402,
    core.NotPermitted: 403,
    core.ModelNotAllowed: 403,
    core.NotFound: 404,
    core.UnknownModel: 404,
    own.MethodNotAllowed: 405,
    own.BodyTooSlow: 408,
    core.Conflict: 409,
    own.JobContended: 409,
    own.JobOpen: 409,
    own.JobAwaited: 409,
    core.RequestDeleted: 410,
    core.BodyTooLarge: 413,
    own.UnsupportedMedia: 415,
    core.InvalidInput: 422,
    core.IdempotencyMismatch: 422,
    core.LimitReached: 429,
    core.Defect: 500,
    core.IllegalTransition: 500,
    core.Unavailable: 503,
    core.StoreUnavailable: 503,
    core.StoreSilent: 503,
    own.AcceptanceUnclear: 503,
    own.TooManyWaiters: 503,
    own.CutOff: 503,
}
"""Every class of the tree has its row; a test walks it."""

BILLED: Final[Mapping[type[core.GatewayError], Billed]] = {
    own.AcceptanceUnclear: Billed.UNKNOWN,
    own.CutOff: Billed.UNKNOWN,
    core.Defect: Billed.UNKNOWN,
    core.IllegalTransition: Billed.UNKNOWN,
}
"""Errors after which money may be spent: a defect says nothing. After all others none was."""

_DEFECT_DETAIL: Final = "Something broke in the gateway. Its operators see the trace in their log."
_RETRY_AFTER_DEFAULT: Final = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document and what goes with it. `headers` are for the answer as a whole."""

    status: int
    code: str
    body: bytes
    headers: Mapping[str, str]


def problem_of(error: core.GatewayError, job_id: str | None = None) -> Problem:
    """The document for `error`. `job_id` is the job that it is about, if there is one."""
    kind = type(error)
    status = STATUS[kind]
    document = {
        "type": TYPE_PREFIX + kind.code,
        "title": kind.title,
        "status": status,
        "detail": _DEFECT_DETAIL if isinstance(error, core.Defect) else error.detail,
        "code": kind.code,
        "retryable": kind.retryable,
        "billed": BILLED.get(kind, Billed.NO),
        **({"request_id": job_id} if job_id else {}),
        **({"errors": [_field(field) for field in error.fields]} if error.fields else {}),
        **({"violated-policies": [policy]} if (policy := _violated(error)) else {}),
    }
    return Problem(status, kind.code, orjson.dumps(document), _headers(error, status))


def defect_of(error: Exception) -> core.Defect:
    """An unforeseen exception as a defect; nothing of it is shown."""
    defect = core.Defect()
    defect.__cause__ = error
    return defect


def _violated(error: core.GatewayError) -> str | None:
    return error.policy if isinstance(error, core.LimitReached | core.NotPermitted) else None


def _field(field: core.FieldError) -> dict[str, Any]:
    return {"path": field.path, "message": field.message}


def _headers(error: core.GatewayError, status: int) -> Mapping[str, str]:
    if isinstance(error, core.Unauthenticated):
        return {"www-authenticate": 'Bearer realm="runcomfy-gateway"'}
    if isinstance(error, own.MethodNotAllowed):
        return {"allow": error.allow}
    wait = _retry_after(error)
    if isinstance(error, core.LimitReached):
        return {**wait, **ratelimit_fields(error.quotas, error.policy, error.retry_after)}
    if wait:
        return wait
    # A 503 always says when to come back (RFC 9110, 10.2.3 allows it; callers rely on it).
    return {"retry-after": str(_RETRY_AFTER_DEFAULT)} if status == STATUS[core.Unavailable] else {}


def _retry_after(error: core.GatewayError) -> Mapping[str, str]:
    if error.retry_after is None:
        return {}
    return {"retry-after": str(max(1, ceil(error.retry_after.total_seconds())))}
