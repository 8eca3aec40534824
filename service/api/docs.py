"""The API reference: OpenAPI, and Swagger UI from files that ship with the gateway.

The browser loads nothing from other hosts, and a content security policy forbids it.
"""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from service.api.openapi_document import TITLE, openapi_document
from service.http.json_response import json_bytes_response
from service.http.strict_route import FastRoute

ASSETS: Final = "/docs/assets"
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


def add_docs_routes(app: FastAPI) -> None:
    """Add the routes; the description is made once, of the routes that `app` has by now."""
    description = openapi_document(app.routes)

    async def openapi(_: Request) -> Response:
        return json_bytes_response(description)

    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    for path, page in (("/openapi.json", openapi), ("/docs", docs)):
        app.router.add_api_route(
            path,
            page,
            response_class=Response,
            include_in_schema=False,
            route_class_override=FastRoute,
        )
    app.router.routes.append(Mount(ASSETS, assets))


async def docs(_: Request) -> Response:
    """Swagger UI."""
    assets = ASSETS.removeprefix("/")
    # Relative to `/docs`, so that the page works under any path of a proxy.
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=TITLE,
        oauth2_redirect_url=None,
        swagger_js_url=f"{assets}/swagger-ui-bundle.js",
        swagger_css_url=f"{assets}/swagger-ui.css",
        swagger_favicon_url=f"{assets}/favicon.png",
    )
    return HTMLResponse(page.body, headers={"content-security-policy": _CONTENT_SECURITY_POLICY})
