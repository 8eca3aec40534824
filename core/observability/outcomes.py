"""How calls to RunComfy and webhook attempts end: closed sets of words that may label metrics."""

from enum import StrEnum
from typing import Final


class FaultKind(StrEnum):
    """Why a call to RunComfy failed."""

    INVALID_ID = "invalid_id"  # a model id or request id that no URL of RunComfy can hold
    CONNECT_ERROR = "connect_error"
    CONNECT_TIMEOUT = "connect_timeout"
    DEADLINE = "deadline"  # the whole call took too long, although data kept arriving
    ERROR_IN_200 = "error_in_200"
    FAILED = "failed"  # RunComfy reports that the request itself failed
    NOT_FOUND = "not_found"
    HTML = "html"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_UNEXPECTED = "http_unexpected"  # a status that no rule expects
    MISSING_ID = "missing_id"
    MALFORMED = "malformed"  # JSON, but not of the documented shape
    NOT_JSON = "not_json"
    NO_OUTPUT = "no_output"
    OVERSIZED = "oversized"
    POOL_TIMEOUT = "pool_timeout"
    PROTOCOL_ERROR = "protocol_error"
    PROXY_ERROR = "proxy_error"
    READ_TIMEOUT = "read_timeout"
    REDIRECT = "redirect"
    ACCOUNT_REJECTED = "account_rejected"
    BALANCE_REJECTED = "balance_rejected"
    MODEL_REJECTED = "model_rejected"
    RESET = "reset"
    UNKNOWN = "unknown"
    WRITE_ERROR = "write_error"
    WRITE_TIMEOUT = "write_timeout"


class FileOrigin(StrEnum):
    """Where a file comes from."""

    UPLOAD = "upload"
    SOURCE = "source"


class FileOutcome(StrEnum):
    """How receiving a file ended."""

    STORED = "stored"
    REFUSED = "refused"  # by its content, its size, a limit, or the operator's list
    BROKEN_OFF = "broken_off"  # the caller, or the private source, did not send all of it
    STORAGE_FAILED = "storage_failed"


class FailureKind(StrEnum):
    """Why a webhook attempt failed.

    The gateway causes `busy`, `send_error` and `step_failed`, its proxy `proxy_error`; the receiver
    or the network causes the rest.
    """

    GONE = "gone"
    THROTTLED = "throttled"
    REDIRECT = "redirect"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    INVALID_RESPONSE = "invalid_response"
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    DNS_ERROR = "dns_error"
    PROXY_ERROR = "proxy_error"
    RESET = "reset"
    BLOCKED_TARGET = "blocked_target"
    BUSY = "busy"
    SEND_ERROR = "send_error"
    STEP_FAILED = "step_failed"  # preparing or recording the attempt raised


DELIVERED: Final = "delivered"
"""The outcome of an attempt that the receiver accepted, beside the failures."""
