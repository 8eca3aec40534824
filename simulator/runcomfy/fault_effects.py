"""Builds the response of a triggered fault rule from the call's normal response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from simulator.broken_responses import (
    ClosedConnection,
    DelayedResponse,
    HangingResponse,
    ResetConnection,
    huge_response,
)
from simulator.clock import SimulatorClock
from simulator.runcomfy.answers import ApiResponse, not_found
from simulator.runcomfy.documents import apply_anomaly
from simulator.runcomfy.errors import error_document, error_for_status
from simulator.runcomfy.faults import FaultRule, SimulatedFaultKind, SimulatedOperation
from simulator.runcomfy.vocabulary import Vocabulary
from simulator.script import Json

_PAGE = """<!DOCTYPE html><html><head><title>{status} | edge</title></head>
<body><h1>Just a moment...</h1><p>Ray ID: 8f00ba4</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class TriggeredFault:
    """A triggered rule. ``answer`` is None if the call was not executed."""

    rule: FaultRule
    operation: SimulatedOperation
    answer: ApiResponse | None
    clock: SimulatorClock
    vocabulary: Vocabulary

    @property
    def document(self) -> Json:
        """The document of the normal response."""
        return self.answer.document if self.answer else {}

    @property
    def status(self) -> int:
        """The HTTP status of the normal response."""
        return self.answer.status if self.answer else 200


def build_response(answer: ApiResponse) -> Response:
    """Return the normal response as JSON."""
    return _json_response(answer.document, answer.status)


def build_faulty_response(fault: TriggeredFault) -> Response:
    """Return the response of the fault."""
    return EFFECTS[fault.rule.kind](fault)


def _error(fault: TriggeredFault, status: int) -> Response:
    rule = fault.rule
    status = rule.status or status
    answer = _json_response(error_for_status(status) if rule.body is None else rule.body, status)
    if rule.retry_after is not None:
        answer.headers["retry-after"] = f"{rule.retry_after:g}"
    return answer


def _throttled(fault: TriggeredFault) -> Response:
    return _error(fault, 429)


def _server_error(fault: TriggeredFault) -> Response:
    return _error(fault, 500)


def _error_in_200(fault: TriggeredFault) -> Response:
    body = fault.rule.body
    return _json_response(error_document(500001, "Something went wrong") if body is None else body)


def _html(fault: TriggeredFault) -> Response:
    status = fault.rule.status or 200
    return Response(_PAGE.format(status=status), status, media_type="text/html")


def _delayed(fault: TriggeredFault) -> Response:
    answer = ApiResponse(fault.status, fault.document)
    return DelayedResponse(build_response(answer), fault.rule.delay, fault.clock)


def _missing_id(fault: TriggeredFault) -> Response:
    document = fault.document
    kept = {name: document[name] for name in document if not name.endswith(("_url", "request_id"))}
    return _json_response(kept, fault.status)


def _anomalous(fault: TriggeredFault) -> Response:
    anomaly = fault.rule.anomaly
    # At a submit the anomaly is stored with the request; an error has no status to change.
    if (
        anomaly is None
        or fault.operation is SimulatedOperation.SUBMIT
        or "status" not in fault.document
    ):
        return _json_response(fault.document, fault.status)
    return _json_response(apply_anomaly(fault.document, anomaly, fault.vocabulary), fault.status)


def _redirect(fault: TriggeredFault) -> Response:
    return Response(status_code=302, headers={"location": fault.rule.location})


def _huge(fault: TriggeredFault) -> Response:
    return huge_response(fault.rule.size)


def _garbage(fault: TriggeredFault) -> Response:
    half = orjson.dumps(fault.document)[: 1 + len(fault.document) * 8]
    return Response(half + b"\xff", fault.status, media_type="application/json")


def _not_found(_fault: TriggeredFault) -> Response:
    return build_response(not_found())


def _plain_text(fault: TriggeredFault) -> Response:
    body = orjson.dumps(fault.document)
    return Response(body, fault.status, media_type="text/plain")


def _closed(_fault: TriggeredFault) -> Response:
    return ClosedConnection()


def _reset(_fault: TriggeredFault) -> Response:
    return ResetConnection()


def _hung(_fault: TriggeredFault) -> Response:
    return HangingResponse()


EFFECTS: Mapping[SimulatedFaultKind, Callable[[TriggeredFault], Response]] = {
    SimulatedFaultKind.THROTTLED: _throttled,
    SimulatedFaultKind.ERROR: _server_error,
    SimulatedFaultKind.ERROR_IN_200: _error_in_200,
    SimulatedFaultKind.HTML: _html,
    SimulatedFaultKind.LOST_BEFORE: _closed,
    SimulatedFaultKind.LOST_AFTER: _closed,
    SimulatedFaultKind.RESET_BEFORE: _reset,
    SimulatedFaultKind.RESET_AFTER: _reset,
    SimulatedFaultKind.SERVER_ERROR_BEFORE: _server_error,
    SimulatedFaultKind.SERVER_ERROR_AFTER: _server_error,
    SimulatedFaultKind.SLOW: _delayed,
    SimulatedFaultKind.HANG: _hung,
    SimulatedFaultKind.MISSING_ID: _missing_id,
    SimulatedFaultKind.UNKNOWN_WORD: _anomalous,
    SimulatedFaultKind.COMPLETED_WITHOUT_OUTPUT: _anomalous,
    SimulatedFaultKind.STATUS_RESULT_DISAGREE: _anomalous,
    SimulatedFaultKind.FAILED: _anomalous,
    SimulatedFaultKind.REDIRECT: _redirect,
    SimulatedFaultKind.HUGE: _huge,
    SimulatedFaultKind.GARBAGE: _garbage,
    SimulatedFaultKind.NOT_FOUND: _not_found,
    SimulatedFaultKind.NOT_JSON_CONTENT_TYPE: _plain_text,
}


def _json_response(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
