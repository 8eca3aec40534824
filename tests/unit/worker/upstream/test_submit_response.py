from datetime import timedelta

import httpx
import orjson
import pytest

from core.observability.outcomes import FaultKind
from worker.ports import Accepted, Indeterminate, NotSent, RefusalScope, Rejected, SubmitAnswer
from worker.upstream.error_classification import ResponseTooLarge
from worker.upstream.faults import Redactor
from worker.upstream.http_request import HttpResponse
from worker.upstream.responses import parse_submit

SCRUB = Redactor("tok-5ecret")
HTML = b"<!doctype html><html><title>nope</title></html>"


def _read(status: int | None, body: object = None, **more: object) -> SubmitAnswer:
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return parse_submit(HttpResponse(status, raw, **more), SCRUB)  # type: ignore[arg-type] # test shorthand


def test_an_id_means_accepted() -> None:
    assert _read(200, {"request_id": "r-1", "status_url": "u"}) == Accepted("r-1")
    assert _read(202, {"request_id": "r-1", "error_code": None, "message": "ok"}) == Accepted("r-1")


def test_an_id_that_arrived_whole_counts_though_the_connection_broke() -> None:
    cut = httpx.RemoteProtocolError("peer closed")

    assert _read(200, {"request_id": "r-1"}, error=cut) == Accepted("r-1")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", FaultKind.NOT_JSON),
        (200, b"ok", FaultKind.NOT_JSON),
        (200, b"[]", FaultKind.MALFORMED),
        (200, HTML, FaultKind.HTML),
        (200, {}, FaultKind.MISSING_ID),
        (200, {"request_id": "a/b"}, FaultKind.MISSING_ID),
        (200, {"request_id": ""}, FaultKind.MISSING_ID),
        (200, {"request_id": "x" * 129}, FaultKind.MISSING_ID),
        (200, {"error_code": 500001, "error_message": "boom"}, FaultKind.ERROR_IN_200),
        (200, {"error_code": "WHAT"}, FaultKind.ERROR_IN_200),
        # The id of an error report is not known to be the id of a request.
        (200, {"error_code": 500001, "request_id": "r-1"}, FaultKind.ERROR_IN_200),
        (301, b"", FaultKind.REDIRECT),
        (408, b"", FaultKind.HTTP_4XX),
        (409, {"request_id": "r-1"}, FaultKind.HTTP_4XX),
        (500, {"request_id": "r-1"}, FaultKind.HTTP_5XX),
        (500, {"error_code": 400002}, FaultKind.HTTP_5XX),
        (502, HTML, FaultKind.HTTP_5XX),
        (503, b"", FaultKind.HTTP_5XX),
        (504, HTML, FaultKind.HTTP_5XX),
    ],
)
def test_doubt_is_no_answer(status: int, body: object, kind: FaultKind) -> None:
    answer = _read(status, body)

    assert isinstance(answer, Indeterminate)
    assert (answer.fault.kind, answer.fault.http_status) == (kind.value, status)


@pytest.mark.parametrize(
    ("broke", "kind"),
    [
        (httpx.ReadTimeout("x"), "read_timeout"),
        (httpx.ReadError(""), "reset"),
        (httpx.RemoteProtocolError("x"), "protocol_error"),
        (TimeoutError(), "deadline"),
        (RuntimeError("x"), "unknown"),
        (None, "unknown"),
    ],
)
def test_no_status_after_sending_is_no_answer(broke: Exception | None, kind: str) -> None:
    answer = _read(None, error=broke)

    assert isinstance(answer, Indeterminate)
    assert (answer.fault.kind, answer.fault.http_status) == (kind, None)


@pytest.mark.parametrize("broke", [ResponseTooLarge("x"), TimeoutError(), httpx.ReadError("")])
def test_a_2xx_that_broke_off_is_no_answer(broke: Exception) -> None:
    assert isinstance(_read(200, b'{"request_id": "r-', error=broke), Indeterminate)


@pytest.mark.parametrize("broke", [httpx.ConnectError("x"), httpx.ConnectTimeout("x")])
def test_what_never_left_is_not_sent(broke: Exception) -> None:
    assert isinstance(_read(None, error=broke), NotSent)


def test_throttling_is_not_sent_with_its_pause() -> None:
    pause = timedelta(seconds=7)

    assert _pause(_read(429, HTML, retry_after=pause)) == pause
    assert _pause(_read(503, HTML, retry_after=pause)) == pause
    assert _pause(_read(429)) is None


def _pause(answer: SubmitAnswer) -> timedelta | None:
    assert isinstance(answer, NotSent)
    return answer.retry_after


R = RefusalScope
SIGNS: tuple[tuple[int, object, RefusalScope], ...] = (
    # the input: fails its own job, and shows that RunComfy works
    (400, {"error_code": 400001}, R.INPUT),
    (404, {"error_code": 404001}, R.INPUT),
    (413, b"too large", R.INPUT),
    (422, {"detail": [{"loc": ["duration"], "msg": "too long"}]}, R.INPUT),
    (422, {"error": "the account of the prompt is long"}, R.INPUT),
    (200, {"error_code": 422001}, R.INPUT),
    (200, {"error_code": "404001"}, R.INPUT),
    # the account: every job waits
    (401, b"", R.ACCOUNT),
    (401, {"error_code": 401000}, R.ACCOUNT),
    (400, {"error_code": "400004"}, R.ACCOUNT),
    (403, {"error_code": 400004}, R.ACCOUNT),
    (200, {"error_code": 400004}, R.ACCOUNT),
    (200, {"error_code": 401000}, R.ACCOUNT),
    (403, {"error_message": "Your account is inactive"}, R.ACCOUNT),
    (200, {"error_code": 403001, "error_message": "account suspended"}, R.ACCOUNT),
    # the balance: what costs as much or more waits
    (402, {"message": "no balance"}, R.BALANCE),
    (402, b"", R.BALANCE),
    (400, {"error_code": 400002}, R.BALANCE),
    (403, {"error_code": 400002}, R.BALANCE),
    (429, {"error_code": "400002"}, R.BALANCE),
    (200, {"error_code": 400002}, R.BALANCE),
    (200, {"error_code": 402000}, R.BALANCE),
    # the model or a resource: fails its own job
    (403, b"", R.MODEL),
    (403, {"error_code": 403001}, R.MODEL),
    (400, {"error_code": 403001}, R.MODEL),
    (200, {"error_code": 403001}, R.MODEL),
    (200, {"error_code": 403009}, R.MODEL),
    # a page of something in front: nobody's word
    (400, HTML, R.NONE),
    (401, HTML, R.NONE),
    (402, HTML, R.NONE),
    (403, HTML, R.NONE),
    (404, HTML, R.NONE),
    (451, HTML, R.NONE),
)


@pytest.mark.parametrize(("status", "body", "scope"), SIGNS)
def test_each_refusal_has_its_scope(status: int, body: object, scope: RefusalScope) -> None:
    answer = _read(status, body)

    assert isinstance(answer, Rejected)
    assert answer.scope is scope


def test_a_refusal_stands_though_its_words_broke_off() -> None:
    assert isinstance(_read(422, b'{"det', error=httpx.ReadError("")), Rejected)


def test_a_fault_carries_runcomfys_words_and_code() -> None:
    answer = _read(422, {"error_code": 422001, "detail": [{"loc": ["body", "x"], "msg": "bad"}]})

    assert isinstance(answer, Rejected)
    assert (answer.fault.message, answer.fault.code) == ("body.x: bad", "422001")


@pytest.mark.parametrize("status", [200, 401, 422, 429, 500])
def test_an_echoed_token_is_scrubbed(status: int) -> None:
    answer = _read(status, {"message": "bad token tok-5ecret", "error_code": "tok-5ecret"})

    assert not isinstance(answer, Accepted)
    assert answer.fault.kind in {*FaultKind}
    assert "tok-5ecret" not in repr(answer)
    assert "[redacted]" in answer.fault.message
