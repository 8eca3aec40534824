"""Parses the query of the job list. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from core.errors import FieldError
from core.jobs.job import PublicStatus
from core.jobs.query import MAX_JOBS_PER_PAGE, Cursor, JobQuery
from service.parsing.fields import (
    InvalidField,
    enum_parser,
    parse_integer,
    parse_printable,
    parse_query,
    parse_query_fields,
    parse_timestamp,
    raise_query_errors,
)


def parse_job_query(query: str) -> JobQuery:
    """Parse filters and page. Raises `MalformedRequest`, which names every wrong field."""
    return parse_job_filters(parse_query(query))


def parse_job_filters(fields: Mapping[str, str]) -> JobQuery:
    """Parse filters and page from fields that are already separated."""
    values = parse_query_fields(fields, _PARSERS)
    parsed = JobQuery(**values)
    if (
        parsed.created_after is not None
        and parsed.created_before is not None
        and parsed.created_after >= parsed.created_before
    ):
        raise_query_errors([FieldError("?created_before", "must be later than created_after")])
    return parsed


def _parse_cursor(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise InvalidField("must be the next_cursor of a previous page") from error


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "status": enum_parser(PublicStatus),
    "model_id": parse_printable,
    "reference": parse_printable,
    "created_after": parse_timestamp,
    "created_before": parse_timestamp,
    "limit": lambda text: parse_integer(text, 1, MAX_JOBS_PER_PAGE),
    "cursor": _parse_cursor,
}
