"""`Retry-After` in both of its forms, and invalid ones."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from worker.retry_after import parse_retry_after

NOW: Final = datetime(2026, 11, 22, 15, tzinfo=UTC)


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
        ("1" * 400, timedelta(seconds=111_111_111)),
        ("٣٠", None),
        ("Sun, 99 Nov 2026 15:01:00 GMT", None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, wait: timedelta | None) -> None:
    assert parse_retry_after(value, NOW) == wait
