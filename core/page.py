"""One page of a list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Page(Generic[T, C]):
    """The items of one page, and the cursor of the next; None on the last page."""

    items: tuple[T, ...]
    cursor: C | None = None
