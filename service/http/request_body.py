"""Reads a request's body within limits of size and time, and checks its media type."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request

from core.errors import BodyTooLarge
from service.errors import BodyTooSlow, UnsupportedMedia
from service.parsing.json_body import BodyLimits


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body. Raises `BodyTooLarge` as early as possible, and `BodyTooSlow`.

    The server discards what the caller sends after the error response.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.max_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout.total_seconds()):
            return await _read_chunks(request, limits)
    except TimeoutError as error:
        raise BodyTooSlow from error


async def _read_chunks(request: Request, limits: BodyLimits) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_large(limits)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.max_bytes:,} bytes.")


def check_content_type(headers: Mapping[str, str]) -> None:
    """Raise `UnsupportedMedia` unless the body is declared as JSON without content encoding."""
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json:
        raise UnsupportedMedia
    check_content_encoding(headers)


def check_content_encoding(headers: Mapping[str, str]) -> None:
    """Raise `UnsupportedMedia` if the body is encoded.

    The only check of a submit, whose body is JSON whatever its content type: clients that were
    written for RunComfy send none, or `text/plain`.
    """
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia
