"""Errors by what happened: a class for each `code` of the gateway, with `retryable` and `billed`.

All of them are `GatewayError`. A code that this version does not know is a plain `GatewayError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong field. `path` is a JSON pointer into the input, or `?name` for an option."""

    path: str
    message: str


class GatewayError(Exception):
    """A call that the gateway refused, or that did not reach it.

    `code` is a stable word, `status` the HTTP status (None: no answer came). `retryable`: the same
    call may succeed later and is not paid for twice; this client has retried it already.
    `retry_after`: seconds after which the gateway wants to be asked again; None: it named none.
    `billed` is "yes", "no" or "unknown". `problem` is the whole document (RFC 9457).
    """

    code: str = "error"

    def __init__(
        self,
        problem: Mapping[str, Any],
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Take the fields of a problem document."""
        self.problem = dict(problem)
        self.code = str(problem.get("code", self.code))
        self.status = status
        self.retry_after = retry_after
        self.detail = str(problem.get("detail", ""))
        self.retryable = bool(problem.get("retryable", False))
        self.billed = str(problem.get("billed", "unknown"))
        self.request_id: str | None = problem.get("request_id")
        self.violated_policies: Sequence[str] = problem.get("violated-policies", ())
        self.fields = [
            FieldError(str(one.get("path", "")), str(one.get("message", "")))
            for one in problem.get("errors", ())
        ]
        super().__init__(problem, status, retry_after)

    def __reduce__(self) -> tuple[Callable[..., GatewayError], tuple[object, ...]]:
        """Return how to restore it in another process: classes below take other arguments."""
        return _restore, (type(self), vars(self))

    def __str__(self) -> str:
        """Return the code, the detail, and each wrong field."""
        fields = "".join(f"\n  {field.path}: {field.message}" for field in self.fields)
        return f"{self.code}: {self.detail}{fields}"


def _restore(kind: type[GatewayError], fields: Mapping[str, Any]) -> GatewayError:
    error = kind.__new__(kind)
    vars(error).update(fields)
    return error


class ConnectionFailed(GatewayError):
    """No answer came from the gateway, also not to the last retry."""

    code = "connection_failed"


class RequestRefused(GatewayError):
    """The caller must change the request: it is malformed, or does not fit the model."""


class IdempotencyKeyMissing(RequestRefused):
    """This tenant's submits need an `Idempotency-Key`."""

    code = "idempotency_key_missing"


class MalformedId(RequestRefused):
    """The id of a request cannot be one."""

    code = "malformed_id"


class MalformedRequest(RequestRefused):
    """An option or header is wrong; `fields` names it."""

    code = "malformed_request"


class InvalidInput(RequestRefused):
    """The input does not fit the model's schema; `fields` names every fault."""

    code = "invalid_input"


class BodyTooLarge(RequestRefused):
    """The input is larger than the gateway accepts."""

    code = "body_too_large"


class UnsupportedFile(RequestRefused):
    """The content is not of a type that models read."""

    code = "unsupported_file"


class UnsupportedMediaType(RequestRefused):
    """The body must be JSON."""

    code = "unsupported_media_type"


class MethodNotAllowed(RequestRefused):
    """The address does not support the method."""

    code = "method_not_allowed"


class IdempotencyKeyReused(RequestRefused):
    """The idempotency key was used before, for another model or input."""

    code = "idempotency_key_reused"


class RequestDeleted(RequestRefused):
    """The request with this idempotency key was deleted; use a new key."""

    code = "request_deleted"


class NotFound(GatewayError):
    """There is nothing under that id or name, or it belongs to another tenant."""

    code = "not_found"


class UnknownModel(NotFound):
    """No model of that id is known; `detail` has the nearest names."""

    code = "unknown_model"


class FilesOff(NotFound):
    """The gateway keeps no files."""

    code = "files_off"


class ObjectMissing(NotFound):
    """The content is no longer stored."""

    code = "object_missing"


class PermissionDenied(GatewayError):
    """The key is missing or wrong, or may not do that."""


class Unauthenticated(PermissionDenied):
    """A valid API key is required."""

    code = "unauthenticated"


class NotPermitted(PermissionDenied):
    """The key lacks the scope, or may not be used from this address."""

    code = "not_permitted"


class ModelNotAllowed(PermissionDenied):
    """The tenant or the key may not use that model."""

    code = "model_not_allowed"


class LimitReached(GatewayError):
    """A limit of the tenant is reached; `violated_policies` names it."""

    code = "limit_reached"


class BudgetReached(LimitReached):
    """A budget of the tenant does not cover the request."""

    code = "budget_reached"


class CostAboveLimit(LimitReached):
    """The request costs more than its `max_cost`."""

    code = "cost_above_limit"


class Conflict(GatewayError):
    """The present state does not allow that."""

    code = "conflict"


class FileInUse(Conflict):
    """A request that has not ended uses the file."""

    code = "file_in_use"


class PinnedModelChanged(Conflict):
    """RunComfy has changed the model since it was pinned."""

    code = "pinned_model_changed"


class JobAwaited(Conflict):
    """A webhook or a cost update is pending; delete the request after that."""

    code = "job_awaited"


class JobContended(Conflict):
    """The request changed too often meanwhile."""

    code = "job_contended"


class JobOpen(Conflict):
    """The request has not ended yet."""

    code = "job_open"


class GatewayUnavailable(GatewayError):
    """The gateway cannot do it now."""

    code = "unavailable"


class BodyTooSlow(GatewayUnavailable):
    """The body did not arrive in time."""

    code = "body_too_slow"


class AcceptanceUnclear(GatewayUnavailable):
    """It is not known whether the request exists; the same idempotency key finds out."""

    code = "acceptance_unclear"


class CutOff(GatewayUnavailable):
    """The gateway shut down before the call ended: it may have taken effect."""

    code = "cut_off"


class RecordUnreadable(GatewayUnavailable):
    """Another release of the gateway wrote this record."""

    code = "record_unreadable"


class SecretsUnreadable(GatewayUnavailable):
    """The gateway lacks the key that decrypts the tenant's webhook secrets."""

    code = "secrets_unreadable"


class StoreRefused(GatewayUnavailable):
    """The gateway's store refused a command."""

    code = "store_refused"


class StoreSilent(GatewayUnavailable):
    """The gateway's store did not answer."""

    code = "store_silent"


class StoreUnavailable(GatewayUnavailable):
    """The gateway's store does not respond; nothing was accepted."""

    code = "store_unavailable"


class StoreUnknown(GatewayUnavailable):
    """The gateway's store is empty or another one: no key can be checked."""

    code = "store_unknown"


class StoreUnsupported(GatewayUnavailable):
    """The gateway's store is not a server that it can use."""

    code = "store_unsupported"


class SubmitsStopped(GatewayUnavailable):
    """No worker could submit the request, or RunComfy refuses the account."""

    code = "submits_stopped"


class ObjectsUnavailable(GatewayUnavailable):
    """The storage of files and outputs does not respond."""

    code = "objects_unavailable"


class TooManyUploads(GatewayUnavailable):
    """Too many files are being received; nothing was stored."""

    code = "too_many_uploads"


class TooManyBodies(GatewayUnavailable):
    """Too many large bodies are being received; nothing was accepted."""

    code = "too_many_bodies"


class TooManyWaiters(GatewayUnavailable):
    """Too many event streams are open."""

    code = "too_many_waiters"


class GatewayDefect(GatewayError):
    """A defect of the gateway itself."""

    code = "internal_error"


class IllegalTransition(GatewayDefect):
    """The request's state does not allow what happened to it."""

    code = "illegal_transition"


class RequestEndedWithoutOutput(GatewayError):
    """The request was accepted, and ended as `failed` or `cancelled`.

    `code` is that of the result's `error`, `result` the whole result.
    """

    code = "request_ended_without_output"
    ended_as: ClassVar[str] = ""

    def __init__(self, result: Mapping[str, Any]) -> None:
        """Take the fields of a result document."""
        self.result = dict(result)
        error = result.get("error") or {}
        problem = {
            "code": error.get("code", self.code),
            "detail": error.get("message", f"The request ended as {result.get('gateway_status')}."),
            "billed": result.get("billed", "unknown"),
            "request_id": result.get("request_id"),
        }
        super().__init__(problem)


class RequestFailed(RequestEndedWithoutOutput):
    """RunComfy could not run the request, or its time ran out."""

    ended_as = "failed"


class RequestCancelled(RequestEndedWithoutOutput):
    """The request was cancelled."""

    ended_as = "cancelled"


class WaitTimeout(GatewayError):
    """The request has not ended within the time that the caller waits.

    It goes on: `Client.request(error.request_id)` continues to wait for it.
    """

    code = "wait_timeout"

    def __init__(self, request_id: str, waited: float) -> None:
        """`waited`: seconds."""
        detail = f"The request has not ended within {waited:g} s. It goes on."
        super().__init__({"detail": detail, "request_id": request_id, "billed": "unknown"})


class OutputNotKept(GatewayError):
    """The gateway does not keep an output that is to be downloaded.

    `code` is the output's `error`. The result's `output` may still link to RunComfy.
    """

    code = "output_not_kept"

    def __init__(self, request_id: str, output: Mapping[str, Any] | None = None) -> None:
        """`output`: the one that is not kept; None: the request has none."""
        self.output = None if output is None else dict(output)
        code = (output or {}).get("error") or self.code
        which = "no output" if output is None else f"no output {output.get('index')}"
        detail = f"The gateway keeps {which} of the request."
        super().__init__({"code": code, "detail": detail, "request_id": request_id})


class ContentMismatch(GatewayError):
    """What arrived is not the content that the gateway keeps: its size or checksum is another."""

    code = "content_mismatch"

    def __init__(self, path: str) -> None:
        """`path`: of the output."""
        super().__init__({"detail": f"{path} does not have the size and checksum of the output."})


def _kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)


_WITHOUT_ANSWER = (
    ConnectionFailed,
    ContentMismatch,
    OutputNotKept,
    RequestEndedWithoutOutput,
    WaitTimeout,
)
BY_CODE: Mapping[str, type[GatewayError]] = {
    kind.code: kind
    for kind in _kinds(GatewayError)
    if "code" in vars(kind) and not issubclass(kind, _WITHOUT_ANSWER)
}
"""The class of each code that an answer may have."""
_BY_END: Mapping[str, type[RequestEndedWithoutOutput]] = {
    kind.ended_as: kind for kind in (RequestFailed, RequestCancelled)
}


def error_of_problem(
    problem: Mapping[str, Any], status: int, retry_after: float | None = None
) -> GatewayError:
    """Return the error of an answer that is a problem document."""
    kind = BY_CODE.get(str(problem.get("code")), GatewayError)
    return kind(problem, status, retry_after)


def error_of_result(result: Mapping[str, Any]) -> RequestEndedWithoutOutput:
    """Return the error of a request that ended without an output."""
    kind = _BY_END.get(str(result.get("gateway_status")), RequestEndedWithoutOutput)
    return kind(result)
