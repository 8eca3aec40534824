"""Judges what came back from the one paid call. Every doubt ends as `NoAnswer`. Pure."""

from http import HTTPStatus

from worker.ports import (
    Accepted,
    CancelAnswer,
    CancelDone,
    Cancelled,
    Completed,
    Ended,
    Failed,
    Gone,
    NoAnswer,
    NotCancellable,
    NotSent,
    Open,
    Rejected,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    Unreachable,
    UpstreamFault,
)
from worker.upstream import error_classification as errors
from worker.upstream import json_parser as wire
from worker.upstream.error_classification import Kind, Money, Verdict
from worker.upstream.faults import Scrub, fault_of, unreadable
from worker.upstream.http_request import Reply
from worker.upstream.json_parser import Document, Phase


def read_submit(reply: Reply, scrub: Scrub) -> SubmitAnswer:
    """What a submit's reply says: taken, surely not sent, refused, or nobody knows.

    An id that arrived whole counts even if the connection broke after it: work behind it is paid.
    """
    doc = wire.document(reply.body)
    if reply.succeeded and doc is not None and wire.error_code(doc) is None:
        upstream_id = wire.request_id(doc.get("request_id"))
        if upstream_id is not None:
            return Accepted(upstream_id)
    verdict = _judge(reply, doc)
    return _answer(verdict, reply, fault_of(verdict.kind, reply, scrub))


def _judge(reply: Reply, doc: wire.Document | None) -> Verdict:
    if reply.status is None:
        return errors.UNKNOWN if reply.broke is None else errors.of_exception(reply.broke)
    if not reply.succeeded:
        return _judge_status(reply, reply.status, wire.error_code(doc or {}))
    code = wire.error_code(doc or {})
    if code is not None:
        return errors.of_code(code)
    return Verdict(Money.NO_ANSWER, unreadable(reply) if doc is None else Kind.ID_LESS)


def _judge_status(reply: Reply, status: int, code: str | None) -> Verdict:
    verdict = errors.of_status(status, retry_after_given=reply.retry_after is not None)
    if verdict.money in {Money.REJECTED, Money.NOT_SENT} and code in errors.ACCOUNT_CODES:
        return errors.of_code(code)
    # A firewall's page about one prompt must not stop every tenant's submits.
    if status == HTTPStatus.FORBIDDEN and wire.looks_like_html(reply.body, reply.content_type):
        return Verdict(Money.REJECTED, Kind.HTML)
    return verdict


def _answer(verdict: Verdict, reply: Reply, fault: UpstreamFault) -> SubmitAnswer:
    match verdict.money:
        case Money.NOT_SENT:
            return NotSent(fault, reply.retry_after)
        case Money.REJECTED:
            return Rejected(fault)
        case Money.REFUSED:
            return Rejected(fault, account_refused=True)
        case Money.NO_ANSWER:
            return NoAnswer(fault)


def read_status(reply: Reply, scrub: Scrub) -> StatusAnswer:
    """Where a request stands. Of an ended one it says no more: the result is the authority."""
    doc = read_document(reply, scrub)
    if isinstance(doc, Gone | Unreachable):
        return doc
    word = wire.status_word(doc)
    if word is None:
        return unreachable(Kind.MALFORMED, reply, scrub)
    if wire.phase(doc) in wire.ENDED:
        return Ended(word)
    return _open(doc, word, scrub)


def read_result(reply: Reply, scrub: Scrub) -> ResultAnswer:
    """How a request ended, or where it stands when it has not."""
    doc = read_document(reply, scrub)
    if isinstance(doc, Gone | Unreachable):
        return doc
    word = wire.status_word(doc)
    if word is None:
        return unreachable(Kind.MALFORMED, reply, scrub)
    return _result(doc, word, reply, scrub)


def _result(doc: Document, word: str, reply: Reply, scrub: Scrub) -> ResultAnswer:
    match wire.phase(doc):
        case Phase.COMPLETED:
            return _completed(doc, reply, scrub)
        case Phase.FAILED:
            return Failed(fault_of(Kind.FAILED, reply, scrub), wire.cost(doc), wire.times(doc))
        case Phase.CANCELLED:
            return Cancelled(wire.cost(doc), wire.times(doc))
        case _:
            return _open(doc, word, scrub)


def _completed(doc: Document, reply: Reply, scrub: Scrub) -> Completed | Failed:
    output = wire.output(doc)
    if output is None:
        return Failed(fault_of(Kind.NO_OUTPUT, reply, scrub), wire.cost(doc), wire.times(doc))
    return Completed(output, wire.cost(doc), wire.times(doc))


def _open(doc: Document, word: str, scrub: Scrub) -> Open:
    phase = wire.phase(doc)
    # As it came: lower case would hide an echoed token from the scrub.
    unknown = scrub.word(str(doc.get("status")))
    return Open(
        in_progress=phase is Phase.RUNNING,
        word=unknown if phase is None else word,
        known=phase is not None,
        queue_position=wire.queue_position(doc),
    )


def read_cancel(reply: Reply, scrub: Scrub) -> CancelAnswer:
    """Whether RunComfy cancelled it. Only its own word counts; silence is asked again."""
    if reply.status == HTTPStatus.CONFLICT:
        # Its state forbids it. Should that state be "cancelled", the next status call says so.
        return NotCancellable()
    doc = read_document(reply, scrub)
    if isinstance(doc, Gone | Unreachable):
        return doc
    outcome = wire.word(doc.get("outcome"))
    phase = wire.phase(doc)
    # A repeated cancel is told "not_cancellable" of what the first one cancelled.
    if phase is Phase.CANCELLED or outcome in {"cancelled", "canceled"}:
        return CancelDone()
    if outcome == "not_cancellable" or phase in wire.ENDED | {Phase.RUNNING}:
        return NotCancellable()
    return unreachable(Kind.MALFORMED, reply, scrub)


def read_document(reply: Reply, scrub: Scrub) -> Document | Gone | Unreachable:
    """The JSON object of a usable answer; one that arrived whole counts though the rest broke.

    404 says that the id is gone, unless it is a page: then the edge spoke, not RunComfy.
    """
    if not reply.succeeded:
        return _without_answer(reply, scrub)
    doc = wire.document(reply.body)
    if doc is None:
        return unreachable(unreadable(reply), reply, scrub)
    code = wire.error_code(doc)
    # A failed request carries its own error: that is an answer, and no fault of the call.
    if code is None or wire.phase(doc) is not None:
        return doc
    if code == errors.GONE_CODE:
        return Gone(fault_of(Kind.GONE, reply, scrub))
    return unreachable(errors.of_code(code).kind, reply, scrub)


def _without_answer(reply: Reply, scrub: Scrub) -> Gone | Unreachable:
    if reply.status is None:
        kind = Kind.UNKNOWN if reply.broke is None else errors.kind_of(reply.broke)
        return unreachable(kind, reply, scrub)
    is_page = wire.looks_like_html(reply.body, reply.content_type)
    if reply.status == HTTPStatus.NOT_FOUND and not is_page:
        return Gone(fault_of(Kind.GONE, reply, scrub))
    verdict = errors.of_status(reply.status, retry_after_given=False)
    blamed_on_page = is_page and verdict.money in {Money.REJECTED, Money.REFUSED}
    return unreachable(Kind.HTML if blamed_on_page else verdict.kind, reply, scrub)


def unreachable(kind: Kind, reply: Reply, scrub: Scrub) -> Unreachable:
    """The read's fault, with the pause that the answer asked for."""
    return Unreachable(fault_of(kind, reply, scrub), reply.retry_after)
