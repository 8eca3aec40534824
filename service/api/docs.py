"""The API reference: OpenAPI, and Swagger UI from files that ship with the gateway; the guide.

The browser loads nothing from other hosts and runs no inline script: a content security policy
forbids both. `GATEWAY_DOCS` switches all of it off. The guide is the documentation as a static
site, in the folder `GATEWAY_GUIDE`.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from core.errors import NotFound
from service.api.openapi_3_0 import to_openapi_3_0
from service.api.openapi_document import TITLE, openapi_document
from service.context import app_context
from service.http.json_response import json_bytes_response
from service.http.request_context import query_text
from service.http.strict_route import FastRoute
from service.parsing.fields import enum_parser, parse_boolean, parse_query, parse_query_fields

ASSETS: Final = "/docs/assets"
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GUIDE: Final = "/docs/guide"
# The search is a form; diagrams are drawn with styles of their own.
_GUIDE_SECURITY_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Links are relative to `/docs`, so that the page works under any path of a proxy.
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{assets}/swagger-ui.css">
<link rel="icon" href="{assets}/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script src="docs/swagger.js" data-description="openapi.json?webhooks=true"></script>
</body>
</html>
"""


class _Version(StrEnum):
    """The versions of OpenAPI in which the description can be had."""

    V3_1 = "3.1"
    V3_0 = "3.0"


class _Query(NamedTuple):
    """The requested form of the description; `webhooks`: with OpenAPI's part of that name."""

    version: _Version
    webhooks: bool


_QUERY_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "version": enum_parser(_Version),
    "webhooks": parse_boolean,
}


def add_docs_routes(app: FastAPI) -> None:
    """Add the routes; the description is of every route that `app` has when it is first read."""
    descriptions = _Descriptions(app)
    script = files("service.api").joinpath("swagger.js").read_bytes()

    async def openapi(request: Request) -> Response:
        _require_docs(request.scope)
        return json_bytes_response(await descriptions.read(_parse_query(request)))

    async def start_script(request: Request) -> Response:
        _require_docs(request.scope)
        return Response(script, media_type="text/javascript")

    pages = (
        ("/openapi.json", openapi),
        ("/docs", docs),
        ("/docs/swagger.js", start_script),
        (GUIDE, guide),
    )
    for path, page in pages:
        app.router.add_api_route(
            path,
            page,
            response_class=Response,
            include_in_schema=False,
            route_class_override=FastRoute,
        )
    app.router.routes.append(Mount(ASSETS, _Assets()))
    app.router.routes.append(Mount(GUIDE, _serve_guide))


async def docs(request: Request) -> Response:
    """Swagger UI."""
    _require_docs(request.scope)
    page = _PAGE.format(title=TITLE, assets=ASSETS.removeprefix("/"))
    return HTMLResponse(page, headers={"content-security-policy": _CONTENT_SECURITY_POLICY})


async def guide(request: Request) -> Response:
    """Redirect to the first page of the guide. The address is relative, for any path of a proxy."""
    _require_guide(request.scope)
    return RedirectResponse("guide/")


async def _serve_guide(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a file of the guide's folder."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = _GUIDE_SECURITY_POLICY
        await send(message)

    pages = StaticFiles(directory=_require_guide(scope), html=True)
    await pages(scope, receive, send_with_policy)


class _Assets:
    """The files of Swagger UI."""

    def __init__(self) -> None:
        self._files = StaticFiles(directory=str(files("fastapi_offline") / "static"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _require_docs(scope)
        await self._files(scope, receive, send)


class _Descriptions:
    """The description in each form that can be requested, made with the first request.

    To make it takes as long as all else at a start, and most processes never return it.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._making: asyncio.Task[Mapping[_Query, bytes]] | None = None
        self._turn = asyncio.Lock()

    async def read(self, query: _Query) -> bytes:
        # All who waited would otherwise go on in the same turn of the event loop.
        async with self._turn:
            if self._making is None:
                self._making = asyncio.create_task(asyncio.to_thread(_describe, self._app))
            # The first caller may leave; the others wait for the same task.
            return (await asyncio.shield(self._making))[query]


def _describe(app: FastAPI) -> Mapping[_Query, bytes]:
    """Return the description in each form that can be requested."""
    whole = openapi_document(app.routes)
    # Generators make calls of `webhooks`, or write files that do not compile.
    plain = {name: part for name, part in whole.items() if name != "webhooks"}
    older = orjson.dumps(to_openapi_3_0(whole))
    return {
        _Query(_Version.V3_1, webhooks=False): orjson.dumps(plain),
        _Query(_Version.V3_1, webhooks=True): orjson.dumps(whole),
        # OpenAPI 3.0 has no `webhooks`.
        _Query(_Version.V3_0, webhooks=False): older,
        _Query(_Version.V3_0, webhooks=True): older,
    }


def _parse_query(request: Request) -> _Query:
    """Raises `MalformedRequest`."""
    given = parse_query(query_text(request.scope))
    parsed = parse_query_fields(given, _QUERY_PARSERS)
    return _Query(parsed.get("version", _Version.V3_1), webhooks=parsed.get("webhooks", False))


def _require_docs(scope: Scope) -> None:
    if not app_context(scope).policy.docs:
        raise NotFound


def _require_guide(scope: Scope) -> Path:
    """Return the guide's folder. Raises `NotFound` if there is none."""
    _require_docs(scope)
    folder = app_context(scope).policy.guide
    if folder is None:
        raise NotFound
    return folder
