"""Operators: limits of the whole gateway, the minimum account balance, pauses."""

from typing import Any, Final

from starlette.responses import Response

from service.admin import limits_and_pauses, representations
from service.admin.limits_and_pauses import GatewayLimits, LimitChanges, PauseTarget
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import (
    Gateway,
    Paused,
)
from service.http.dependencies import Admin
from service.http.json_response import json_response
from service.http.openapi import Tag
from service.operator_context import AdminContext

JsonObject = dict[str, Any]
router = admin_router(Tag.ADMIN_LIMITS_AND_PAUSES)
_NO_CHANGES: Final = LimitChanges()


@router.get("/limits", response_model=Gateway)
async def show_limits(admin: Admin) -> Response:
    """Show the gateway's limits, account balance and pauses."""
    return await _gateway(admin, await limits_and_pauses.load_limits(admin))


@router.patch("/limits", response_model=Gateway, responses=WRITE_PROBLEMS)
async def change_limits(admin: Admin, changes: LimitChanges = _NO_CHANGES) -> Response:
    """Change the gateway's limits or the minimum account balance.

    Only what the body has; null removes a limit. Jobs that run are not stopped.
    """
    return await _gateway(admin, await limits_and_pauses.change_limits(admin, changes))


async def _gateway(admin: AdminContext, limits: GatewayLimits) -> Response:
    pauses = await admin.stores.admin.list_pauses()
    return json_response(representations.gateway_representation(limits, pauses))


@router.post("/pause", response_model=Paused, responses=WRITE_PROBLEMS)
async def pause(admin: Admin, target: PauseTarget) -> JsonObject:
    """Pause everything, a tenant or a model.

    Its jobs are not sent to RunComfy: they are admitted, wait, and are not lost.
    """
    pauses = await limits_and_pauses.pause(admin, target.pause())
    return {"paused": representations.pauses_representation(pauses)}


@router.post("/resume", response_model=Paused, responses=WRITE_PROBLEMS)
async def resume(admin: Admin, target: PauseTarget) -> JsonObject:
    """Resume what was paused."""
    pauses = await limits_and_pauses.resume(admin, target.pause())
    return {"paused": representations.pauses_representation(pauses)}
