"""Statuses, Retry-After, excerpts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.webhooks.outcomes import (
    Delivered,
    Kind,
    Refused,
    kind_of_status,
    read_retry_after,
    safe_text,
)

NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
SLOW = {429, 502, 503, 504}


def expected(status: int) -> Kind | None:
    if 200 <= status < 300:
        return None
    if status == 410:
        return Kind.GONE
    if status in SLOW:
        return Kind.SLOW_DOWN
    classes = {3: Kind.REDIRECT, 4: Kind.CLIENT_ERROR, 5: Kind.SERVER_ERROR}
    return classes.get(status // 100, Kind.BAD_ANSWER)


def test_every_status_has_its_kind() -> None:
    assert {status: kind_of_status(status) for status in range(1000)} == {
        status: expected(status) for status in range(1000)
    }


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", timedelta(0)),
        (" 120 ", timedelta(minutes=2)),
        ("Sun, 22 Nov 2026 15:01:00 GMT", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 15:01:00 -0000", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 16:01:00 +0100", timedelta(minutes=1)),
        ("Sun, 22 Nov 2020 15:01:00 GMT", timedelta(0)),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("1e9", None),
        ("1" * 400, None),
        ("٣٠", None),
        ("Sun, 99 Nov 2026 15:01:00 GMT", None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, wait: timedelta | None) -> None:
    assert read_retry_after(value, NOW) == wait


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"ok", "ok"),
        (b"", ""),
        ("perché".encode(), "perché"),
        (b"\xff\xfe", "��"),
        (b"a\r\nb\x00c\x1b[31md\x7f", "a  b c [31md"),
        ("right\u202eleft\u2028".encode(), "right left"),
        (b"x" * 5000, "x" * 1024),
    ],
)
def test_excerpt_is_short_and_harmless(data: bytes, text: str) -> None:
    assert safe_text(data, 1024) == text


def test_outcomes_have_one_word_each() -> None:
    words = [Delivered(200, timedelta(0)).word]
    words += [Refused(kind, timedelta(0)).word for kind in Kind]
    assert len(set(words)) == len(Kind) + 1
