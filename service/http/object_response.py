"""Serves an object: whole, or one range of it (RFC 9110, section 14)."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from core.objects.object_store import ObjectStore
from service.http.request_context import request_context

_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]{0,15})-(?P<last>[0-9]{0,15})", re.ASCII)
_PRESIGNED_LIFETIME: Final = timedelta(minutes=15)
_FOUND: Final = 302
_NOT_MODIFIED: Final = 304
_PARTIAL: Final = 206
_UNSATISFIABLE: Final = 416


@dataclass(frozen=True, slots=True)
class ObjectContent:
    """What a response needs of an object. `file_name` is the gateway's, never a caller's."""

    name: str
    size: int
    sha256: str
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


async def object_response(
    request: Request, objects: ObjectStore, content: ObjectContent
) -> Response:
    """Return the object, a range of it, or where the store itself serves it.

    Raises `ObjectMissing`, `ObjectsUnavailable`.
    """
    headers = _headers(content)
    if _matches(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    is_head = request_context(request.scope).is_head
    # An address is signed for GET alone.
    address = None if is_head else await objects.presign(content.name, _PRESIGNED_LIFETIME)
    if address is not None:
        return RedirectResponse(address, _FOUND, headers={"cache-control": "private, no-store"})
    wanted = parse_range(request.headers, content.size, headers["etag"])
    if wanted is None:
        none = {"content-range": f"bytes */{content.size}"}
        return Response(status_code=_UNSATISFIABLE, headers=none)
    headers["content-length"] = str(wanted.end - wanted.start)
    is_part = wanted != ByteRange(0, content.size)
    if is_part:
        headers["content-range"] = f"bytes {wanted.start}-{wanted.end - 1}/{content.size}"
    status = _PARTIAL if is_part else 200
    if is_head:
        return Response(b"", status, headers, content.media_type)
    chunks = await objects.read(content.name, wanted.start, wanted.end)
    return StreamingResponse(chunks, status, headers, content.media_type)


def parse_range(headers: Headers, size: int, etag: str) -> ByteRange | None:
    """Return the bytes that a request wants; None if it wants none that exist.

    All of them without a `Range`, with several ranges or an unknown form, and with an `If-Range`
    of another content: a server may ignore a range.
    """
    whole = ByteRange(0, size)
    if headers.get("if-range", etag) != etag:
        return whole
    fields = headers.getlist("range")
    found = _RANGE.fullmatch(fields[0].replace(" ", "")) if len(fields) == 1 else None
    if found is None or not (found["first"] or found["last"]):
        return whole
    if not found["first"]:
        length = int(found["last"])
        return ByteRange(max(size - length, 0), size) if length and size else None
    start = int(found["first"])
    end = min(int(found["last"]) + 1, size) if found["last"] else size
    if found["last"] and int(found["last"]) < start:
        return whole
    return ByteRange(start, end) if start < size else None


def _headers(content: ObjectContent) -> dict[str, str]:
    return {
        "etag": f'"{content.sha256}"',
        "accept-ranges": "bytes",
        # Only media, and by name: no browser runs it, whatever it holds beside the media.
        "content-disposition": f'inline; filename="{content.file_name}"',
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, max-age=3600, immutable",
    }


def _matches(field: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in field.split(",")}
    return etag in tags or "*" in tags
