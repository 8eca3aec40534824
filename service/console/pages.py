"""What every page has: the user, the API as this user, and rendering in the console's frame.

The pages themselves are in `service.console.routes` and `templates/`.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hmac import compare_digest
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from core.errors import (
    Defect,
    GatewayError,
    MalformedRequest,
    NotFound,
    NotPermitted,
    ObjectsUnavailable,
    StoreRefused,
    Unauthenticated,
)
from core.files.records import FILES_FOLDER
from core.observability.gateway_state import GatewayState
from core.runtime.garbage_collection import drop_frames
from service.callers.api_calls import ApiCaller, JsonObject
from service.callers.user import User
from service.console.rendering import html_response
from service.console.sessions import load_user
from service.context import ADMIN_LISTENER, AppContext, app_context
from service.errors import UnsupportedMedia
from service.http.authentication import request_links
from service.http.middleware import delay_refusal
from service.http.operators import serves_operators
from service.http.request_body import read_body
from service.http.request_context import query_text, request_context
from service.parsing.identity_headers import Identity
from service.parsing.json_body import BodyLimits
from service.problems import problem_of

ROOT: Final = "/console"
COOKIE: Final = "gateway_console"
_SECURE_COOKIE: Final = f"__Host-{COOKIE}"
"""A browser takes a cookie of this name over TLS only, and from no other host."""
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FORM_BYTES: Final = 2 * 2**20
MAX_OPEN_FORM_BYTES: Final = 16 * 1024
"""Of a form that needs no session: a key, a token or a code."""
_MAX_FORM_FIELDS: Final = 500
_PRESIGNED_LIFETIME: Final = timedelta(minutes=1)
_FORM: Final = "gateway.console_form"
_STATE: Final = "gateway_state"
_USER: Final = "gateway.console_user"
_CHANGES: Final = frozenset({"POST"})
OPEN_ROUTES: Final = frozenset({"sign_in_page", "sign_in", "asset"})
"""Routes that need no session."""
FORWARDED_BODIES: Final = frozenset({"upload"})
"""Routes whose body is not a form of the console's: their CSRF token is in the query."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. A field that was sent several times has several values."""

    pairs: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a field, without the white space around it."""
        return next((text.strip() for key, text in reversed(self.pairs) if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value of a field that is not empty."""
        return [text for key, text in self.pairs if key == name and text]

    def __contains__(self, name: str) -> bool:
        """Return whether the field was sent."""
        return any(key == name for key, _ in self.pairs)

    def is_changed(self, name: str) -> bool:
        """Return whether a field differs from what the page showed, which it sends as `was.NAME`.

        A comparison with what is there now would take back a change that was made meanwhile.
        """
        return name in self and self.get(name) != self.get(f"was.{name}")

    def values(self, *names: str) -> dict[str, str]:
        """Return these fields, those that are empty left out."""
        return {name: text for name in names if (text := self.get(name))}


@dataclass(frozen=True)
class Page:
    """The request of one page, and the answer to it."""

    request: Request
    user: User

    @property
    def context(self) -> AppContext:
        """The application's context."""
        return app_context(self.request.scope)

    @cached_property
    def api(self) -> ApiCaller:
        """The API, as the user."""
        return ApiCaller(self.request, self.user)

    @property
    def query(self) -> dict[str, str]:
        """The query of the address; a repeated field has its last value."""
        return dict(self.request.query_params)

    def render(
        self,
        template: str,
        values: Mapping[str, Any] | None = None,
        status: int = 200,
        media: Iterable[str] = (),
    ) -> Response:
        """Return a page in the console's frame."""
        frame = frame_values(self.request, self.user)
        return html_response(template, frame | dict(values or {}), status, media)

    async def storage_addresses(self) -> list[str]:
        """Return an address of every place that serves kept outputs, whose links lead there."""
        objects = self.context.input_files.objects
        if objects is None:
            return []
        presigned = None
        with suppress(ObjectsUnavailable):
            presigned = await objects.presign(FILES_FOLDER, _PRESIGNED_LIFETIME)
        return [request_links(self.request).base, *([presigned] if presigned else [])]

    async def gateway_state(self) -> GatewayState:
        """Return the snapshot of the gateway, which all open pages share."""
        return await self.context.shared_reads.get(_STATE, self.context.read_state)

    def redirect(self, path: str, notice: str = "") -> Response:
        """Return a redirect to another page after a change; `notice` names what was done."""
        query = f"?done={notice}" if notice else ""
        return RedirectResponse(f"{base_path(self.request)}{path}{query}", 303)

    async def try_read(
        self, operation: str, query: Mapping[str, Any] | None = None, **path: str
    ) -> JsonObject | None:
        """Return a document; None if this user may not read it."""
        if not self.user.may(operation):
            return None
        try:
            return await self.api.read(operation, query, **path)
        except NotPermitted:
            return None


def base_path(request: Request) -> str:
    """Return the path under which the console is served, behind the prefix of a proxy."""
    prefix = request_context(request.scope).forwarded.prefix or request.scope.get("root_path", "")
    return f"{prefix}{ROOT}"


def frame_values(request: Request, user: User | None) -> dict[str, Any]:
    """Return what the frame of a page shows."""
    base = base_path(request)
    return {
        "base": base,
        "user": user,
        "csrf": user.csrf if user else "",
        "path": own_path(request),
        "done": NOTICES.get(request.query_params.get("done", "")),
        "now": app_context(request.scope).clock.now(),
    }


NOTICES: Final[Mapping[str, str]] = {
    "cancelled": "The cancel was sent.",
    "deleted": "Deleted.",
    "created": "Created.",
    "changed": "Changed.",
    "resent": "It is sent again.",
    "replayed": "The range is sent again, a few per second.",
    "tested": "A test event was sent.",
    "revoked": "The key no longer works.",
    "resolved": "Resolved.",
    "paused": "Paused: jobs wait, and none is lost.",
    "resumed": "Resumed.",
    "reset": "The circuit breaker is closed.",
    "applied": "Applied.",
    "uploaded": "Uploaded.",
    "retired": "Only the newest secret signs from now on.",
}
"""What a page reports after a change, by the word in its address."""


def is_secure(request: Request) -> bool:
    """Return whether the browser uses TLS, as far as this gateway or a trusted proxy knows."""
    public_url = app_context(request.scope).policy.links.public_url
    if ADMIN_LISTENER in request.scope["state"]:
        public_url = None  # it is the tenants'
    scheme = request_context(request.scope).forwarded.scheme or request.scope["scheme"]
    return scheme == "https" or bool(public_url and public_url.startswith("https:"))


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie."""
    return _SECURE_COOKIE if is_secure(request) else COOKIE


def session_token(request: Request) -> str:
    """Return the token of the session's cookie. Raises `Unauthenticated`."""
    token = request.cookies.get(cookie_name(request))
    if not token:
        raise Unauthenticated
    return token


async def signed_in(request: Request) -> User:
    """Return who is signed in. It is found once for a request. Raises `Unauthenticated`."""
    if _USER not in request.scope:
        context, current = app_context(request.scope), request_context(request.scope)
        request.scope[_USER] = await load_user(
            context,
            session_token(request),
            current.client,
            proxied_identity(request),
            with_operators=serves_operators(request),
        )
    user: User = request.scope[_USER]
    return user


def proxied_identity(request: Request) -> Identity | None:
    """Return whom an authenticating proxy names with this request; None if there is none."""
    policy = app_context(request.scope).policy
    peer, _ = request.scope.get("client") or (None, None)
    return policy.console.identity.identity_of(request.headers, peer, policy.links.trusted_proxies)


async def open_page(request: Request) -> Page:
    """Return the page of a signed-in user, for a route."""
    return Page(request, await signed_in(request))


async def open_operator_page(request: Request) -> Page:
    """Return the page of an operator. Raises `NotFound` for a tenant, who has no such page."""
    page = await open_page(request)
    if not page.user.is_operator:
        raise NotFound
    return page


async def open_tenant_page(request: Request) -> Page:
    """Return the page of a tenant. Raises `NotFound` for an operator."""
    page = await open_page(request)
    if page.user.is_operator:
        raise NotFound
    return page


async def sent_form(request: Request) -> Form:
    """Return the form that `ConsoleRoute` has read and checked."""
    form: Form = request.scope[_FORM]
    return form


AnyPage = Annotated[Page, Depends(open_page)]
TenantPage = Annotated[Page, Depends(open_tenant_page)]
OperatorPage = Annotated[Page, Depends(open_operator_page)]
SentForm = Annotated[Form, Depends(sent_form)]


async def read_form(request: Request, max_bytes: int = MAX_FORM_BYTES) -> Form:
    """Read a form. Raises `UnsupportedMedia`, `MalformedRequest`, `BodyTooLarge`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM_TYPE:
        raise UnsupportedMedia(f"A form is sent as {FORM_TYPE}.")
    timeout = app_context(request.scope).policy.body_limits.timeout
    body = await read_body(request, BodyLimits(max_bytes, timeout))
    # Two megabytes of escapes take a second.
    owner = request_context(request.scope).client
    return await app_context(request.scope).large_bodies.call(owner, len(body), _parse_form, body)


def _parse_form(body: bytes) -> Form:
    """Raises `MalformedRequest`."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS
        )
    except ValueError as error:
        raise MalformedRequest("The form is not readable.") from error
    return Form(tuple(pairs))


class ConsoleRoute(APIRoute):
    """A route that is served while the console is on. Changes need a token; errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler with these rules."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if not app_context(request.scope).policy.console.enabled:
                raise NotFound("There is nothing at this address.")
            try:
                if request.method in _CHANGES:
                    await self._check_change(request)
                return await handle(request)
            except RequestValidationError as error:
                page = error_page(request, _malformed(error))
            except (Defect, StoreRefused):
                raise  # operators are warned of these where the API's are
            except GatewayError as error:
                page = error_page(request, error)
                drop_frames(error)
            request.scope.pop(_FORM, None)  # it may be large, and the wait long
            await delay_refusal(request.scope, page.status_code)
            return page

        return handler

    async def _check_change(self, request: Request) -> None:
        """Raise `NotPermitted` unless the page that sent the change is the console's own."""
        _check_origin(request)
        if self.name in OPEN_ROUTES:
            request.scope[_FORM] = await read_form(request, MAX_OPEN_FORM_BYTES)
            return
        user = await signed_in(request)  # before a body is read, as for the API (docs/adr/0021)
        if self.name in FORWARDED_BODIES:
            form = Form(tuple(request.query_params.items()))
        else:
            form = await read_form(request)
        request.scope[_FORM] = form
        if not compare_digest(form.get("csrf").encode(), user.csrf.encode()):
            raise NotPermitted("The form is from another session. Open the page again.")


def _check_origin(request: Request) -> None:
    """Raise `NotPermitted` for a change that browsers report as a page of another site's."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"}:
        raise NotPermitted("A page of another site sent this.")


def _malformed(error: RequestValidationError) -> MalformedRequest:
    names = ", ".join(str(one["loc"][-1]) for one in error.errors()[:3])
    return MalformedRequest(f"The address is wrong: {names}.")


def error_page(request: Request, error: GatewayError) -> Response:
    """Return the page for an error; for a session that has ended, the way to a new one."""
    current = request_context(request.scope)
    problem = problem_of(error, current.job_id)
    current.code = problem.code
    if isinstance(error, Unauthenticated):
        return _to_sign_in(request)
    user: User | None = request.scope.get(_USER)
    values = frame_values(request, user) | {"error": error, "status": problem.status}
    return html_response("error.html", values, problem.status, headers=problem.headers)


def _to_sign_in(request: Request) -> Response:
    # Not an attack, as a rule: a session that has ended.
    request_context(request.scope).code = None
    query = ""
    if request.method == "GET" and local_path(address := _requested_address(request)):
        query = f"?{urlencode({'next': address})}"
    return RedirectResponse(f"{base_path(request)}/sign-in{query}", 303)


def own_path(request: Request) -> str:
    """Return the path of a request behind the prefix under which the gateway is served."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def _requested_address(request: Request) -> str:
    """Return the path and the query of a request, as `local_path` takes them."""
    query = query_text(request.scope)
    return f"{quote(own_path(request))}{'?' if query else ''}{query}"


def local_path(text: str) -> str | None:
    """Return a path of the console without its root, and its query; None for any other address."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_plain = not parts.scheme and not parts.netloc and "\\" not in text and text.isprintable()
    if not is_plain or not parts.path.startswith(f"{ROOT}/"):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.path.removeprefix(ROOT)}{query}"


def console_router() -> APIRouter:
    """Return a router for pages, which are no part of the API reference."""
    return APIRouter(
        prefix=ROOT,
        route_class=ConsoleRoute,
        include_in_schema=False,
        default_response_class=Response,
    )
