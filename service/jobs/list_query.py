"""Parses the query of a tenant's job list. Pure."""

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
    """The filters and the page. Raises `MalformedRequest` with every wrong field by name."""
    return parse_job_filters(parse_query(query))


def parse_job_filters(fields: Mapping[str, str]) -> JobQuery:
    """The same of fields that are known apart."""
    values = parse_query_fields(fields, _PARSERS)
    found = JobQuery(**values)
    if (
        found.created_after is not None
        and found.created_before is not None
        and found.created_after >= found.created_before
    ):
        raise_query_errors([FieldError("?created_before", "must be later than created_after")])
    return found


def _parse_cursor(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise InvalidField("must be the next_cursor of a page before") from error


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "status": enum_parser(PublicStatus),
    "model_id": parse_printable,
    "reference": parse_printable,
    "created_after": parse_timestamp,
    "created_before": parse_timestamp,
    "limit": lambda text: parse_integer(text, 1, MAX_JOBS_PER_PAGE),
    "cursor": _parse_cursor,
}
