"""Applies a file of tenants: compares it with the stored ones, then creates and changes them.

The file is complete for each tenant that it names: a setting that it omits gets its default, which
for a limit is the one that an operator has set for new tenants.
Tenants that it does not name are listed and left unchanged.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import Conflict
from service.operator_context import AdminContext
from service.parsing.request_models import RequestModel
from service.tenants.settings import (
    Difference,
    TenantName,
    TenantSettings,
    diff_settings,
)
from service.tenants.tenants import TenantDetails, change_tenant, create_tenant, list_tenants


class PlanAction(StrEnum):
    """What a plan does with one tenant."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One tenant's part of a plan; `key` and `webhook_secret` once it was created."""

    tenant: str
    action: PlanAction
    settings: TenantSettings
    changes: tuple[Difference, ...] = ()
    key: str | None = None
    webhook_secret: str | None = None


class TenantsFile(RequestModel):
    """The tenants of a file: tables under `[tenants]`, each with all settings of one tenant."""

    tenants: Mapping[TenantName, TenantSettings]


def plan(
    desired: Mapping[str, TenantSettings], current: Sequence[TenantDetails]
) -> tuple[PlanStep, ...]:
    """Return the steps that make the tenants match the file."""
    known = {details.tenant.name: details.settings for details in current}
    named = tuple(_plan_step(name, known.get(name), settings) for name, settings in desired.items())
    others = (
        PlanStep(name, PlanAction.UNLISTED, known[name]) for name in known if name not in desired
    )
    return (*named, *others)


def _plan_step(name: str, before: TenantSettings | None, after: TenantSettings) -> PlanStep:
    changes = diff_settings(before or TenantSettings(), after)
    if before is None:
        return PlanStep(name, PlanAction.CREATE, after, changes)
    return PlanStep(name, PlanAction.CHANGE if changes else PlanAction.KEEP, after, changes)


async def preview(admin: AdminContext, file: TenantsFile) -> tuple[PlanStep, ...]:
    """Return the plan without applying it. Raises `InvalidInput`; `Conflict` for a deleted name."""
    for settings in file.tenants.values():
        settings.check_webhook(admin.target_policy)
    limits = await admin.stores.admin.load_limits()
    desired = {name: one.with_defaults(limits) for name, one in file.tenants.items()}
    steps = plan(desired, await list_tenants(admin))
    new = [step.tenant for step in steps if step.action is PlanAction.CREATE]
    held = await asyncio.gather(*map(admin.stores.tenants.load, new))
    taken = [name for name, tenant in zip(new, held, strict=True) if tenant is not None]
    if taken:
        raise Conflict(f"Deleted less than 30 days ago: {', '.join(taken)}.")
    return steps


async def apply(admin: AdminContext, file: TenantsFile) -> tuple[PlanStep, ...]:
    """Apply the plan. Idempotent. Raises as `preview`, `create_tenant` and `change_tenant`."""
    steps = await preview(admin, file)
    return tuple([await _apply_step(admin, step) for step in steps])


async def _apply_step(admin: AdminContext, step: PlanStep) -> PlanStep:
    match step.action:
        case PlanAction.CREATE:
            made = await create_tenant(admin, step.tenant, step.settings)
            return PlanStep(
                step.tenant, step.action, step.settings, step.changes, made.key, made.webhook_secret
            )
        case PlanAction.CHANGE:
            await change_tenant(admin, step.tenant, _complete(step.settings))
            return step
        case _:
            return step


def _complete(settings: TenantSettings) -> TenantSettings:
    """Return the same settings with every field counted as given: a file omits none."""
    return TenantSettings.model_construct(set(TenantSettings.model_fields), **dict(settings))
