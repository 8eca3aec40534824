"""Reads what came back from the calls that cost nothing: status, result, cancel. Pure."""

from http import HTTPStatus

from worker.ports import (
    CancelAnswer,
    CancelDone,
    Cancelled,
    Completed,
    Ended,
    Failed,
    Gone,
    NotCancellable,
    Open,
    ResultAnswer,
    StatusAnswer,
    Unreachable,
)
from worker.upstream import errors, wire
from worker.upstream.errors import Kind, Money
from worker.upstream.exchange import Reply
from worker.upstream.faults import fault_of, unreadable
from worker.upstream.redaction import Scrub
from worker.upstream.wire import Document, Phase


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
