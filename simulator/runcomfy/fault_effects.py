"""Turns a rule that fired, and the answer the call would have had, into what the client gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from simulator.broken_responses import Closed, Hung, Late, Reset, huge
from simulator.clock import Clock
from simulator.runcomfy.answers import Answer, not_found
from simulator.runcomfy.documents import bend
from simulator.runcomfy.errors import error_document, plain_error
from simulator.runcomfy.faults import Call, Kind, Rule
from simulator.script_fields import Json

_PAGE = """<!DOCTYPE html><html><head><title>{status} | edge</title></head>
<body><h1>Just a moment...</h1><p>Ray ID: 8f00ba4</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class Incident:
    """A rule that fired. ``answer`` is None where the call was not carried out."""

    rule: Rule
    call: Call
    answer: Answer | None
    clock: Clock

    @property
    def document(self) -> Json:
        """The document to spoil."""
        return self.answer.document if self.answer else {}

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return self.answer.status if self.answer else 200


def plain(answer: Answer) -> Response:
    """The answer as JSON."""
    return _json(answer.document, answer.status)


def spoiled(incident: Incident) -> Response:
    """What the client gets instead."""
    return EFFECTS[incident.rule.kind](incident)


def _error(incident: Incident, status: int) -> Response:
    rule = incident.rule
    status = rule.status or status
    answer = _json(plain_error(status) if rule.body is None else rule.body, status)
    if rule.retry_after is not None:
        answer.headers["retry-after"] = f"{rule.retry_after:g}"
    return answer


def _throttled(incident: Incident) -> Response:
    return _error(incident, 429)


def _server_error(incident: Incident) -> Response:
    return _error(incident, 500)


def _error_in_200(incident: Incident) -> Response:
    body = incident.rule.body
    return _json(error_document(500001, "Something went wrong") if body is None else body)


def _html(incident: Incident) -> Response:
    status = incident.rule.status or 200
    return Response(_PAGE.format(status=status), status, media_type="text/html")


def _late(incident: Incident) -> Response:
    answer = Answer(incident.status, incident.document)
    return Late(plain(answer), incident.rule.delay, incident.clock)


def _id_less(incident: Incident) -> Response:
    document = incident.document
    kept = {name: document[name] for name in document if not name.endswith(("_url", "request_id"))}
    return _json(kept, incident.status)


def _bent(incident: Incident) -> Response:
    twist = incident.rule.twist
    # At a submit the oddity is the request's own and shows later; refusals have nothing to bend.
    if twist is None or incident.call is Call.SUBMIT or "status" not in incident.document:
        return _json(incident.document, incident.status)
    return _json(bend(incident.document, twist), incident.status)


def _redirect(incident: Incident) -> Response:
    return Response(status_code=302, headers={"location": incident.rule.location})


def _huge(incident: Incident) -> Response:
    return huge(incident.rule.size)


def _garbage(incident: Incident) -> Response:
    half = orjson.dumps(incident.document)[: 1 + len(incident.document) * 8]
    return Response(half + b"\xff", incident.status, media_type="application/json")


def _gone(_incident: Incident) -> Response:
    return plain(not_found())


def _plain_text(incident: Incident) -> Response:
    body = orjson.dumps(incident.document)
    return Response(body, incident.status, media_type="text/plain")


def _closed(_incident: Incident) -> Response:
    return Closed()


def _reset(_incident: Incident) -> Response:
    return Reset()


def _hung(_incident: Incident) -> Response:
    return Hung()


EFFECTS: Mapping[Kind, Callable[[Incident], Response]] = {
    Kind.THROTTLED: _throttled,
    Kind.ERROR: _server_error,
    Kind.ERROR_IN_200: _error_in_200,
    Kind.HTML: _html,
    Kind.LOST_BEFORE: _closed,
    Kind.LOST_AFTER: _closed,
    Kind.RESET_BEFORE: _reset,
    Kind.RESET_AFTER: _reset,
    Kind.SERVER_ERROR_BEFORE: _server_error,
    Kind.SERVER_ERROR_AFTER: _server_error,
    Kind.SLOW: _late,
    Kind.HANG: _hung,
    Kind.ID_LESS: _id_less,
    Kind.UNKNOWN_WORD: _bent,
    Kind.COMPLETED_WITHOUT_OUTPUT: _bent,
    Kind.STATUS_RESULT_DISAGREE: _bent,
    Kind.FAILED: _bent,
    Kind.REDIRECT: _redirect,
    Kind.HUGE: _huge,
    Kind.GARBAGE: _garbage,
    Kind.GONE: _gone,
    Kind.NOT_JSON_CONTENT_TYPE: _plain_text,
}


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
