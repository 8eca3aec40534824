"""What the operations of the admin API share."""

from typing import Final

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

    max_body_bytes = 2**20
    """A file of tenants may be large."""

    @staticmethod
    def who_may_call(operation: str) -> str:
        """Return the role that the operation needs. Raises `KeyError` if it has none."""
        return f"Role: `{ROLE_OF_OPERATION[operation]}`."

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
