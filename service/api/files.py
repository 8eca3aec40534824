"""Files: upload, list, read, delete, and their content."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from core.clock import iso
from core.errors import NotFound
from core.files.records import FILE_SCHEME, FileEntry
from core.http_server.protocol import BODY_TIMEOUT
from core.ids import ID_PATTERN
from core.objects.links import (
    EXPIRES,
    LINK_LIFETIME,
    SIGNATURE,
    LinkSignature,
    file_content_path,
    signed_path,
)
from core.objects.media_type import MAX_FILE_BYTES, file_extension
from core.representations.jobs import Links, without_none
from core.tenants.api_keys import Scope
from service.context import AppContext, app_context
from service.errors import BodyTooSlow, UnsupportedMedia
from service.files.upload_events import report_upload
from service.http.authentication import (
    authenticate_tenant,
    request_links,
)
from service.http.dependencies import Context, Reader, RequestLinks
from service.http.json_response import json_response
from service.http.object_response import ObjectContent, object_response
from service.http.openapi import Tag, json_content, parameter, problem_responses, ref
from service.http.request_body import declared_length
from service.http.request_context import query_text
from service.http.strict_route import FastRoute, api_router
from service.parsing.fields import parse_query
from service.parsing.multipart import FORM_TYPE, parse_boundary, read_form_file
from service.parsing.request_models import Document, RequestModel, TimeText, WholeNumberOption
from service.parsing.request_models import optional as optional_field

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
UPLOAD_TIMEOUT: Final = timedelta(minutes=15)
"""Of a whole upload: 100 MiB at 1 Mbit/s."""
_FORM_OVERHEAD: Final = 64 * 1024
_PATH: Final = "/v1/files/{file_id}"
_KINDS: Final = ("image", "video", "audio")
_CONTENT: Final = {
    "application/octet-stream": {
        "schema": {"type": "string", "format": "binary"},
        "example": "the bytes of the file",
    }
}
_STORED_CONTENT: Final = {
    # The first for generators of clients, which know no wildcard.
    **_CONTENT,
    **{f"{kind}/*": _CONTENT["application/octet-stream"] for kind in _KINDS},
}
CONTENT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The content.", "content": _STORED_CONTENT},
    206: {"description": "The range that was requested.", "content": _STORED_CONTENT},
    302: {"description": "Where the storage serves the content."},
    304: {"description": "The caller has it (`If-None-Match`)."},
    416: {"description": "The content is shorter than the range that was requested."},
}
_FILE_ID: Final = parameter(
    "file_id", "The file's id.", {"type": "string", "pattern": ID_PATTERN}, "path"
)


class File(Document):
    """An uploaded file."""

    file_id: str
    uri: str = Field(description="What a media field of an input takes for this file.")
    url: str = Field(description="Serves the content without a key, for a day.")
    media_type: str = Field(description="Found from the content.")
    bytes: int
    sha256: str
    width: int | None = optional_field()
    height: int | None = optional_field()
    seconds: float | None = optional_field()
    created_at: TimeText
    expires_at: TimeText = Field(
        description="It is deleted then, or, if requests use it, within an hour after the last "
        "one of them is deleted."
    )


class Files(Document):
    """A page of files."""

    files: list[File]
    next_cursor: str | None = optional_field()


class FileQuery(RequestModel):
    """A page of a tenant's files, newest first."""

    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(
        DEFAULT_PAGE_SIZE, description="Page size."
    )
    cursor: Annotated[str, Field(pattern=ID_PATTERN)] | None = Field(
        None, description="`next_cursor` of the previous page."
    )


FileId = Annotated[
    str,
    Path(description="The file's id.", json_schema_extra={"pattern": ID_PATTERN}),
]
router = api_router(Tag.FILES, 401, 403, 404, 429, 503)
fast_router = api_router(Tag.FILES, 401, 403, 404, 429, 503, route=FastRoute)


@fast_router.post(
    "/v1/files",
    status_code=201,
    responses={
        201: json_content("The file is stored.", "File"),
        200: json_content("The tenant has a file with this content already.", "File"),
        **problem_responses(400, 408, 413, 415),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                # First: openapi-generator's TypeScript client else lacks the form's type.
                FORM_TYPE: {
                    "example": {"file": "the bytes of the file"},
                    "schema": ref("FileForm"),
                },
                **_CONTENT,
            },
        }
    },
)
async def upload_file(request: Request) -> Response:
    """Upload a file.

    The body is the content itself, or a form with one file. At most 100 MiB, images 50 MiB. Its
    type is found from the content; the declared one and a file name are ignored. A media field of
    an input takes the answer's `uri`. A file that no request uses is deleted after a day.
    """
    context = app_context(request.scope)
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("A file is sent as it is, without a `Content-Encoding`.")
    declared = declared_length(request.headers, MAX_FILE_BYTES + _FORM_OVERHEAD)
    if _is_form(request):
        # Of the file alone nothing is announced: it is smaller by the form's own text.
        declared = max(declared - _FORM_OVERHEAD, 0)
    request.scope["state"][BODY_TIMEOUT] = UPLOAD_TIMEOUT
    try:
        with report_upload(tenant, context.clock, context.emit) as report:
            async with asyncio.timeout(UPLOAD_TIMEOUT.total_seconds()):
                chunks = _read_content(request, context.policy.body_limits.timeout)
                done = await context.files.upload(tenant, chunks, declared)
            report(done.entry.file)
    except TimeoutError as error:
        raise BodyTooSlow from error
    body = file_representation(context, request_links(request), done.entry)
    return json_response(body, 201 if done.is_new else 200)


def _read_content(request: Request, patience: timedelta) -> AsyncIterator[bytes]:
    """Return the content of the file in the body."""
    body = _read_pieces(request, patience)
    if not _is_form(request):
        return body
    return read_form_file(body, parse_boundary(request.headers["content-type"]))


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == FORM_TYPE


async def _read_pieces(request: Request, patience: timedelta) -> AsyncIterator[bytes]:
    """Yield the body. Raises `TimeoutError` if a piece takes longer than `patience`."""
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(patience.total_seconds()):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece


@router.get("/v1/files", response_model=Files, responses=problem_responses(400))
async def list_files(
    tenant: Reader, context: Context, links: RequestLinks, query: Annotated[FileQuery, Query()]
) -> dict[str, Any]:
    """List files, newest first."""
    page = await context.files.list_page(tenant, query.cursor or "", query.limit)
    files = [file_representation(context, links, entry) for entry in page.items]
    return {"files": files} | without_none({"next_cursor": page.cursor})


@router.get(_PATH, response_model=File)
async def get_file(
    tenant: Reader, context: Context, links: RequestLinks, file_id: FileId
) -> dict[str, Any]:
    """Get a file's description."""
    entry = await context.files.load(tenant, file_id)
    return file_representation(context, links, entry)


@fast_router.delete(
    _PATH,
    status_code=204,
    responses={204: {"description": "The file is deleted."}, **problem_responses(409)},
    openapi_extra={"parameters": [_FILE_ID]},
)
async def delete_file(request: Request) -> Response:
    """Delete a file.

    Its links stop working. Not while a request that has not ended uses it. Requires a key with
    the scope `submit`.
    """
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    await app_context(request.scope).files.delete(tenant, request.path_params["file_id"])
    return Response(status_code=204)


@fast_router.get(
    f"{_PATH}/content",
    responses={**CONTENT_RESPONSES, **problem_responses(400)},
    openapi_extra={
        "parameters": [
            _FILE_ID,
            parameter(EXPIRES, "Of a signed link.", {"type": "integer"}),
            parameter(SIGNATURE, "Of a signed link.", {"type": "string"}),
        ]
    },
)
async def get_file_content(request: Request) -> Response:
    """Get a file's content.

    With a key of its tenant, or by the signed link of its description. `Range`, `If-Range` and
    `If-None-Match` are supported.
    """
    context, file_id = app_context(request.scope), request.path_params["file_id"]
    entry = await _authorized_file(request, context, file_id)
    file = entry.file
    content = ObjectContent(
        name=file.object_name,
        size=file.bytes,
        sha256=file.sha256,
        media_type=file.media_type,
        file_name=f"{file.id}.{file_extension(file.media_type)}",
    )
    return await object_response(request, context.files.objects, content)


async def _authorized_file(request: Request, context: AppContext, file_id: str) -> FileEntry:
    """Return the file, if link or key permit. Any other id than an own one is `NotFound`."""
    signature = parse_signature(request)
    if signature is None:
        tenant = await authenticate_tenant(request, Scope.READ)
        return await context.files.load(tenant, file_id)
    entry = await context.files.find(file_id)
    if entry is not None:
        secret, now = bytes.fromhex(entry.file.secret), context.clock.now()
        if signature.is_valid(secret, file_content_path(file_id), now):
            return entry
    raise NotFound("This link does not fit, or has expired.")


def parse_signature(request: Request) -> LinkSignature | None:
    """Return the signature in a link's query; None without one. Raises `NotFound` for another."""
    query = parse_query(query_text(request.scope))
    if not query:
        return None
    expires = query.get(EXPIRES, "")
    if query.keys() != {EXPIRES, SIGNATURE} or not _is_timestamp(expires):
        raise NotFound("This link does not fit, or has expired.")
    return LinkSignature(int(expires), query[SIGNATURE])


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_TIMESTAMP_DIGITS


_MAX_TIMESTAMP_DIGITS: Final = 12


def file_representation(context: AppContext, links: Links, entry: FileEntry) -> dict[str, Any]:
    """Return a file as callers read it."""
    file = entry.file
    expires_at = context.clock.now() + LINK_LIFETIME
    path = signed_path(bytes.fromhex(file.secret), file_content_path(file.id), expires_at)
    measures = {"width": file.width, "height": file.height, "seconds": file.seconds}
    return {
        "file_id": file.id,
        "uri": f"{FILE_SCHEME}{file.id}",
        "url": f"{links.base}{path}",
        "media_type": file.media_type,
        "bytes": file.bytes,
        "sha256": file.sha256,
        **without_none(measures),
        "created_at": iso(file.created_at),
        "expires_at": iso(entry.expires_at),
    }
