"""Log lines: one JSON object each, a name for every event, no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import get_args

import pytest

from core.observability.events import Event, OperationalWarning, RequestServed, UpstreamCalled
from core.observability.log_context import LogContext, bind_log_context
from core.observability.logs import LOG_LINES, configure_logging, redact
from core.tenants.api_keys import build_api_key
from core.webhooks.secrets import encode_webhook_secret
from tests.support.traces import NOT_SAMPLED, SAMPLED, TRACE

KEY = build_api_key("video-team", b"k" * 32)
SECRET = encode_webhook_secret(b"s" * 32)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_every_event_has_a_word_that_stays() -> None:
    words = """
    account_balance_read admin_action batch_admitted batch_completed cache_lookup
    circuit_breaker_transitioned cost_saved cost_settled delivery_attempted endpoint_disabled
    file_received job_admitted job_deleted job_polled job_reconciled job_transitioned journal_called
    journal_disconnected journal_reconnected model_changed operational_warning redis_answered
    redis_disconnected redis_reconnected request_served submit_answered submits_resumed
    submits_stopped upstream_called
    """
    assert set(LOG_LINES) == set(get_args(Event))
    assert sorted(word for word, _ in LOG_LINES.values()) == words.split()


def test_an_event_is_one_json_line_without_its_empty_fields() -> None:
    stream = io.StringIO()
    emit = configure_logging("json", "INFO", stream)

    emit(RequestServed("r_1", "GET", "/healthz", 200, timedelta(milliseconds=2)))

    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert read.pop("timestamp").endswith("Z")
    assert read == {
        "event": "request_served",
        "level": "info",
        "request_id": "r_1",
        "method": "GET",
        "route": "/healthz",
        "status": 200,
        "duration": 0.002,
    }


def line_of(event: Event) -> dict[str, object]:
    """The log line of an event."""
    stream = io.StringIO()
    configure_logging("json", "DEBUG", stream)(event)
    line: dict[str, object] = json.loads(stream.getvalue())
    return line


def test_a_line_names_its_trace_and_not_its_span() -> None:
    served = RequestServed(
        "r", "GET", "/", 200, timedelta(), trace=SAMPLED, caller_trace=NOT_SAMPLED
    )
    line = line_of(served)
    assert line["trace_id"] == TRACE
    assert {"trace", "caller_trace"}.isdisjoint(line)


def test_a_line_names_the_job_that_its_event_knows_nothing_of() -> None:
    called = UpstreamCalled("status", "ok", 200, timedelta())
    with bind_log_context(LogContext("acme", "req_1", SAMPLED)):
        line = line_of(called)
    assert (line["tenant"], line["job_id"], line["trace_id"]) == ("acme", "req_1", TRACE)
    assert {"tenant", "job_id", "trace_id"}.isdisjoint(line_of(called))


def test_the_exception_behind_a_trouble_is_in_its_line() -> None:
    stream = io.StringIO()
    emit = configure_logging("json", "INFO", stream)

    emit(OperationalWarning("defect", "ValueError", error=ValueError("odd")))

    read = json.loads(stream.getvalue())
    assert read["code"] == "defect"
    assert read["exception"].endswith("ValueError: odd")


def test_a_level_hides_what_is_below_it() -> None:
    stream = io.StringIO()
    emit = configure_logging("json", "ERROR", stream)

    emit(OperationalWarning("odd", "something"))
    logging.getLogger("library").warning("quiet")

    assert stream.getvalue() == ""


def test_a_library_s_traceback_is_one_json_line_without_secrets() -> None:
    stream = io.StringIO()
    configure_logging("json", "INFO", stream)

    def fail() -> None:
        raise RuntimeError(f"sent {KEY} and Bearer abc.def and {SECRET}")

    try:
        fail()
    except RuntimeError:
        logging.getLogger("library").exception("broke with %s", KEY)

    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert read["event"] == "broke with rcg_video-team_***"
    assert "RuntimeError: sent rcg_video-team_*** and Bearer *** and whsec_***" in read["exception"]


def test_a_terminal_gets_readable_lines_without_secrets() -> None:
    stream = io.StringIO()
    emit = configure_logging("console", "INFO", stream)

    emit(OperationalWarning("odd", f"somebody sent {KEY}"))

    assert "operational_warning" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_a_terminal_gets_tracebacks_without_local_variables() -> None:
    stream = io.StringIO()
    configure_logging("console", "INFO", stream)

    def fail() -> None:
        cookie = "session=5ecret"
        raise RuntimeError(f"broke after {len(cookie)} characters")

    try:
        fail()
    except RuntimeError:
        logging.getLogger("library").exception("failed")

    assert "RuntimeError: broke after 14 characters" in stream.getvalue()
    assert "5ecret" not in stream.getvalue().replace('cookie = "session=5ecret"', "")


def test_auto_is_json_where_nobody_watches() -> None:
    stream = io.StringIO()
    configure_logging("auto", "INFO", stream)(OperationalWarning("odd", "x"))
    assert json.loads(stream.getvalue())["code"] == "odd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (KEY, "rcg_video-team_***"),
        (KEY[:40], "rcg_video-team_***"),
        (SECRET, "whsec_***"),
        ("authorization: bearer xyz", "authorization: bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("redis://:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("rediss://user:hunter2@cache", "rediss://***@cache"),
        ("https://user:pass@host/x", "https://***@host/x"),
        ("https://host/x?y=z", "https://host/x?y=z"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_are_blotted_out(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize("detail", ["half \ud83d", "\udc80 and more"])
def test_a_text_that_is_no_unicode_is_logged_all_the_same(detail: str) -> None:
    stream = io.StringIO()
    emit = configure_logging("json", "INFO", stream)

    emit(OperationalWarning("internal_error", detail))

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["detail"] == detail
