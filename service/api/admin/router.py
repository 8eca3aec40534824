"""What the operations of the admin API share."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request

from service.admin.roles import ROLE_OF_OPERATION
from service.http.openapi import Tag, problem_responses
from service.http.operators import check_operator
from service.http.strict_route import StrictRoute

ADMIN_ROOT: Final = "/admin/v1"
WRITE_PROBLEMS: Final = problem_responses(400, 409, 413, 415, 422)
"""What an operation with a body reports beside the problems of every operation."""


class AdminRoute(StrictRoute):
    """A route that reads a body only if the caller is an operator whose roles allow the call."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        """Add the role of the operation to its description. Raises `KeyError` if it has none."""
        super().__init__(path, endpoint, **options)
        role = ROLE_OF_OPERATION[self.name]
        self.description = f"{self.description} Role: `{role}`.".lstrip()

    max_body_bytes = 2**20
    """A file of tenants may be large."""

    @staticmethod
    async def check_caller(request: Request) -> None:
        """Raise as `check_operator`."""
        await check_operator(request)


def admin_router(tag: Tag) -> APIRouter:
    """Return a router for operations that are documented under `tag`."""
    return APIRouter(
        prefix=ADMIN_ROOT,
        tags=[tag],
        route_class=AdminRoute,
        responses=problem_responses(401, 403, 404, 503),
        generate_unique_id_function=_operation_id,
    )


def _operation_id(route: APIRoute) -> str:
    return f"admin_{route.name}"
