"""The error tree. Separates errors of the caller from those of the gateway; knows no HTTP status.

GatewayError                 code: stable, for programs; str(error): safe to show to a caller
|- CallerError               the caller can correct it; the gateway never retries
|  |- Unauthenticated        |- NotPermitted         |- NotFound          |- UnknownModel
|  |- MalformedRequest       |- InvalidInput         |- BodyTooLarge      |- Conflict
|  |- LimitReached           |- BudgetReached        |- ModelNotAllowed
|  |- IdempotencyKeyMissing  |- IdempotencyMismatch  |- RequestDeleted    |- MalformedId
|  |- ObjectMissing          |- FileInUse
|- Unavailable               a dependency is temporarily unavailable
|  |- StoreUnknown
|  |- SecretsUnreadable: an encryption key is missing
|  |- ObjectsUnavailable
|  |- StoreUnavailable      |- StoreTimeout: the command may have been executed all the same
|  |- StoreUnsupported      |- StoreRefused        |- RecordUnreadable
|- Defect                    a bug of the gateway: always logged with its traceback
   |- IllegalTransition
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from core.quotas import Quota


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field: `path` is a JSON Pointer (RFC 6901), `message` is for people."""

    path: str
    message: str


class GatewayError(Exception):
    """Something went wrong in the gateway."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    retryable: bool = False
    """Whether the same call may succeed later, without a second effect."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        fields: tuple[FieldError, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        """Keep what a problem document shows.

        `detail` defaults to the first line of the class's docstring, so that line is a sentence
        for callers.
        """
        self.detail = detail or (type(self).__doc__ or "").split("\n", 1)[0]
        self.fields = fields
        self.retry_after = retry_after
        super().__init__(self.detail)


class CallerError(GatewayError):
    """The request cannot be served without a change."""

    code = "bad_request"
    title = "Bad request"


class MalformedRequest(CallerError):
    """The request is not readable: its JSON, its query or its headers are malformed."""

    code = "malformed_request"
    title = "Malformed request"


class InvalidInput(CallerError):
    """The input does not fit the model's schema."""

    code = "invalid_input"
    title = "Invalid input"


class BodyTooLarge(CallerError):
    """The body is larger than this gateway accepts."""

    code = "body_too_large"
    title = "Body too large"


class UnsupportedFile(CallerError):
    """The content is not of a type that models read, such as jpg, png, webp, mp4 or mp3."""

    code = "unsupported_file"
    title = "Unsupported file"


class Unauthenticated(CallerError):
    """A valid API key is required: send `Authorization: Bearer <key>`."""

    code = "unauthenticated"
    title = "Unauthenticated"


class NotPermitted(CallerError):
    """This key may not do that."""

    code = "not_permitted"
    title = "Not permitted"

    def __init__(
        self,
        detail: str | None = None,
        *,
        policy: str | None = None,
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        """`policy` is a `core.quotas.QuotaPolicy` if one of the tenant's limits is the reason."""
        self.policy = policy
        super().__init__(detail, fields=fields)


class NotFound(CallerError):
    """There is nothing here under that name."""

    code = "not_found"
    title = "Not found"


class MalformedId(CallerError):
    """This cannot be an id: ids are up to 128 letters, digits, `_` and `-`."""

    code = "malformed_id"
    title = "Malformed id"


class UnknownModel(NotFound):
    """No model of that id is known."""

    code = "unknown_model"
    title = "Unknown model"


class Conflict(CallerError):
    """The present state does not allow that."""

    code = "conflict"
    title = "Conflict"


class IdempotencyKeyMissing(CallerError):
    """This tenant's submits need an `Idempotency-Key`."""

    code = "idempotency_key_missing"
    title = "Idempotency key missing"


class IdempotencyMismatch(CallerError):
    """This `Idempotency-Key` was used before, for another model or another input."""

    code = "idempotency_key_reused"
    title = "Idempotency key reused"


class RequestDeleted(CallerError):
    """The request with this `Idempotency-Key` was deleted; use a new key for a new request."""

    code = "request_deleted"
    title = "Request deleted"


class LimitReached(CallerError):
    """A limit of this tenant is reached."""

    code = "limit_reached"
    title = "Limit reached"
    retryable = True

    def __init__(
        self,
        detail: str | None = None,
        *,
        policy: str,
        retry_after: timedelta | None = None,
        quotas: tuple[Quota, ...] = (),
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        """`policy` is the reached `core.quotas.QuotaPolicy`; `quotas` are all limits."""
        self.policy = policy
        self.quotas = quotas
        super().__init__(detail, fields=fields, retry_after=retry_after)


class BudgetReached(LimitReached):
    """A budget of this tenant does not cover this request."""

    code = "budget_reached"
    title = "Budget reached"
    retryable = False


class ModelNotAllowed(NotPermitted):
    """This tenant may not use that model."""

    code = "model_not_allowed"
    title = "Model not allowed"


class Unavailable(GatewayError):
    """A part of the gateway is temporarily unavailable; try again."""

    code = "unavailable"
    title = "Temporarily unavailable"
    retryable = True


class StoreUnavailable(Unavailable):
    """The store does not respond; nothing was accepted and nothing was spent."""

    code = "store_unavailable"

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: timedelta | None = None,
        operator_detail: str | None = None,
    ) -> None:
        """`operator_detail` names the server and its answer: for logs and commands only."""
        super().__init__(detail, retry_after=retry_after)
        self.operator_detail = operator_detail or self.detail


class StoreUnknown(Unavailable):
    """The store is empty, or not this gateway's: no key can be checked. Try again later."""

    code = "store_unknown"


class StoreTimeout(StoreUnavailable):
    """The store did not answer; it is unknown whether it executed the command."""

    code = "store_silent"


class StoreUnsupported(StoreUnavailable):
    """The store is not a server that the gateway can use."""

    code = "store_unsupported"


class StoreRefused(StoreUnavailable):
    """The store refused a command; the gateway's log has the reason."""

    code = "store_refused"


class RecordUnreadable(Unavailable):
    """This record was written by another release of the gateway, which can read it."""

    code = "record_unreadable"


class SecretsUnreadable(Unavailable):
    """No key of GATEWAY_ENCRYPTION_KEYS decrypts the tenant's webhook secrets."""

    code = "secrets_unreadable"


class ObjectsUnavailable(Unavailable):
    """The storage of files and outputs does not respond; try again."""

    code = "objects_unavailable"

    def __init__(self, detail: str | None = None, *, operator_detail: str | None = None) -> None:
        """`operator_detail` has the storage's own answer: for logs only."""
        super().__init__(detail)
        self.operator_detail = operator_detail or self.detail


class ObjectMissing(NotFound):
    """The content is no longer stored."""

    code = "object_missing"


class FileInUse(Conflict):
    """A request that has not ended uses this file, or it is the kept output of a request.

    Cancel the request or wait for its end; a kept output goes with its request.
    """

    code = "file_in_use"


class Defect(GatewayError):
    """A defect of the gateway itself."""

    code = "internal_error"
    title = "Internal error"


class IllegalTransition(Defect):
    """The state table has no row for this state and trigger."""

    code = "illegal_transition"
