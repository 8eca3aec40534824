"""Sign-in, sign-out, and the console's own files."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from core.errors import NotFound, Unauthenticated
from service.console.pages import (
    ROOT,
    AnyPage,
    Form,
    SentForm,
    base_path,
    console_router,
    cookie_name,
    frame_values,
    is_secure,
    local_path,
    proxied_identity,
    session_token,
)
from service.console.rendering import html_response
from service.console.sessions import (
    SESSION_LIFETIME,
    begin_session,
    end_session,
    person_document,
    redeem_code,
    sign_in,
)
from service.context import app_context
from service.http.operators import serves_operators
from service.http.request_context import request_context
from service.parsing.identity_headers import Identity

router = console_router()
_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_SIGNED_OUT: Final = "signed-out"
_ASSET_HEADERS: Final = {"cache-control": "public, max-age=3600"}


@router.get("/sign-in")
async def sign_in_page(request: Request) -> Response:
    """Show the form; for the one-time code of a link, one that sends it by itself.

    What opens a link without a person, such as a chat's preview, must not use it up.
    """
    if code := request.query_params.get("code"):
        shown = frame_values(request, None) | {"code": code}
        return html_response("sign_in_link.html", shown)
    return _form(request, request.query_params.get("next", ""))


@router.post("/sign-in", name="sign_in")
async def send_secret(request: Request, form: SentForm) -> Response:
    """Begin a session: for a key, a token, a link's code, or the person that a proxy names."""
    try:
        document = await _session_document(request, form)
    except Unauthenticated as error:
        return await _refuse(request, error.detail)
    return await _begin(request, document, local_path(form.get("next")) or "/")


async def _session_document(request: Request, form: Form) -> bytes:
    """Return the document of the session that a form begins. Raises `Unauthenticated`."""
    context, address = app_context(request.scope), request_context(request.scope).client
    if code := form.get("code"):
        return await redeem_code(context, code)
    if "tenant" in form:
        return await _person_document(request, form.get("tenant"))
    try:
        return await sign_in(
            context, form.get("secret"), address, with_operators=serves_operators(request)
        )
    except Unauthenticated as error:
        raise Unauthenticated("This is no valid key or token.") from error


@router.post("/sign-out")
async def sign_out(request: Request, page: AnyPage) -> Response:
    """End the session."""
    await end_session(page.context, session_token(request))
    # Whom a proxy names would be signed in again by the page that is next.
    response = RedirectResponse(f"{base_path(request)}/sign-in?{_SIGNED_OUT}=1", 303)
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


async def _person_document(request: Request, choice: str) -> bytes:
    identity = proxied_identity(request)
    choices = _choices(identity, with_operators=serves_operators(request))
    if identity is None or choice not in choices:
        raise Unauthenticated("None of your groups may do that.")
    return await person_document(app_context(request.scope), identity, choice)


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
    identity = proxied_identity(request)
    choices = _choices(identity, with_operators=serves_operators(request))
    values = frame_values(request, None) | {
        "next": following if local_path(following) else "",
        "reason": reason,
        "with_operators": serves_operators(request),
        "identity": identity,
        "choices": choices,
        "is_sent": len(choices) == 1 and not reason and _SIGNED_OUT not in request.query_params,
    }
    return html_response("sign_in.html", values, status)


def _choices(identity: Identity | None, *, with_operators: bool) -> list[str]:
    """Return as what a person may sign in: "" as an operator, and tenants, some with a key."""
    if identity is None:
        return []
    return [*([""] if identity.roles and with_operators else []), *sorted(identity.tenants)]


@router.get("")
@router.get("/")
async def start(request: Request, page: AnyPage) -> Response:
    """Go to the first page."""
    first = "/operator" if page.user.is_operator else "/home"
    return RedirectResponse(f"{base_path(request)}{first}", 303)


@router.get("/static/{name}")
async def asset(name: str) -> Response:
    """Serve one of the console's own files."""
    content = _assets().get(name)
    if content is None:
        raise NotFound
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(content, media_type=media_type, headers=_ASSET_HEADERS)


@cache
def _assets() -> Mapping[str, bytes]:
    """Return the console's own files by name; they are read once, some 100 KB."""
    folder = files("service.console").joinpath("static")
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }


catch_all = console_router()


@catch_all.get("/{path:path}")
async def unknown_page(_: AnyPage) -> Response:
    """Answer an address that has no page."""
    raise NotFound(f"There is no such page under {ROOT}.")
