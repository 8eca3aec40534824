"""One HTTP request and its answer, as values, bounded in time and size."""

from collections.abc import AsyncIterable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final

from core.runtime.statically_frozen import statically_frozen
from worker.retry_after import parse_retry_after
from worker.upstream.error_classification import ResponseTooLarge

SUCCESSES: Final = range(200, 300)
MAX_RETRY_AFTER: Final = timedelta(hours=1)


@statically_frozen
class HttpResponse:
    """An answer, or as much of it as arrived, and the error that ended it, if any.

    `status` is None if no answer began. `body` may be incomplete if `error` is set.
    """

    status: int | None
    body: bytes = b""
    content_type: str = ""
    retry_after: timedelta | None = None
    error: Exception | None = None

    @property
    def is_success(self) -> bool:
        """Whether a 2xx status line arrived."""
        return self.status in SUCCESSES


@statically_frozen
class HttpRequest:
    """One request. `deadline` covers all of it, from connect to the last byte of the answer."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: timedelta
    max_bytes: int
    content: bytes | None = field(default=None, repr=False)


async def read_bounded(chunks: AsyncIterable[bytes], body: bytearray, max_bytes: int) -> None:
    """Append `chunks` to `body`, which keeps what arrived before an error.

    Raises `ResponseTooLarge`, and whatever `chunks` raises.
    """
    async for chunk in chunks:
        if len(body) + len(chunk) > max_bytes:
            raise ResponseTooLarge(f"the answer is larger than {max_bytes} bytes")
        body += chunk


def build_response(
    status: int, headers: Mapping[str, str], body: bytes, error: Exception | None, now: datetime
) -> HttpResponse:
    """Return the value of an answer that began. `headers` must find lower-case names."""
    return HttpResponse(
        status=status,
        body=body,
        content_type=headers.get("content-type", ""),
        retry_after=parse_capped_retry_after(headers.get("retry-after"), now),
        error=error,
    )


def parse_capped_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Return the delay of a `Retry-After` header, at most 1 hour; None if there is none."""
    delay = parse_retry_after(value, now)
    return None if delay is None else min(delay, MAX_RETRY_AFTER)
