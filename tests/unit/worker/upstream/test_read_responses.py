from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import orjson
import pytest

from core.jobs.job import CancelOutcome
from core.money import MicroUsd
from core.observability.outcomes import FaultKind
from worker.ports import (
    CancelAnswer,
    Finished,
    InProgress,
    RequestNotFound,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Unreachable,
    UpstreamTimes,
)
from worker.upstream.error_classification import ResponseTooLarge
from worker.upstream.faults import Redactor
from worker.upstream.http_request import HttpResponse
from worker.upstream.responses import parse_cancel, parse_result, parse_status

SCRUB: Final = Redactor("tok-5ecret")
HTML: Final = b"<!doctype html><html></html>"
NO_TIMES: Final = UpstreamTimes(None, None)


def _reply(status: int | None, body: object = b"", broke: Exception | None = None) -> HttpResponse:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, raw, error=broke, retry_after=timedelta(seconds=3))


@pytest.mark.parametrize(
    ("doc", "answer"),
    [
        (
            {"status": "in_queue", "queue_position": 4},
            InProgress(is_running=False, status_word="in_queue", queue_position=4),
        ),
        ({"status": "Pending"}, InProgress(is_running=False, status_word="pending")),
        ({"status": "processing"}, InProgress(is_running=True, status_word="processing")),
        (
            {"status": "Dreaming"},
            InProgress(is_running=False, status_word="Dreaming", is_documented=False),
        ),
        (
            {"status": "tok-5ecret" * 99},
            InProgress(is_running=False, status_word=("[redacted]" * 99)[:64], is_documented=False),
        ),
        (
            {"status": "in_progress", "error_code": 1},
            InProgress(is_running=True, status_word="in_progress"),
        ),
        ({"status": "COMPLETED"}, Finished("completed")),
        ({"status": "failed", "error_code": 500001}, Finished("failed")),
        ({"status": "canceled"}, Finished("canceled")),
    ],
)
def test_status(doc: object, answer: object) -> None:
    assert parse_status(_reply(200, doc), SCRUB) == answer


READERS = pytest.mark.parametrize("read", [parse_status, parse_result, parse_cancel])


@READERS
@pytest.mark.parametrize("reply", [_reply(404), _reply(404, {"detail": "Not Found"})])
def test_404_is_gone(read: type, reply: HttpResponse) -> None:
    assert isinstance(read(reply, SCRUB), RequestNotFound)


@READERS
@pytest.mark.parametrize("code", [404001, "404001"])
def test_404001_inside_200_is_gone(read: type, code: object) -> None:
    answer = read(_reply(200, {"error_code": code, "error_message": "expired"}), SCRUB)

    assert isinstance(answer, RequestNotFound)
    assert (answer.fault.code, answer.fault.message) == ("404001", "expired")


@READERS
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_reply(404, HTML), FaultKind.HTML),
        (_reply(403, HTML), FaultKind.HTML),
        (_reply(200, HTML), FaultKind.HTML),
        (_reply(200, b"ok"), FaultKind.NOT_JSON),
        (_reply(200, b"[1]"), FaultKind.MALFORMED),
        (_reply(200, {}), FaultKind.MALFORMED),
        (_reply(200, {"error_code": 500001}), FaultKind.ERROR_IN_200),
        (_reply(200, {"error_code": 400004}), FaultKind.ACCOUNT_REJECTED),
        (_reply(401, {}), FaultKind.ACCOUNT_REJECTED),
        (_reply(302), FaultKind.REDIRECT),
        (_reply(422), FaultKind.HTTP_4XX),
        (_reply(429), FaultKind.HTTP_429),
        (_reply(502, HTML), FaultKind.HTTP_5XX),
        (_reply(None, broke=httpx.ReadTimeout("x")), FaultKind.READ_TIMEOUT),
        (_reply(None, broke=TimeoutError()), FaultKind.DEADLINE),
        (_reply(200, b'{"sta', broke=httpx.ReadError("")), FaultKind.RESET),
        (_reply(200, b"{", broke=ResponseTooLarge("x")), FaultKind.OVERSIZED),
        (_reply(None), FaultKind.UNKNOWN),
    ],
)
def test_no_usable_answer_is_unreachable(read: type, reply: HttpResponse, kind: FaultKind) -> None:
    answer = read(reply, SCRUB)

    assert isinstance(answer, Unreachable)
    assert answer.fault.kind == kind
    assert answer.retry_after == timedelta(seconds=3)


def test_a_completed_result() -> None:
    doc = {
        "status": "completed",
        "output": {"video": "https://x/y.mp4", "odd": [1]},
        "cost": "0.84",
        "created_at": "2026-03-01T12:00:00Z",
        "finished_at": 1772366460,
    }
    times = UpstreamTimes(
        datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    )

    answer = parse_result(_reply(200, doc), SCRUB)

    output = b'{"video":"https://x/y.mp4","odd":[1]}'
    assert answer == RunCompleted(output, MicroUsd(840_000), times, "completed")


@pytest.mark.parametrize("output", [None, {}, [], ""])
def test_completed_without_output_is_a_failure_of_its_own_kind(output: object) -> None:
    answer = parse_result(_reply(200, {"status": "succeeded", "output": output, "cost": 1}), SCRUB)

    assert isinstance(answer, RunFailed)
    assert (answer.fault.kind, answer.cost) == ("no_output", 1_000_000)
    assert answer.status_word == "succeeded"


def test_an_output_outweighs_an_error_beside_it() -> None:
    doc = {"status": "completed", "output": "https://x/y.png", "error": "a warning"}

    answer = parse_result(_reply(200, doc), SCRUB)

    assert answer == RunCompleted(b'{"output":"https://x/y.png"}', None, NO_TIMES, "completed")


def test_a_failed_result_keeps_code_and_words_without_secrets() -> None:
    doc = {"status": "failed", "error_code": 500001, "error": {"message": "boom tok-5ecret\x00"}}

    answer = parse_result(_reply(200, doc), SCRUB)

    assert isinstance(answer, RunFailed)
    assert (answer.fault.kind, answer.fault.code) == ("failed", "500001")
    assert answer.status_word == "failed"
    assert answer.fault.message == "boom [redacted]"


def test_a_cancelled_result() -> None:
    answer = parse_result(_reply(200, {"status": "canceled", "cost": 0}), SCRUB)

    assert answer == RunCancelled(MicroUsd(0), NO_TIMES, "canceled")


def test_a_result_before_the_end_says_where_it_stands() -> None:
    answer = parse_result(_reply(200, {"status": "in_progress", "output": None}), SCRUB)

    assert answer == InProgress(is_running=True, status_word="in_progress")


def test_a_result_that_arrived_whole_counts_though_the_connection_broke() -> None:
    reply = _reply(200, {"status": "completed", "output": "u"}, broke=httpx.ReadError(""))

    assert isinstance(parse_result(reply, SCRUB), RunCompleted)


@pytest.mark.parametrize(
    ("status", "doc", "answer"),
    [
        (200, {"outcome": "cancelled", "status": "cancelled"}, CancelOutcome.CANCELLED),
        (200, {"outcome": "Canceled"}, CancelOutcome.CANCELLED),
        (
            200,
            {"outcome": "not_cancellable", "status": "in_progress"},
            CancelOutcome.NOT_CANCELLABLE,
        ),
        (200, {"outcome": "not_cancellable", "status": "cancelled"}, CancelOutcome.CANCELLED),
        (200, {"outcome": "not_cancellable"}, CancelOutcome.NOT_CANCELLABLE),
        (200, {"status": "cancelled"}, CancelOutcome.CANCELLED),
        (200, {"status": "completed"}, CancelOutcome.NOT_CANCELLABLE),
        (200, {"status": "running"}, CancelOutcome.NOT_CANCELLABLE),
        (409, {"detail": "it runs"}, CancelOutcome.NOT_CANCELLABLE),
    ],
)
def test_cancel(status: int, doc: object, answer: CancelAnswer) -> None:
    assert parse_cancel(_reply(status, doc), SCRUB) == answer


@pytest.mark.parametrize("doc", [{"status": "in_queue"}, {"outcome": "perhaps"}, {"outcome": 1}])
def test_a_cancel_without_a_clear_word_is_asked_again(doc: object) -> None:
    assert isinstance(parse_cancel(_reply(200, doc), SCRUB), Unreachable)
