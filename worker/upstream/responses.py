"""Parses RunComfy's answers. Pure.

Status words are mapped by `core.jobs.runcomfy_status`. Any ambiguous answer to a submit becomes
`Indeterminate`: only certainty that no work was started allows a second submit.
"""

from http import HTTPStatus

from core.jobs.job import CancelOutcome
from core.jobs.runcomfy_status import FINAL_PHASES, PHASES_BY_STATUS, Phase
from core.observability.outcomes import FaultKind
from core.runtime.statically_frozen import statically_frozen
from worker.ports import (
    Accepted,
    CancelAnswer,
    Finished,
    Indeterminate,
    InProgress,
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
from worker.upstream import error_classification, json_parser, tolerant_json
from worker.upstream.error_classification import BillingEffect, Classification
from worker.upstream.faults import Redactor, classify_unreadable, fault_of
from worker.upstream.http_request import HttpResponse
from worker.upstream.json_parser import Document


def parse_submit(response: HttpResponse, redactor: Redactor) -> SubmitAnswer:
    """Return the answer to a submit: accepted, not sent, rejected, or unknown.

    A complete id counts even if the connection broke after it: its run is billed.
    """
    doc = tolerant_json.parse_object(response.body)
    if response.is_success and doc is not None and json_parser.parse_error_code(doc) is None:
        upstream_id = json_parser.parse_request_id(doc.get("request_id"))
        if upstream_id is not None:
            return Accepted(upstream_id)
    classification = _classify(response, doc)
    fault = fault_of(classification.kind, response, redactor)
    return _build_answer(classification, response, fault)


def _classify(response: HttpResponse, doc: json_parser.Document | None) -> Classification:
    if response.status is None:
        return (
            error_classification.UNCLASSIFIED
            if response.error is None
            else error_classification.classify_exception(response.error)
        )
    if not response.is_success:
        found = _classify_by_status(response, response.status, doc or {})
        return error_classification.classify_text(found, json_parser.parse_error_text(doc))
    code = json_parser.parse_error_code(doc or {})
    if code is not None:
        found = error_classification.classify_code(code)
        return error_classification.classify_text(found, json_parser.parse_error_text(doc))
    return Classification(
        BillingEffect.INDETERMINATE,
        classify_unreadable(response) if doc is None else FaultKind.MISSING_ID,
    )


def _classify_by_status(response: HttpResponse, status: int, doc: Document) -> Classification:
    classification = error_classification.classify_status(
        status, has_retry_after=response.retry_after is not None
    )
    if classification.billing_effect is BillingEffect.INDETERMINATE:
        return classification
    code = json_parser.parse_error_code(doc) or ""
    if code in error_classification.SCOPED_CODES:
        return error_classification.SCOPED_CODES[code]
    is_page = json_parser.is_html(response.body, response.content_type)
    if is_page and classification.billing_effect is BillingEffect.REJECTED:
        return error_classification.HTML_REJECTED
    return classification


def _build_answer(
    classification: Classification, response: HttpResponse, fault: UpstreamFault
) -> SubmitAnswer:
    match classification.billing_effect:
        case BillingEffect.NOT_SENT:
            return NotSent(fault, response.retry_after)
        case BillingEffect.REJECTED:
            return Rejected(fault, classification.scope)
        case BillingEffect.INDETERMINATE:
            return Indeterminate(fault)


def parse_status(response: HttpResponse, redactor: Redactor) -> StatusAnswer:
    """Return the status. For an ended request it has no details: the result is the authority."""
    answer = _parse_answer(response, redactor)
    if isinstance(answer, RequestNotFound | Unreachable):
        return answer
    if answer.phase in FINAL_PHASES:
        return Finished(answer.word)
    return _build_in_progress(answer, redactor)


def parse_result(response: HttpResponse, redactor: Redactor) -> ResultAnswer:
    """Return how a request ended, or its status if it has not ended."""
    answer = _parse_answer(response, redactor)
    if isinstance(answer, RequestNotFound | Unreachable):
        return answer
    return _build_result(answer, response, redactor)


@statically_frozen
class _RequestState:
    """The document of a status or a result. `phase`: what its word means; None: undocumented."""

    doc: Document
    word: str
    phase: Phase | None


def _parse_answer(
    response: HttpResponse, redactor: Redactor
) -> _RequestState | RequestNotFound | Unreachable:
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound | Unreachable):
        return doc
    word = json_parser.parse_status_word(doc)
    if word is None:
        return build_unreachable(FaultKind.MALFORMED, response, redactor)
    return _RequestState(doc, word, PHASES_BY_STATUS.get(word))


def _build_result(state: _RequestState, response: HttpResponse, redactor: Redactor) -> ResultAnswer:
    if state.phase not in FINAL_PHASES:
        return _build_in_progress(state, redactor)
    cost, times = json_parser.parse_cost(state.doc), json_parser.parse_times(state.doc)
    if state.phase is Phase.CANCELLED:
        return RunCancelled(cost, times, state.word)
    if state.phase is Phase.FAILED:
        return RunFailed(fault_of(FaultKind.FAILED, response, redactor), cost, times, state.word)
    output = json_parser.parse_output(response.body)
    if output is None:
        return RunFailed(fault_of(FaultKind.NO_OUTPUT, response, redactor), cost, times, state.word)
    return RunCompleted(output, cost, times, state.word)


def _build_in_progress(state: _RequestState, redactor: Redactor) -> InProgress:
    word, phase = state.word, state.phase
    if phase is None:
        # In its original case: the redactor would not recognise a token in lower case.
        word = redactor.redact_label(str(state.doc.get("status")))
    return InProgress(
        is_running=phase is Phase.RUNNING,
        status_word=word,
        is_documented=phase is not None,
        queue_position=json_parser.parse_queue_position(state.doc),
    )


def parse_cancel(response: HttpResponse, redactor: Redactor) -> CancelAnswer:
    """Return whether RunComfy cancelled the request; only its explicit answer counts."""
    if response.status == HTTPStatus.CONFLICT:
        # The request's state forbids it. If that state is "cancelled", the next poll reports it.
        return CancelOutcome.NOT_CANCELLABLE
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound | Unreachable):
        return doc
    outcome = json_parser.normalize_word(doc.get("outcome"))
    phase = json_parser.parse_phase(doc)
    # A repeated cancel is answered "not_cancellable" after the first one succeeded.
    if phase is Phase.CANCELLED or outcome in {"cancelled", "canceled"}:
        return CancelOutcome.CANCELLED
    if outcome == "not_cancellable" or phase in FINAL_PHASES | {Phase.RUNNING}:
        return CancelOutcome.NOT_CANCELLABLE
    return build_unreachable(FaultKind.MALFORMED, response, redactor)


def parse_document(
    response: HttpResponse, redactor: Redactor
) -> Document | RequestNotFound | Unreachable:
    """Return the JSON object of a usable answer, also if the connection broke after it.

    404 means that the id is unknown, unless it is an HTML page: that comes from the CDN, not from
    RunComfy.
    """
    if not response.is_success:
        return _classify_error_response(response, redactor)
    doc = tolerant_json.parse_object(response.body)
    if doc is None:
        return build_unreachable(classify_unreadable(response), response, redactor)
    code = json_parser.parse_error_code(doc)
    # The document of a failed request contains the request's error: the call itself succeeded.
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
    classification = error_classification.classify_status(response.status, has_retry_after=False)
    is_from_cdn = is_page and classification.billing_effect is BillingEffect.REJECTED
    kind = FaultKind.HTML if is_from_cdn else classification.kind
    return build_unreachable(kind, response, redactor)


def build_unreachable(kind: FaultKind, response: HttpResponse, redactor: Redactor) -> Unreachable:
    """Return the read's fault, with the delay that the answer requested."""
    return Unreachable(fault_of(kind, response, redactor), response.retry_after)
