"""Sign-in, sign-out, and the console's own files."""

from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from core.errors import NotFound, Unauthenticated
from service.console.pages import (
    ROOT,
    AnyPage,
    SentForm,
    base_path,
    console_router,
    cookie_name,
    frame_values,
    is_secure,
    local_path,
    session_token,
)
from service.console.rendering import html_response
from service.console.sessions import (
    SESSION_LIFETIME,
    begin_session,
    end_session,
    redeem_code,
    sign_in,
)
from service.context import app_context
from service.http.operators import serves_operators
from service.http.request_context import request_context

router = console_router()
_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_ASSET_HEADERS: Final = {"cache-control": "public, max-age=3600"}


@router.get("/sign-in")
async def sign_in_page(request: Request) -> Response:
    """Show the form, or sign in with the one-time code in the address."""
    code = request.query_params.get("code")
    # A program that only checks the link must not use it up.
    if code is None or request_context(request.scope).is_head:
        return _form(request, request.query_params.get("next", ""))
    context = app_context(request.scope)
    try:
        document = await redeem_code(context, code)
    except Unauthenticated as error:
        return await _refuse(request, str(error))
    return await _begin(request, document, "/")


@router.post("/sign-in", name="sign_in")
async def send_secret(request: Request, form: SentForm) -> Response:
    """Begin a session for a key or a token."""
    context, address = app_context(request.scope), request_context(request.scope).client
    try:
        document = await sign_in(
            context, form.get("secret"), address, with_operators=serves_operators(request)
        )
    except Unauthenticated:
        return await _refuse(request, "This is no valid key or token.")
    return await _begin(request, document, local_path(form.get("next")) or "/")


@router.post("/sign-out")
async def sign_out(request: Request, page: AnyPage) -> Response:
    """End the session."""
    await end_session(page.context, session_token(request))
    response = RedirectResponse(f"{base_path(request)}/sign-in", 303)
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


async def _begin(request: Request, document: bytes, path: str) -> Response:
    token = await begin_session(app_context(request.scope), document)
    response = RedirectResponse(f"{base_path(request)}{path}", 303)
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


async def _refuse(request: Request, reason: str) -> Response:
    """Answer a wrong secret: slower with each one from the same address."""
    current = request_context(request.scope)
    current.code = Unauthenticated.code
    await app_context(request.scope).failed_authentications.record(current.client)
    return _form(request, request.query_params.get("next", ""), reason, 401)


def _form(request: Request, following: str, reason: str = "", status: int = 200) -> Response:
    values = frame_values(request, None) | {
        "next": following if local_path(following) else "",
        "reason": reason,
        "with_operators": serves_operators(request),
    }
    return html_response("sign_in.html", values, status)


@router.get("")
@router.get("/")
async def start(request: Request, page: AnyPage) -> Response:
    """Go to the first page."""
    first = "/operator" if page.user.is_operator else "/home"
    return RedirectResponse(f"{base_path(request)}{first}", 303)


@router.get("/static/{name}")
async def asset(name: str) -> Response:
    """Serve one of the console's own files."""
    folder = files("service.console").joinpath("static")
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2])
    found = next((file for file in folder.iterdir() if file.name == name), None)
    if media_type is None or found is None:
        raise NotFound
    return Response(found.read_bytes(), media_type=media_type, headers=_ASSET_HEADERS)


catch_all = console_router()


@catch_all.get("/{path:path}")
async def unknown_page(_: AnyPage) -> Response:
    """Answer an address that has no page."""
    raise NotFound(f"There is no such page under {ROOT}.")
