"""Describes failed calls in text that is safe to show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from core.observability.outcomes import FaultKind
from worker.ports import UpstreamFault
from worker.tls import CA_FILE, tls_failure_of
from worker.upstream import json_parser, tolerant_json
from worker.upstream.error_classification import fault_kind_of
from worker.upstream.http_request import HttpResponse

MAX_MESSAGE_LENGTH: Final = 500
MAX_LABEL_LENGTH: Final = 64
REDACTED: Final = "[redacted]"
# Longer than what is kept, since control characters are removed after this cut.
_MAX_INPUT_LENGTH: Final = 8 * MAX_MESSAGE_LENGTH

_UNTRUSTED_HINT: Final = "; if the CA is your company's, set GATEWAY_RUNCOMFY__CA_FILE"
_NO_CONNECTION_HINT: Final = "; see GATEWAY_RUNCOMFY__PROXY if a proxy leads out of your network"

# For answers without a text of their own, or with none for people.
DEFAULT_MESSAGES: Final[Mapping[FaultKind, str]] = {
    FaultKind.INVALID_ID: "no URL of RunComfy can contain this id",
    FaultKind.FAILED: "RunComfy reported that the request failed, without a reason",
    FaultKind.HTML: "an HTML page instead of JSON",
    FaultKind.MISSING_ID: "an answer without a usable request id",
    FaultKind.MALFORMED: "JSON without the fields that this call documents",
    FaultKind.NOT_JSON: "an answer that is not JSON",
    FaultKind.NO_OUTPUT: "RunComfy completed the request without any output",
    FaultKind.REDIRECT: "a redirect, which is not followed since the token would go with it",
}


@dataclass(frozen=True, slots=True)
class Redactor:
    """Removes one token from texts. Its repr does not show the token."""

    token: str = field(repr=False)

    def redact_message(self, text: str) -> str:
        """Return `text` on one line, at most 500 characters."""
        return self._clean(text)[:MAX_MESSAGE_LENGTH]

    def redact_label(self, text: str) -> str:
        """Return `text` as a timeline code, at most 64 characters."""
        return self._clean(text)[:MAX_LABEL_LENGTH]

    def _clean(self, text: str) -> str:
        # Twice: before the cut, which could leave half a token, and after control characters that
        # split one are removed.
        bounded = self._without_token(text)[:_MAX_INPUT_LENGTH]
        spaced = " ".join(bounded.split())
        return self._without_token("".join(char for char in spaced if char.isprintable()))

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, REDACTED)


def fault_of(kind: FaultKind, response: HttpResponse, redactor: Redactor) -> UpstreamFault:
    """Return the fault, with RunComfy's message, else the exception's, else a default one."""
    doc = tolerant_json.parse_object(response.body) or {}
    code = json_parser.parse_error_code(doc)
    return UpstreamFault(
        kind=kind.value,
        message=redactor.redact_message(
            json_parser.parse_error_text(doc) or _default_message(kind, response)
        ),
        http_status=response.status,
        code=None if code is None else redactor.redact_label(code),
    )


def _default_message(kind: FaultKind, response: HttpResponse) -> str:
    if response.error is not None:
        return _describe_error(response.error)
    status = "" if response.status is None else f" (HTTP {response.status})"
    return DEFAULT_MESSAGES.get(kind, f"no explanation: {kind.value}") + status


def _describe_error(error: Exception) -> str:
    """Return what failed on the way to RunComfy, and the setting that may fix it."""
    tls = tls_failure_of(error)
    if tls is not None:
        hint = _UNTRUSTED_HINT if tls.setting == CA_FILE else ""
        return f"TLS with RunComfy failed: {tls.cause}{hint}"
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    connecting = fault_kind_of(error) in {FaultKind.CONNECT_ERROR, FaultKind.CONNECT_TIMEOUT}
    return f"{text}{_NO_CONNECTION_HINT}" if connecting else text


def classify_unreadable(response: HttpResponse) -> FaultKind:
    """Return the kind of fault of an answer without a JSON object."""
    if response.error is not None:
        return fault_kind_of(response.error)
    if json_parser.is_html(response.body, response.content_type):
        return FaultKind.HTML
    return (
        FaultKind.NOT_JSON
        if tolerant_json.parse_json(response.body) is None
        else FaultKind.MALFORMED
    )
