from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput, MalformedRequest
from core.jobs.query import SCORE_STEPS_PER_MS, Cursor
from service.jobs.list_query import JobListQuery
from service.parsing.fields import parse_query
from service.parsing.request_models import parse_model


@given(
    place=st.integers(0, 2**53 - 1), job_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
)
def test_a_cursor_is_read_as_it_was_written(place: int, job_id: str) -> None:
    cursor = Cursor(place / SCORE_STEPS_PER_MS, job_id)
    assert Cursor.parse(cursor.token) == cursor


@given(query=st.text(max_size=60))
def test_any_query_is_read_or_refused(query: str) -> None:
    try:
        parse_model(JobListQuery, parse_query(query)).job_query()
    except (MalformedRequest, InvalidInput):
        return
