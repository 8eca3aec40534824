from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.retry_after import parse_retry_after
from worker.webhooks.outcomes import printable_text

NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)


@given(st.text(max_size=40))
def test_no_retry_after_makes_it_stumble(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or wait >= timedelta(0)


@given(st.binary(max_size=200))
def test_no_bytes_make_an_excerpt_unprintable(data: bytes) -> None:
    assert printable_text(data, 100).isprintable()
