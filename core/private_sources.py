"""Private sources: internal addresses of media, which a worker fetches because RunComfy cannot.

The operator lists them in `GATEWAY_FILES__FETCH_FROM`; nothing else internal is ever called for a
tenant. Knows no DNS and no HTTP client. Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from core.webhooks.url_policy import (
    DEFAULT_PORTS,
    AllowedTargets,
    Refusal,
    Target,
    TargetPolicy,
    parse_host,
    parse_url,
)

_MAX_URL_LENGTH: Final = 8192
_URL_POLICY: Final = TargetPolicy(max_length=_MAX_URL_LENGTH)
_AMBIGUOUS_PATH: Final = re.compile(
    r"(?:^|/)\.{1,2}(?:;[^/]*)?(?:/|$)|%(?:2e|2f|5c|25)", re.IGNORECASE
)
"""Segments such as `..`, and what a server may decode to one: the path could leave its folder."""


@dataclass(frozen=True, slots=True)
class SourcePrefix:
    """One entry of the list. `host` is a name, an address, or a suffix of names with its dot.

    `scheme` and `port` None: http and https on their own ports. `path` begins and ends with `/`.
    """

    host: str
    scheme: str | None = None
    port: int | None = None
    path: str = "/"

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Parse a host name, `*.suffix`, an address, or the URL of a folder.

        Raises `ValueError` with a message that contains the entry.
        """
        text = entry.strip()
        if "://" not in text:
            host = parse_host(text.removeprefix("*."))
            if isinstance(host, Refusal):
                raise _wrong(entry, "is neither a host nor a URL such as https://host/path")
            return cls(f".{host}" if text.startswith("*.") else str(host))
        target = parse_url(text, _URL_POLICY)
        if isinstance(target, Refusal):
            raise _wrong(entry, f"is no URL of a folder: {target.message}")
        if "?" in target.path or _AMBIGUOUS_PATH.search(target.path):
            raise _wrong(entry, "must have a plain path, without query")
        folder = target.path if target.path.endswith("/") else f"{target.path}/"
        return cls(target.host, target.scheme, target.port, folder)

    def contains(self, target: Target) -> bool:
        """Return whether a parsed URL, whose path is not ambiguous, is under this entry."""
        is_host = (
            target.host.endswith(self.host)
            if self.host.startswith(".")
            else target.host == self.host
        )
        return (
            is_host
            and self.scheme in {None, target.scheme}
            and target.port == (self.port or DEFAULT_PORTS[target.scheme])
            and target.path.partition("?")[0].startswith(self.path)
        )

    @property
    def pattern(self) -> str:
        """The host as `AllowedTargets` takes it."""
        return f"*{self.host}" if self.host.startswith(".") else self.host


def _wrong(entry: str, message: str) -> ValueError:
    return ValueError(f"{entry!r} {message}")


@dataclass(frozen=True, slots=True)
class PrivateSources:
    """The list. Empty: no internal address is called."""

    prefixes: tuple[SourcePrefix, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Parse the entries. Raises `ValueError` with a message that contains the wrong one."""
        return cls(tuple(SourcePrefix.parse(entry) for entry in entries))

    def contain(self, url: str) -> bool:
        """Return whether a URL is under an entry, so that a worker fetches it."""
        if not self.prefixes:
            return False
        target = parse_url(url, _URL_POLICY)
        if isinstance(target, Refusal) or _AMBIGUOUS_PATH.search(target.path.partition("?")[0]):
            return False
        return any(prefix.contains(target) for prefix in self.prefixes)

    def target_policy(self) -> TargetPolicy:
        """Return the rules for the addresses of URLs that `contain` permits.

        A listed host may have a private or loopback address, but never a metadata service's.
        """
        allowed = AllowedTargets.parse(prefix.pattern for prefix in self.prefixes)
        return TargetPolicy(allowed, max_length=_MAX_URL_LENGTH)


NO_PRIVATE_SOURCES: Final = PrivateSources()
