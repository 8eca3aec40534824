"""Reads a request's body within limits of size, time and memory, and checks its media type."""

import asyncio
from collections.abc import Mapping
from io import BytesIO
from typing import Final

from starlette.requests import ClientDisconnect, Request

from core.errors import BodyTooLarge
from core.http_server.protocol import BODY_IS_COMPLETE
from service.context import app_context
from service.errors import BodyTooSlow, UnsupportedMedia
from service.http.request_context import request_context
from service.parsing.body_budget import BodyReservation
from service.parsing.content_coding import BYTE_ORDER_MARK, IDENTITY, GzipDecoder, is_gzip
from service.parsing.json_body import BodyLimits

_DISCONNECT: Final = "http.disconnect"


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body, decoded, without a byte order mark.

    The content type is not checked: clients that were written for RunComfy send a submit without
    one, or as `text/plain`. Raises `UnsupportedMedia` for an encoding other than gzip,
    `BodyTooLarge` as early as possible, `BodyTooSlow`, `TooManyBodies`, and `MalformedRequest` for
    a broken encoding. The server discards what the caller sends after the error response. The body
    counts as in flight until `RequestContext.release_body`.
    """
    current = request_context(request.scope)
    is_compressed = is_gzip(request.headers.get("content-encoding", IDENTITY))
    budget = app_context(request.scope).body_budget
    current.release_body()  # of the call that this one is part of, as a form's or a tool's
    current.body = budget.open(current.tenant or "", current.client)
    declared = declared_length(request.headers, limits.max_bytes)
    # A timer for a body that is here already would be a hundredth of a submit's time.
    is_here = request.scope["state"].get(BODY_IS_COMPLETE, False)
    try:
        async with asyncio.timeout(None if is_here else limits.timeout.total_seconds()):
            if is_compressed:
                body = await _read_gzip(request, limits, current.body)
            else:
                current.body.grow_to(declared)
                body = await _read_plain(request, limits, current.body, declared)
    except TimeoutError as error:
        raise BodyTooSlow from error
    return body.removeprefix(BYTE_ORDER_MARK)


async def _read_plain(
    request: Request, limits: BodyLimits, reservation: BodyReservation, reserved: int
) -> bytes:
    """Return the body, of which `reserved` bytes are checked and reserved already."""
    body, size = BytesIO(), 0
    is_complete = False
    while not is_complete:  # `request.stream` takes six times as long
        message = await request.receive()
        if message["type"] == _DISCONNECT:
            raise ClientDisconnect
        chunk, is_complete = message.get("body", b""), not message.get("more_body")
        if is_complete and not size:
            _check_size(len(chunk), limits, reservation)
            return bytes(chunk)
        if not size:
            body = BytesIO(bytes(reserved))
        size += len(chunk)
        if size > reserved:
            _check_size(size, limits, reservation)
        body.write(chunk)
    body.truncate(size)
    return body.getvalue()


async def _read_gzip(request: Request, limits: BodyLimits, reservation: BodyReservation) -> bytes:
    decoder, body, size = GzipDecoder(), BytesIO(), 0
    async for chunk in request.stream():
        decoder.feed(chunk)
        # A few bytes may become megabytes, which would stop the event loop for a while.
        while piece := await asyncio.to_thread(decoder.take):
            size += len(piece)
            _check_size(size, limits, reservation)
            body.write(piece)
    decoder.finish()
    return body.getvalue()


def _check_size(size: int, limits: BodyLimits, reservation: BodyReservation) -> None:
    if size > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    reservation.grow_to(size)


def declared_length(headers: Mapping[str, str], max_bytes: int) -> int:
    """Return the body's announced size in bytes; 0 without one. Raises `BodyTooLarge`."""
    text = headers.get("content-length", "")
    length = int(text) if text.isdigit() else 0
    if length > max_bytes:
        raise _too_large(max_bytes)
    return length


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes:,} bytes.")


def check_content_type(headers: Mapping[str, str]) -> None:
    """Raise `UnsupportedMedia` unless the body is declared as JSON."""
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json:
        raise UnsupportedMedia
