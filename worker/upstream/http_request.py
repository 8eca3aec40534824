"""One HTTP request and its answer, as values, bounded in time and size."""

import contextlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from worker.retry_after import parse_retry_after
from worker.upstream.deadline import patient_deadline
from worker.upstream.error_classification import ResponseTooLarge, TunnelFailed

MAX_RETRY_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
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
        return self.status is not None and HTTPStatus(200) <= self.status < HTTPStatus(300)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `deadline` covers all of it, from connect to the last byte of the answer."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: timedelta
    max_bytes: int
    content: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class TunnelTrace:
    """Whether a tunnel was requested, and whether the request itself began to leave.

    httpx has one set of exceptions for both. httpcore calls its trace before the first byte of
    either is written: https://www.encode.io/httpcore/extensions/#trace
    """

    requested_tunnel: bool = False
    began_request: bool = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one event of httpcore."""
        if event.endswith(".send_request_headers.started"):
            if info["request"].method == b"CONNECT":
                self.requested_tunnel = True
            else:
                self.began_request = True

    def explain(self, error: Exception) -> Exception:
        """Return `TunnelFailed` in place of an error that came before the request began to leave.

        A failure to reach the proxy, or of TLS inside the tunnel, has an exception of its own.
        """
        if self.began_request or not self.requested_tunnel or isinstance(error, httpx.ConnectError):
            return error
        words = f"the proxy opened no tunnel: {type(error).__name__} {error}".rstrip()
        failed = TunnelFailed(words)
        failed.__cause__ = error
        return failed


async def send_request(
    client: httpx.AsyncClient, request: HttpRequest, now: datetime
) -> HttpResponse:
    """Send a request and read its answer within its bounds. Raises nothing but cancellation.

    Redirects are not followed: the token would go with them. `now` is for dates in `Retry-After`.
    """
    body, trace = bytearray(), TunnelTrace()
    response: httpx.Response | None = None
    broke: Exception | None = None
    try:
        async with patient_deadline(request.deadline):
            response = await client.send(
                _build_request(client, request, trace), stream=True, follow_redirects=False
            )
            await read_bounded(response.aiter_bytes(), body, request.max_bytes)
    except Exception as error:  # noqa: BLE001 - whatever it is, RunComfy may have taken the submit
        broke = trace.explain(error)
    finally:
        if response is not None:
            with contextlib.suppress(Exception):
                await response.aclose()
    if response is None:
        return HttpResponse(status=None, error=broke)
    return build_response(response.status_code, response.headers, bytes(body), broke, now)


def _build_request(
    client: httpx.AsyncClient, request: HttpRequest, trace: TunnelTrace
) -> httpx.Request:
    return client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        extensions={"trace": trace},
    )


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
