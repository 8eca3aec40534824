"""Which of its jobs a tenant asks for: the query of the list, as a table of names. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from core.errors import FieldError
from core.jobs.job import PublicStatus
from core.jobs.query import MOST_ON_A_PAGE, Cursor, JobQuery
from service.parsing.fields import (
    Unfit,
    instant,
    printable,
    read_query,
    read_table,
    refuse,
    whole,
    word,
)


def read_job_query(query: str) -> JobQuery:
    """The filters and the page. Raises `MalformedRequest` with every wrong field by name."""
    return read_job_filters(read_query(query))


def read_job_filters(fields: Mapping[str, str]) -> JobQuery:
    """The same of fields that are known apart."""
    values = read_table(fields, _READERS)
    found = JobQuery(**{_FIELDS.get(name, name): value for name, value in values.items()})
    if found.after is not None and found.before is not None and found.after >= found.before:
        refuse([FieldError("?created_before", "must be later than created_after")])
    return found


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.read(text)
    except ValueError as error:
        raise Unfit("must be the next_cursor of a page before") from error


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "status": word(PublicStatus),
    "model_id": printable,
    "reference": printable,
    "created_after": instant,
    "created_before": instant,
    "limit": lambda text: whole(text, 1, MOST_ON_A_PAGE),
    "cursor": _cursor,
}
_FIELDS: Final = {"created_after": "after", "created_before": "before"}
