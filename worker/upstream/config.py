"""RunComfy's address, the token, and the bounds of calls, as values."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker.ports import SUBMIT_DEADLINE

MiB: Final = 1024 * 1024
# A read that outlives the job's lease of 15 s would be made by two workers concurrently.
MAX_READ_DEADLINE: Final = timedelta(seconds=15)
_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class UpstreamAccess:
    """RunComfy's base URL (without `/v1`) and the token.

    Raises `ValueError`, never with the token in it, for a URL that is not plain
    `http(s)://host[:port][/path]` and for a token that no header can contain.
    """

    base_url: str
    token: SecretStr

    def __post_init__(self) -> None:
        """Refuse at start what would fail, or leak the token, at the first call."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("RunComfy's base URL must be http:// or https:// with a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("RunComfy's base URL must hold no user, password, query or fragment")
        if not _TOKEN.fullmatch(self.token.get_secret_value()):
            raise ValueError("RunComfy's token is empty or holds characters no header can carry")

    def url(self, path: str) -> str:
        """Return the absolute URL of `path`, which starts with a slash and is already quoted."""
        return self.base_url.rstrip("/") + path


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Bounds of time and size. A `*_deadline` covers a whole call, from connect to the last byte.

    Keep fewer concurrent calls than `*_connections`: a call that waits longer than
    `connect_timeout` for a free connection fails.
    """

    connect_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=10)
    read_deadline: timedelta = timedelta(seconds=12)
    submit_deadline: timedelta = SUBMIT_DEADLINE
    max_response_bytes: int = 1 * MiB
    max_result_bytes: int = 8 * MiB
    max_catalogue_bytes: int = 64 * MiB
    max_catalogue_pages: int = 100
    max_schema_fetches: int = 50
    max_submit_connections: int = 50
    max_read_connections: int = 200

    def __post_init__(self) -> None:
        """Keep reads shorter than the lease under which they are made."""
        if self.read_deadline >= MAX_READ_DEADLINE:
            raise ValueError(f"read_deadline must stay below {MAX_READ_DEADLINE}")
