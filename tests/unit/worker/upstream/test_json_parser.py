from datetime import UTC, datetime

import orjson
import pytest

from core.jobs.runcomfy_status import Phase
from worker.ports import UpstreamTimes
from worker.upstream import json_parser as wire


@pytest.mark.parametrize(
    ("body", "content_type", "page"),
    [
        (b"<!DOCTYPE html><title>502</title>", "text/html", True),
        (b"\xef\xbb\xbf \n<HTML>", "application/json", True),
        (b"gone", "text/html; charset=utf-8", True),
        (b'{"a": 1}', "text/html", False),
        (b"plain", "text/plain", False),
        (b"", "application/json", False),
    ],
)
def test_a_page_is_known_by_its_opening(body: bytes, content_type: str, *, page: bool) -> None:
    assert wire.is_html(body, content_type) is page


@pytest.mark.parametrize("value", ["a", "A-_9", "x" * 128, 7])
def test_request_ids(value: object) -> None:
    assert wire.parse_request_id(value) == str(value)


@pytest.mark.parametrize("value", ["", "x" * 129, "a/b", "a b", "a\n", "é", None, True, 1.5, ["a"]])
def test_what_is_no_request_id(value: object) -> None:
    assert wire.parse_request_id(value) is None


def test_a_request_path_takes_only_request_ids() -> None:
    assert wire.build_request_path("r-1", "status") == "/v1/requests/r-1/status"
    assert wire.build_request_path("../x", "status") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("IN_QUEUE", Phase.QUEUED),
        ("pending", Phase.QUEUED),
        ("Waiting", Phase.QUEUED),
        ("queued", Phase.QUEUED),
        (" in-progress ", Phase.RUNNING),
        ("In Progress", Phase.RUNNING),
        ("starting", Phase.RUNNING),
        ("processing", Phase.RUNNING),
        ("running", Phase.RUNNING),
        ("COMPLETED", Phase.COMPLETED),
        ("succeeded", Phase.COMPLETED),
        ("failed", Phase.FAILED),
        ("error", Phase.FAILED),
        ("cancelled", Phase.CANCELLED),
        ("canceled", Phase.CANCELLED),
        ("dreaming", None),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_status_words(value: object, expected: Phase | None) -> None:
    assert wire.parse_phase({"status": value}) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (12, 12), ("3", 3), (-1, None), (True, None), (1.5, None), ("x", None), (None, None)],
)
def test_queue_position(value: object, expected: int | None) -> None:
    assert wire.parse_queue_position({"queue_position": value}) == expected


@pytest.mark.parametrize(
    ("doc", "code"),
    [
        ({"error_code": 422001}, "422001"),
        ({"error_code": " 422001 "}, "422001"),
        ({"error_code": "BROKEN"}, "BROKEN"),
        ({"code": 400002}, "400002"),
        ({"error": {"code": "500001", "message": "x"}}, "500001"),
        ({"error_code": None}, None),
        ({"error_code": 0}, None),
        ({"error_code": ""}, None),
        ({"error_code": False}, None),
        ({"code": 0}, None),
        ({"code": 200}, None),
        ({"code": "ok"}, None),
        ({}, None),
    ],
)
def test_error_codes(doc: wire.Document, code: str | None) -> None:
    assert wire.parse_error_code(doc) == code


@pytest.mark.parametrize(
    ("doc", "text"),
    [
        ({"error_message": "a", "message": "b"}, "a"),
        ({"error_message": "", "message": "b"}, "b"),
        ({"error": "c"}, "c"),
        ({"error": {"message": "d"}}, "d"),
        ({"detail": "e"}, "e"),
        (
            {"detail": [{"loc": ["body", "duration", 0], "msg": "too long"}]},
            "body.duration.0: too long",
        ),
        ({"detail": [{"msg": "x"}, "y", None, {}]}, "x; y"),
        ({"detail": {"detail": {"detail": {"detail": "deep"}}}}, None),
        ({"message": 5, "detail": None}, None),
        ({}, None),
    ],
)
def test_error_texts(doc: wire.Document, text: str | None) -> None:
    assert wire.parse_error_text(doc) == text


def test_a_long_list_of_errors_is_cut() -> None:
    assert wire.parse_error_text({"detail": ["x"] * 1000}) == "x; x; x; x; x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"video": "u", "odd": 1}, {"video": "u", "odd": 1}),
        ("https://x/y.mp4", {"output": "https://x/y.mp4"}),
        (["u"], {"output": ["u"]}),
        (0, {"output": 0}),
        ({}, None),
        ([], None),
        ("", None),
        (None, None),
    ],
)
def test_output(value: object, expected: object) -> None:
    found = wire.parse_output(orjson.dumps({"output": value}))

    assert (None if found is None else orjson.loads(found)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.84, 840_000),
        ("0.126", 126_000),
        (0, 0),
        (None, None),
        ("", None),
        ("free", None),
        (-1, None),
        (True, None),
        ({}, None),
        ("NaN", None),
        ("Infinity", None),
        ("1E+999999", None),
        (1e308, None),
    ],
)
def test_cost(value: object, expected: int | None) -> None:
    assert wire.parse_cost({"cost": value}) == expected


def test_an_absent_cost_is_not_a_cost_of_nothing() -> None:
    assert wire.parse_cost({}) is None


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01 13:00:00+01:00",
        1772366400,
        1772366400.0,
        1772366400000,
        "1772366400",
        " 1772366400000 ",
    ],
)
def test_instants(value: object) -> None:
    assert wire.parse_instant(value) == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "2026-13-01", -1, 0, True, 1e300, [], "0001-01-01T00:00:00+12:00"],
)
def test_what_is_no_instant(value: object) -> None:
    assert wire.parse_instant(value) is None


def test_times_of_a_document() -> None:
    expected = UpstreamTimes(datetime(2026, 3, 1, 12, tzinfo=UTC), None)

    assert wire.parse_times({"created_at": "2026-03-01T12:00:00Z", "finished_at": "x"}) == expected
