"""The route class of every operation that is not on the hot path.

FastAPI validates queries and bodies and writes the API description; this class adds what it does
not do: bodies bounded in size and time, JSON without duplicate fields, queries without duplicate
options, and errors in the form of this API.
"""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import ErrorDetails
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from core.errors import FieldError, GatewayError
from service.http.authentication import checked_credential, read_json_body
from service.http.openapi import Tag, problem_responses
from service.http.request_context import query_text
from service.http.scopes import SCOPE_OF_OPERATION
from service.parsing.fields import UNREADABLE_OPTION, parse_query, query_error
from service.parsing.request_models import field_errors, invalid_input


class StrictRequest(Request):
    """A request with body and query parsed by this gateway's rules.

    FastAPI reads the body before it runs dependencies, so an error here would be reported to a
    caller whose key is not known to be live. It is kept in `error`; a value that no model accepts
    takes the place of what could not be read, and the route raises the error after the
    dependencies ran.
    """

    error: Exception | None = None
    max_body_bytes: int = 0
    _object: object = None
    _options: QueryParams | None = None

    async def body(self) -> bytes:
        """Return a text that is not empty: an omitted body is an empty object."""
        try:
            self._object = await read_json_body(self, self.max_body_bytes)
        except (GatewayError, ClientDisconnect) as error:
            self._object, self.error = _UNREADABLE, error
        return b"{}"

    async def json(self) -> object:
        """Return the JSON object that `body` read."""
        return self._object

    @property
    def query_params(self) -> QueryParams:
        """The options of the query, parsed once: FastAPI reads them for each dependency."""
        if self._options is None:
            try:
                self._options = QueryParams(parse_query(query_text(self.scope)))
            except GatewayError as error:
                self.error = self.error or error
                self._options = QueryParams({UNREADABLE_OPTION: ""})
        return self._options


KEY_CHECK: Final = "gateway.key_check"
"""The scope's entry for a check of the key that the store would have made."""
_UNREADABLE: Final = object()
_FIXED_OPTIONS: Final = {
    # A field that a representation leaves out stays out.
    "response_model_exclude_unset": True,
    # A body without a content type is JSON; `read_json_body` refuses other types.
    "strict_content_type": False,
}


class StrictRoute(APIRoute):
    """A route of FastAPI's that reads strictly and raises this gateway's errors."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        """The first line of the endpoint's docstring is the summary, the rest the description."""
        summary, _, description = inspect.cleandoc(endpoint.__doc__ or "").partition("\n\n")
        texts = {"summary": summary.rstrip("."), "description": " ".join(description.split())}
        super().__init__(path, endpoint, **{**options, **texts, **_FIXED_OPTIONS})
        self.description = f"{self.description} {self.who_may_call(self.name)}".lstrip()

    max_body_bytes: ClassVar[int] = 64 * 1024
    """Enough for every body but a submit's."""

    @staticmethod
    def who_may_call(operation: str) -> str:
        """Return the sentence of the API reference about it. Raises `KeyError`: no table has it."""
        scope = SCOPE_OF_OPERATION[operation]
        return "Needs no key." if scope is None else f"Scope: `{scope}`."

    @staticmethod
    async def check_caller(request: Request) -> None:
        """Raise `Unauthenticated` unless the key exists; the operation itself checks its scopes.

        Called before a body is read.
        """
        await checked_credential(request, None)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler over a `StrictRequest`."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if self.body_field is not None:
                await self.check_caller(request)
            strict = StrictRequest(request.scope, request.receive)
            strict.max_body_bytes = self.max_body_bytes
            try:
                return await handle(strict)
            except RequestValidationError as error:
                if KEY_CHECK in request.scope:
                    await request.scope[KEY_CHECK]()
                raise strict.error or self._request_error(error.errors()) from error

        return handler

    def _request_error(self, errors: Sequence[ErrorDetails]) -> GatewayError:
        """Return 400 for what is wrong with the query, else 422 for the body."""
        in_query = [_without_source(error) for error in errors if error["loc"][0] == "query"]
        kind: Any = object
        if in_query:
            kind = self.dependant.query_params[0].field_info.annotation
            found = field_errors(in_query, kind)
            return query_error([FieldError(f"?{one.path[1:]}", one.message) for one in found])
        if self.body_field is not None:
            kind = self.body_field.field_info.annotation
        return invalid_input(field_errors([_without_source(error) for error in errors], kind))


def _without_source(error: ErrorDetails) -> ErrorDetails:
    """Return the error without the first part of its location: FastAPI's "body" or "query"."""
    return {**error, "loc": error["loc"][1:]}


class FastRoute(StrictRoute):
    """A route whose function takes the request and returns the response itself.

    FastAPI's routing and models take longer than most of these functions (docs/adr/0020). The
    function reads strictly by itself.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint function itself."""
        return self.endpoint


def api_router(tag: Tag, *problems: int, route: type[StrictRoute] = StrictRoute) -> APIRouter:
    """Return a router for operations that are documented under `tag`.

    The id of an operation is the name of its function. `problems` are the statuses of the errors
    that each of them may return.
    """
    return APIRouter(
        tags=[tag],
        route_class=route,
        responses=problem_responses(*problems),
        generate_unique_id_function=lambda route: route.name,
        default_response_class=Response if route is FastRoute else JSONResponse,
    )
