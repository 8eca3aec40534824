"""What lists are filtered by: fields of a page's query, as the API wants them. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

PAGE_SIZE: Final = 50
REQUEST_FILTERS: Final = (
    "status",
    "model_id",
    "reference",
    "label",
    "created_after",
    "created_before",
    "cursor",
)
REPORT_FILTERS: Final = ("by", "from", "to")
TIMES: Final = frozenset({"created_after", "created_before", "since", "until", "expires_at"})


def chosen(query: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the fields of a query with these names that have a value; times as the API wants."""
    given = {name: query[name] for name in names if query.get(name)}
    return {name: as_instant(text) if name in TIMES else text for name, text in given.items()}


_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


def as_instant(text: str) -> str:
    """Return the time of a form's field, which has no zone, as one in UTC; other texts as is."""
    found = _LOCAL_TIME.fullmatch(text)
    return text if found is None else f"{text}{'' if found[1] else ':00'}Z"
