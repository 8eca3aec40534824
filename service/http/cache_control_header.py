"""The request header `Cache-Control` (RFC 9111, section 5.2.1), as a submit's cache option."""

from collections.abc import Mapping, Sequence
from typing import Final

from core.tenants.cache_policy import CacheOption

CACHE_CONTROL: Final = "cache-control"
_OPTIONS: Final[Mapping[str, CacheOption]] = {
    "no-store": CacheOption.OFF,
    "no-cache": CacheOption.REFRESH,
}
"""By directive, the strictest first. Others have no meaning for a submit."""


def parse_cache_control(headers: Sequence[str]) -> CacheOption | None:
    """Return the cache option that the directives mean; None: they mean none."""
    given = {part.strip().lower() for header in headers for part in header.split(",")}
    return next((option for directive, option in _OPTIONS.items() if directive in given), None)
