"""Results of attempts: status codes and excerpts."""

from datetime import timedelta

import pytest

from core.observability.outcomes import FailureKind
from worker.webhooks.outcomes import AttemptFailed, Delivered, kind_of_status, printable_text

SLOW = {429, 502, 503, 504}


def expected(status: int) -> FailureKind | None:
    if 200 <= status < 300:
        return None
    if status == 410:
        return FailureKind.GONE
    if status in SLOW:
        return FailureKind.THROTTLED
    classes = {3: FailureKind.REDIRECT, 4: FailureKind.CLIENT_ERROR, 5: FailureKind.SERVER_ERROR}
    return classes.get(status // 100, FailureKind.INVALID_RESPONSE)


def test_every_status_has_its_kind() -> None:
    assert {status: kind_of_status(status) for status in range(1000)} == {
        status: expected(status) for status in range(1000)
    }


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
    assert printable_text(data, 1024) == text


def test_outcomes_have_one_word_each() -> None:
    words = [Delivered(200, timedelta(0)).label]
    words += [AttemptFailed(kind, timedelta(0)).label for kind in FailureKind]
    assert len(set(words)) == len(FailureKind) + 1
