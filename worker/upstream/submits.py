"""Judges what came back from the one paid call. Every doubt ends as `NoAnswer`. Pure."""

from http import HTTPStatus

from worker.ports import Accepted, NoAnswer, NotSent, Rejected, SubmitAnswer, UpstreamFault
from worker.upstream import errors, wire
from worker.upstream.errors import Kind, Money, Verdict
from worker.upstream.exchange import Reply
from worker.upstream.faults import fault_of, unreadable
from worker.upstream.redaction import Scrub


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
