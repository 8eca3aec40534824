"""Judges what came back from the one paid call. Every doubt ends as `Indeterminate`. Pure."""

from http import HTTPStatus

from core.observability.outcomes import FaultKind
from worker.ports import (
    Accepted,
    CancelAnswer,
    CancelSucceeded,
    Finished,
    Indeterminate,
    InProgress,
    NotCancellable,
    NotSent,
    Rejected,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StatusAnswer,
    SubmitAnswer,
    Unreachable,
    UpstreamFault,
)
from worker.upstream import error_classification, json_parser
from worker.upstream.error_classification import BillingEffect, Classification
from worker.upstream.faults import Redactor, classify_unreadable, fault_of
from worker.upstream.http_request import HttpResponse
from worker.upstream.json_parser import Document, Phase


def parse_submit(response: HttpResponse, redactor: Redactor) -> SubmitAnswer:
    """What a submit's reply says: taken, surely not sent, refused, or nobody knows.

    An id that arrived whole counts even if the connection broke after it: work behind it is paid.
    """
    doc = json_parser.parse_object(response.body)
    if response.is_success and doc is not None and json_parser.parse_error_code(doc) is None:
        upstream_id = json_parser.parse_request_id(doc.get("request_id"))
        if upstream_id is not None:
            return Accepted(upstream_id)
    verdict = _classify(response, doc)
    return _build_answer(verdict, response, fault_of(verdict.kind, response, redactor))


def _classify(response: HttpResponse, doc: json_parser.Document | None) -> Classification:
    if response.status is None:
        return (
            error_classification.UNCLASSIFIED
            if response.error is None
            else error_classification.classify_exception(response.error)
        )
    if not response.is_success:
        return _classify_by_status(
            response, response.status, json_parser.parse_error_code(doc or {})
        )
    code = json_parser.parse_error_code(doc or {})
    if code is not None:
        return error_classification.classify_code(code)
    return Classification(
        BillingEffect.INDETERMINATE,
        classify_unreadable(response) if doc is None else FaultKind.MISSING_ID,
    )


def _classify_by_status(response: HttpResponse, status: int, code: str | None) -> Classification:
    verdict = error_classification.classify_status(
        status, has_retry_after=response.retry_after is not None
    )
    if (
        verdict.billing_effect in {BillingEffect.REJECTED, BillingEffect.NOT_SENT}
        and code in error_classification.ACCOUNT_CODES
    ):
        return error_classification.classify_code(code)
    # A firewall's page about one prompt must not stop every tenant's submits.
    if status == HTTPStatus.FORBIDDEN and json_parser.is_html(response.body, response.content_type):
        return Classification(BillingEffect.REJECTED, FaultKind.HTML)
    return verdict


def _build_answer(
    classification: Classification, response: HttpResponse, fault: UpstreamFault
) -> SubmitAnswer:
    match classification.billing_effect:
        case BillingEffect.NOT_SENT:
            return NotSent(fault, response.retry_after)
        case BillingEffect.REJECTED:
            return Rejected(fault)
        case BillingEffect.ACCOUNT_REJECTED:
            return Rejected(fault, account_rejected=True)
        case BillingEffect.INDETERMINATE:
            return Indeterminate(fault)


def parse_status(response: HttpResponse, redactor: Redactor) -> StatusAnswer:
    """Where a request stands. Of an ended one it says no more: the result is the authority."""
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound | Unreachable):
        return doc
    word = json_parser.parse_status_word(doc)
    if word is None:
        return build_unreachable(FaultKind.MALFORMED, response, redactor)
    if json_parser.parse_phase(doc) in json_parser.FINAL_PHASES:
        return Finished(word)
    return _build_in_progress(doc, word, redactor)


def parse_result(response: HttpResponse, redactor: Redactor) -> ResultAnswer:
    """How a request ended, or where it stands when it has not."""
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound | Unreachable):
        return doc
    word = json_parser.parse_status_word(doc)
    if word is None:
        return build_unreachable(FaultKind.MALFORMED, response, redactor)
    return _build_result(doc, word, response, redactor)


def _build_result(
    doc: Document, word: str, response: HttpResponse, redactor: Redactor
) -> ResultAnswer:
    match json_parser.parse_phase(doc):
        case Phase.COMPLETED:
            return _build_completed(doc, response, redactor)
        case Phase.FAILED:
            return RunFailed(
                fault_of(FaultKind.FAILED, response, redactor),
                json_parser.parse_cost(doc),
                json_parser.parse_times(doc),
            )
        case Phase.CANCELLED:
            return RunCancelled(json_parser.parse_cost(doc), json_parser.parse_times(doc))
        case _:
            return _build_in_progress(doc, word, redactor)


def _build_completed(
    doc: Document, response: HttpResponse, redactor: Redactor
) -> RunCompleted | RunFailed:
    output = json_parser.parse_output(doc)
    if output is None:
        return RunFailed(
            fault_of(FaultKind.NO_OUTPUT, response, redactor),
            json_parser.parse_cost(doc),
            json_parser.parse_times(doc),
        )
    return RunCompleted(output, json_parser.parse_cost(doc), json_parser.parse_times(doc))


def _build_in_progress(doc: Document, word: str, redactor: Redactor) -> InProgress:
    phase = json_parser.parse_phase(doc)
    # As it came: lower case would hide an echoed token from the scrub.
    unknown = redactor.redact_label(str(doc.get("status")))
    return InProgress(
        is_running=phase is Phase.RUNNING,
        status_word=unknown if phase is None else word,
        is_documented=phase is not None,
        queue_position=json_parser.parse_queue_position(doc),
    )


def parse_cancel(response: HttpResponse, redactor: Redactor) -> CancelAnswer:
    """Whether RunComfy cancelled it. Only its own word counts; silence is asked again."""
    if response.status == HTTPStatus.CONFLICT:
        # Its state forbids it. Should that state be "cancelled", the next status call says so.
        return NotCancellable()
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound | Unreachable):
        return doc
    outcome = json_parser.normalize_word(doc.get("outcome"))
    phase = json_parser.parse_phase(doc)
    # A repeated cancel is told "not_cancellable" of what the first one cancelled.
    if phase is Phase.CANCELLED or outcome in {"cancelled", "canceled"}:
        return CancelSucceeded()
    if outcome == "not_cancellable" or phase in json_parser.FINAL_PHASES | {Phase.RUNNING}:
        return NotCancellable()
    return build_unreachable(FaultKind.MALFORMED, response, redactor)


def parse_document(
    response: HttpResponse, redactor: Redactor
) -> Document | RequestNotFound | Unreachable:
    """The JSON object of a usable answer; one that arrived whole counts though the rest broke.

    404 says that the id is gone, unless it is a page: then the edge spoke, not RunComfy.
    """
    if not response.is_success:
        return _classify_error_response(response, redactor)
    doc = json_parser.parse_object(response.body)
    if doc is None:
        return build_unreachable(classify_unreadable(response), response, redactor)
    code = json_parser.parse_error_code(doc)
    # A failed request carries its own error: that is an answer, and no fault of the call.
    if code is None or json_parser.parse_phase(doc) is not None:
        return doc
    if code == error_classification.NOT_FOUND_CODE:
        return RequestNotFound(fault_of(FaultKind.NOT_FOUND, response, redactor))
    return build_unreachable(error_classification.classify_code(code).kind, response, redactor)


def _classify_error_response(
    response: HttpResponse, redactor: Redactor
) -> RequestNotFound | Unreachable:
    if response.status is None:
        kind = (
            FaultKind.UNKNOWN
            if response.error is None
            else error_classification.fault_kind_of(response.error)
        )
        return build_unreachable(kind, response, redactor)
    is_page = json_parser.is_html(response.body, response.content_type)
    if response.status == HTTPStatus.NOT_FOUND and not is_page:
        return RequestNotFound(fault_of(FaultKind.NOT_FOUND, response, redactor))
    verdict = error_classification.classify_status(response.status, has_retry_after=False)
    blamed_on_page = is_page and verdict.billing_effect in {
        BillingEffect.REJECTED,
        BillingEffect.ACCOUNT_REJECTED,
    }
    return build_unreachable(FaultKind.HTML if blamed_on_page else verdict.kind, response, redactor)


def build_unreachable(kind: FaultKind, response: HttpResponse, redactor: Redactor) -> Unreachable:
    """The read's fault, with the pause that the answer asked for."""
    return Unreachable(fault_of(kind, response, redactor), response.retry_after)
