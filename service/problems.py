"""Errors as RFC 9457 problem documents. The only module that maps errors to HTTP statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import orjson

from core import errors as core_errors
from core.jobs.job import BillingStatus
from service import errors as service_errors
from service.rate_limit_headers import rate_limit_headers

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:runcomfy-gateway:problem:"

STATUS: Final[Mapping[type[core_errors.GatewayError], int]] = {
    core_errors.GatewayError: 500,
    core_errors.CallerError: 400,
    core_errors.MalformedRequest: 400,
    core_errors.MalformedId: 400,
    core_errors.IdempotencyKeyMissing: 400,
    core_errors.Unauthenticated: 401,
    service_errors.CostAboveLimit: 402,
    core_errors.BudgetReached: 402,
    core_errors.NotPermitted: 403,
    core_errors.ModelNotAllowed: 403,
    core_errors.NotFound: 404,
    core_errors.UnknownModel: 404,
    core_errors.ObjectMissing: 404,
    service_errors.FilesOff: 404,
    service_errors.MethodNotAllowed: 405,
    service_errors.BodyTooSlow: 408,
    core_errors.Conflict: 409,
    core_errors.FileInUse: 409,
    service_errors.PinnedModelChanged: 409,
    service_errors.JobContended: 409,
    service_errors.JobOpen: 409,
    service_errors.JobHasPendingWork: 409,
    core_errors.RequestDeleted: 410,
    core_errors.BodyTooLarge: 413,
    service_errors.UnsupportedMedia: 415,
    core_errors.UnsupportedFile: 415,
    core_errors.InvalidInput: 422,
    core_errors.IdempotencyMismatch: 422,
    core_errors.LimitReached: 429,
    core_errors.Defect: 500,
    core_errors.IllegalTransition: 500,
    core_errors.Unavailable: 503,
    core_errors.SecretsUnreadable: 503,
    core_errors.ObjectsUnavailable: 503,
    core_errors.StoreUnavailable: 503,
    core_errors.StoreUnknown: 503,
    core_errors.StoreTimeout: 503,
    core_errors.StoreUnsupported: 503,
    core_errors.StoreRefused: 503,
    core_errors.RecordUnreadable: 503,
    service_errors.AcceptanceUnclear: 503,
    service_errors.TooManyWaiters: 503,
    service_errors.SubmitsStopped: 503,
    service_errors.TooManyBodies: 503,
    service_errors.TooManyUploads: 503,
    service_errors.CutOff: 503,
}
"""A row for every class of the error tree; a test checks it."""

BILLED: Final[Mapping[type[core_errors.GatewayError], BillingStatus]] = {
    service_errors.AcceptanceUnclear: BillingStatus.UNKNOWN,
    service_errors.CutOff: BillingStatus.UNKNOWN,
    core_errors.Defect: BillingStatus.UNKNOWN,
    core_errors.IllegalTransition: BillingStatus.UNKNOWN,
}
"""Errors after which a submit may have been charged. After all others none was."""

RUNCOMFY_CODES: Final[Mapping[type[core_errors.GatewayError], int]] = {
    core_errors.MalformedRequest: 422001,
    core_errors.IdempotencyKeyMissing: 422001,
    core_errors.InvalidInput: 422001,
    service_errors.PinnedModelChanged: 422001,
    core_errors.Unauthenticated: 400004,
    core_errors.BudgetReached: 400002,
    service_errors.CostAboveLimit: 400002,
    core_errors.NotPermitted: 403001,
    core_errors.ModelNotAllowed: 403001,
    core_errors.UnknownModel: 400001,
    core_errors.MalformedId: 400001,
    core_errors.NotFound: 404001,
    core_errors.RequestDeleted: 404001,
    core_errors.GatewayError: 500001,
    core_errors.Defect: 500001,
    core_errors.IllegalTransition: 500001,
}
"""RunComfy's own number for the errors that it has too: `error_code`."""
_GATEWAY_CODES_PER_STATUS: Final = 1000

_DEFECT_DETAIL: Final = "An internal error occurred. The gateway's log has the details."
_RETRY_AFTER_DEFAULT: Final = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document with its status, and the headers of the response."""

    status: int
    code: str
    body: bytes
    headers: Mapping[str, str]


def problem_of(error: core_errors.GatewayError, job_id: str | None = None) -> Problem:
    """Return the problem of `error`. `job_id` is the job that it is about, if there is one."""
    kind = type(error)
    status = STATUS[kind]
    text = _DEFECT_DETAIL if isinstance(error, core_errors.Defect) else error.detail
    document = {
        "type": TYPE_PREFIX + kind.code,
        "title": kind.title,
        "status": status,
        "detail": text,
        "code": kind.code,
        "error_code": error_code_of(kind),
        "error_message": text,
        "message": text,
        "retryable": error.retryable,
        "billed": BILLED.get(kind, BillingStatus.NO),
        **({"request_id": job_id} if job_id else {}),
        **(
            {"errors": [_field_representation(field) for field in error.fields]}
            if error.fields
            else {}
        ),
        **({"violated-policies": [policy]} if (policy := _violated_policy(error)) else {}),
    }
    return Problem(status, kind.code, orjson.dumps(document), _headers(error, status))


def error_code_of(kind: type[core_errors.GatewayError]) -> int:
    """Return the number for clients of RunComfy, which expect an integer.

    Where RunComfy has none that fits: the HTTP status and three zeros, which RunComfy does not use.
    """
    return RUNCOMFY_CODES.get(kind, STATUS[kind] * _GATEWAY_CODES_PER_STATUS)


def defect_of(error: Exception) -> core_errors.Defect:
    """Return an unexpected exception as a defect; callers see nothing of it."""
    defect = core_errors.Defect()
    defect.__cause__ = error
    return defect


def _violated_policy(error: core_errors.GatewayError) -> str | None:
    return (
        error.policy
        if isinstance(error, core_errors.LimitReached | core_errors.NotPermitted)
        else None
    )


def _field_representation(field: core_errors.FieldError) -> dict[str, Any]:
    return {"path": field.path, "message": field.message}


def _headers(error: core_errors.GatewayError, status: int) -> Mapping[str, str]:
    if isinstance(error, core_errors.Unauthenticated):
        return {"www-authenticate": 'Bearer realm="runcomfy-gateway"'}
    if isinstance(error, service_errors.MethodNotAllowed):
        return {"allow": error.allow}
    wait = _retry_after(error)
    if isinstance(error, core_errors.LimitReached):
        return {**wait, **rate_limit_headers(error.quotas, error.policy, error.retry_after)}
    if wait:
        return wait
    # Clients rely on the Retry-After of a 503 (RFC 9110, 10.2.3), and repeat the call after it:
    # none where a repeat could be paid for.
    is_temporary = status == STATUS[core_errors.Unavailable] and error.retryable
    return {"retry-after": str(_RETRY_AFTER_DEFAULT)} if is_temporary else {}


def _retry_after(error: core_errors.GatewayError) -> Mapping[str, str]:
    if error.retry_after is None:
        return {}
    return {"retry-after": str(max(1, ceil(error.retry_after.total_seconds())))}
