"""Reading a request's body: bounded in size and time, and JSON that means one thing."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
from starlette.requests import Request

from core.errors import BodyTooLarge, MalformedRequest
from service.errors import BodyTooSlow, UnsupportedMedia

_TOO_DEEP: Final = "depth limit exceeded"
"""orjson's word for what is valid JSON and goes deeper than 1024 levels."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much is read (`size` in bytes) and for how long."""

    size: int
    time: timedelta


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as that is known, `BodyTooSlow`.

    What a caller still sends after a refusal, the server drops unread.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.size:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.time.total_seconds()):
            return await _gather(request, limits)
    except TimeoutError as error:
        raise BodyTooSlow from error


async def _gather(request: Request, limits: BodyLimits) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.size:
            raise _too_large(limits)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.size:,} bytes.")


def check_content_type(headers: Mapping[str, str]) -> None:
    """Raises `UnsupportedMedia` for a body that calls itself anything but plain JSON."""
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if not is_json or encoding != "identity":
        raise UnsupportedMedia


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `MalformedRequest`, which says where, never what."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg == _TOO_DEEP:
            raise MalformedRequest("The body is nested too deeply.") from None
        where = f" (line {error.lineno}, column {error.colno})" if body else ""
        raise MalformedRequest(f"The body is not valid JSON in UTF-8{where}.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The body must be a JSON object: the model's input.")
    return value


def refuse_twins(body: bytes) -> None:
    """Raises `MalformedRequest` when an object names a field twice.

    We check the last one; RunComfy might read the first, and charge for it. `body` is known to be
    valid JSON of bounded depth.
    """
    _TWINS.decode(body.decode())


def _single(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise MalformedRequest("The body names a field twice.")


def _unread(_: str) -> None:
    # Its value does not matter here; reading an endless number would cost.
    return None


_TWINS: Final = json.JSONDecoder(object_pairs_hook=_single, parse_int=_unread, parse_float=_unread)
