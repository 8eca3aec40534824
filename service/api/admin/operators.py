"""Operators: persons with a token of their own."""

from typing import Any

from service.admin import operators
from service.admin.representations import new_operator_representation, operator_representation
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import NewOperator, OperatorRequest, Operators
from service.http.dependencies import Admin
from service.http.openapi import Tag

JsonObject = dict[str, Any]
router = admin_router(Tag.ADMIN_OPERATORS)


@router.get("/operators", response_model=Operators)
async def list_operators(admin: Admin) -> JsonObject:
    """List operators by name."""
    found = await operators.list_operators(admin)
    return {"operators": [operator_representation(use) for use in found]}


@router.post("/operators", response_model=NewOperator, status_code=201, responses=WRITE_PROBLEMS)
async def create_operator(admin: Admin, request: OperatorRequest) -> JsonObject:
    """Create an operator.

    The token is shown once. Every role includes `read`; `all` includes the others.
    """
    roles = frozenset(request.roles)
    made = await operators.create_operator(admin, request.operator, roles, request.expires_at)
    return new_operator_representation(*made)


@router.delete("/operators/{operator}", status_code=204)
async def revoke_operator(admin: Admin, operator: str) -> None:
    """Revoke an operator's token.

    It stops working immediately.
    """
    await operators.revoke_operator(admin, operator)
