from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import orjson
import pytest

from core.money import MicroUsd
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
    Times,
    Unreachable,
)
from worker.upstream.error_classification import Kind, Oversized
from worker.upstream.faults import Scrub
from worker.upstream.http_request import Reply
from worker.upstream.responses import read_cancel, read_result, read_status

SCRUB: Final = Scrub("tok-5ecret")
HTML: Final = b"<!doctype html><html></html>"
NO_TIMES: Final = Times(None, None)


def _reply(status: int | None, body: object = b"", broke: Exception | None = None) -> Reply:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(status, raw, broke=broke, retry_after=timedelta(seconds=3))


@pytest.mark.parametrize(
    ("doc", "answer"),
    [
        (
            {"status": "in_queue", "queue_position": 4},
            Open(in_progress=False, word="in_queue", queue_position=4),
        ),
        ({"status": "Pending"}, Open(in_progress=False, word="pending")),
        ({"status": "processing"}, Open(in_progress=True, word="processing")),
        ({"status": "Dreaming"}, Open(in_progress=False, word="Dreaming", known=False)),
        (
            {"status": "tok-5ecret" * 99},
            Open(in_progress=False, word=("[redacted]" * 99)[:64], known=False),
        ),
        ({"status": "in_progress", "error_code": 1}, Open(in_progress=True, word="in_progress")),
        ({"status": "COMPLETED"}, Ended("completed")),
        ({"status": "failed", "error_code": 500001}, Ended("failed")),
        ({"status": "canceled"}, Ended("canceled")),
    ],
)
def test_status(doc: object, answer: object) -> None:
    assert read_status(_reply(200, doc), SCRUB) == answer


READERS = pytest.mark.parametrize("read", [read_status, read_result, read_cancel])


@READERS
@pytest.mark.parametrize("reply", [_reply(404), _reply(404, {"detail": "Not Found"})])
def test_404_is_gone(read: type, reply: Reply) -> None:
    assert isinstance(read(reply, SCRUB), Gone)


@READERS
@pytest.mark.parametrize("code", [404001, "404001"])
def test_404001_inside_200_is_gone(read: type, code: object) -> None:
    answer = read(_reply(200, {"error_code": code, "error_message": "expired"}), SCRUB)

    assert isinstance(answer, Gone)
    assert (answer.fault.code, answer.fault.message) == ("404001", "expired")


@READERS
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_reply(404, HTML), Kind.HTML),
        (_reply(403, HTML), Kind.HTML),
        (_reply(200, HTML), Kind.HTML),
        (_reply(200, b"ok"), Kind.NOT_JSON),
        (_reply(200, b"[1]"), Kind.MALFORMED),
        (_reply(200, {}), Kind.MALFORMED),
        (_reply(200, {"error_code": 500001}), Kind.ERROR_IN_200),
        (_reply(200, {"error_code": 400004}), Kind.REFUSED_ACCOUNT),
        (_reply(401, {}), Kind.REFUSED_ACCOUNT),
        (_reply(302), Kind.REDIRECT),
        (_reply(422), Kind.HTTP_4XX),
        (_reply(429), Kind.HTTP_429),
        (_reply(502, HTML), Kind.HTTP_5XX),
        (_reply(None, broke=httpx.ReadTimeout("x")), Kind.READ_TIMEOUT),
        (_reply(None, broke=TimeoutError()), Kind.DEADLINE),
        (_reply(200, b'{"sta', broke=httpx.ReadError("")), Kind.RESET),
        (_reply(200, b"{", broke=Oversized("x")), Kind.OVERSIZED),
        (_reply(None), Kind.UNKNOWN),
    ],
)
def test_no_usable_answer_is_unreachable(read: type, reply: Reply, kind: Kind) -> None:
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
    times = Times(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 12, 1, tzinfo=UTC))

    answer = read_result(_reply(200, doc), SCRUB)

    assert answer == Completed({"video": "https://x/y.mp4", "odd": [1]}, MicroUsd(840_000), times)


@pytest.mark.parametrize("output", [None, {}, [], ""])
def test_completed_without_output_is_a_failure_of_its_own_kind(output: object) -> None:
    answer = read_result(_reply(200, {"status": "succeeded", "output": output, "cost": 1}), SCRUB)

    assert isinstance(answer, Failed)
    assert (answer.fault.kind, answer.cost) == ("no_output", 1_000_000)


def test_an_output_outweighs_an_error_beside_it() -> None:
    doc = {"status": "completed", "output": "https://x/y.png", "error": "a warning"}

    answer = read_result(_reply(200, doc), SCRUB)

    assert answer == Completed({"output": "https://x/y.png"}, None, NO_TIMES)


def test_a_failed_result_keeps_code_and_words_without_secrets() -> None:
    doc = {"status": "failed", "error_code": 500001, "error": {"message": "boom tok-5ecret\x00"}}

    answer = read_result(_reply(200, doc), SCRUB)

    assert isinstance(answer, Failed)
    assert (answer.fault.kind, answer.fault.code) == ("failed", "500001")
    assert answer.fault.message == "boom [redacted]"


def test_a_cancelled_result() -> None:
    answer = read_result(_reply(200, {"status": "canceled", "cost": 0}), SCRUB)

    assert answer == Cancelled(MicroUsd(0), NO_TIMES)


def test_a_result_before_the_end_says_where_it_stands() -> None:
    answer = read_result(_reply(200, {"status": "in_progress", "output": None}), SCRUB)

    assert answer == Open(in_progress=True, word="in_progress")


def test_a_result_that_arrived_whole_counts_though_the_connection_broke() -> None:
    reply = _reply(200, {"status": "completed", "output": "u"}, broke=httpx.ReadError(""))

    assert isinstance(read_result(reply, SCRUB), Completed)


@pytest.mark.parametrize(
    ("status", "doc", "answer"),
    [
        (200, {"outcome": "cancelled", "status": "cancelled"}, CancelDone()),
        (200, {"outcome": "Canceled"}, CancelDone()),
        (200, {"outcome": "not_cancellable", "status": "in_progress"}, NotCancellable()),
        (200, {"outcome": "not_cancellable", "status": "cancelled"}, CancelDone()),
        (200, {"outcome": "not_cancellable"}, NotCancellable()),
        (200, {"status": "cancelled"}, CancelDone()),
        (200, {"status": "completed"}, NotCancellable()),
        (200, {"status": "running"}, NotCancellable()),
        (409, {"detail": "it runs"}, NotCancellable()),
    ],
)
def test_cancel(status: int, doc: object, answer: CancelAnswer) -> None:
    assert read_cancel(_reply(status, doc), SCRUB) == answer


@pytest.mark.parametrize("doc", [{"status": "in_queue"}, {"outcome": "perhaps"}, {"outcome": 1}])
def test_a_cancel_without_a_clear_word_is_asked_again(doc: object) -> None:
    assert isinstance(read_cancel(_reply(200, doc), SCRUB), Unreachable)
