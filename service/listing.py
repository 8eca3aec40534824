"""Which of its jobs a tenant asks for: the query of the list, as a table of names. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from core.errors import FieldError, MalformedRequest
from core.jobs import PublicStatus
from core.listing import MOST_ON_A_PAGE, Cursor, JobQuery
from service.options import MOST_REFERENCE_CHARS, read_query

_MOST_DIGITS: Final = 9
_MOST_SHOWN: Final = 64


class _Unfit(ValueError):
    """The value does not fit its field; the text says what would."""


def read_job_query(query: str) -> JobQuery:
    """The filters and the page. Raises `MalformedRequest` with every wrong field by name."""
    return read_job_filters(read_query(query))


def read_job_filters(fields: Mapping[str, str]) -> JobQuery:
    """The same of fields that are known apart."""
    wrong: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if name not in _READERS:
            wrong.append(FieldError(f"?{name[:_MOST_SHOWN]}", "is no filter of this list"))
            continue
        try:
            values[_FIELDS.get(name, name)] = _READERS[name](text)
        except _Unfit as unfit:
            wrong.append(FieldError(f"?{name}", str(unfit)))
    _refuse(wrong)
    found = JobQuery(**values)
    if found.after is not None and found.before is not None and found.after >= found.before:
        _refuse([FieldError("?created_before", "must be later than created_after")])
    return found


def _refuse(wrong: list[FieldError]) -> None:
    if wrong:
        named = ", ".join(error.path for error in wrong[:3])
        raise MalformedRequest(f"Options of the query are wrong: {named}.", fields=tuple(wrong))


def _status(text: str) -> PublicStatus:
    if text not in list(PublicStatus):
        raise _Unfit(f"must be one of {', '.join(PublicStatus)}")
    return PublicStatus(text)


def _name(text: str) -> str:
    if not 0 < len(text) <= MOST_REFERENCE_CHARS or not text.isprintable():
        raise _Unfit(f"must be 1 to {MOST_REFERENCE_CHARS} printable characters")
    return text


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise _Unfit("must be an instant, such as 2026-11-22T08:00:00Z") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _limit(text: str) -> int:
    known = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not known or not 0 < int(text) <= MOST_ON_A_PAGE:
        raise _Unfit(f"must be a whole number from 1 to {MOST_ON_A_PAGE}")
    return int(text)


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.read(text)
    except ValueError as error:
        raise _Unfit("must be the next_cursor of a page before") from error


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "status": _status,
    "model_id": _name,
    "reference": _name,
    "created_after": _instant,
    "created_before": _instant,
    "limit": _limit,
    "cursor": _cursor,
}
_FIELDS: Final = {"created_after": "after", "created_before": "before"}
