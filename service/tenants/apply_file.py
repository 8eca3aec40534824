"""Tenants as a file says they are: compared with those that there are, then made so.

The file is the whole truth of the tenants that it names: a setting that it leaves out has its
default. Tenants that it does not name are told of and left alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import Conflict, InvalidInput
from core.tenants.tenant import Tenant, check_tenant_name
from core.webhooks.url_policy import TargetPolicy
from service.operator_context import AdminContext
from service.tenants.settings import (
    Difference,
    TenantSettings,
    diff_settings,
    parse_settings,
    settings_of,
    settings_representation,
)
from service.tenants.tenants import change_tenant, create_tenant, list_tenants


class PlanAction(StrEnum):
    """What becomes of one tenant."""

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


def parse_tenants_file(
    document: Mapping[str, object], policy: TargetPolicy
) -> Mapping[str, TenantSettings]:
    """The tenants of a file: tables under `tenants`. Raises `InvalidInput`."""
    tenants = document.get("tenants")
    if not isinstance(tenants, dict) or document.keys() != {"tenants"}:
        raise InvalidInput("The file must hold tables under [tenants] and nothing else.")
    return {
        check_tenant_name(name): _parse_tenant_settings(name, raw, policy)
        for name, raw in tenants.items()
    }


def _parse_tenant_settings(name: str, raw: object, policy: TargetPolicy) -> TenantSettings:
    if not isinstance(raw, dict):
        raise InvalidInput(f"tenants.{name} must be a table of settings.")
    try:
        return parse_settings(raw, TenantSettings(), policy)
    except InvalidInput as error:
        raise InvalidInput(f"tenants.{name}: {error.detail}", fields=error.fields) from error


def plan(desired: Mapping[str, TenantSettings], current: Sequence[Tenant]) -> tuple[PlanStep, ...]:
    """What must be done so that tenants are as the file says."""
    known = {tenant.name: settings_of(tenant) for tenant in current}
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


async def preview(admin: AdminContext, document: Mapping[str, object]) -> tuple[PlanStep, ...]:
    """The plan, carried out in no part. Raises `InvalidInput`; `Conflict` for a deleted name."""
    steps = plan(parse_tenants_file(document, admin.target_policy), await list_tenants(admin))
    new = [step.tenant for step in steps if step.action is PlanAction.CREATE]
    held = await asyncio.gather(*map(admin.tenants.load, new))
    taken = [name for name, tenant in zip(new, held, strict=True) if tenant is not None]
    if taken:
        raise Conflict(f"Deleted less than 30 days ago: {', '.join(taken)}.")
    return steps


async def apply(admin: AdminContext, document: Mapping[str, object]) -> tuple[PlanStep, ...]:
    """Make the tenants so; done twice, the second time does nothing. Raises as its parts do."""
    steps = await preview(admin, document)
    return tuple([await _apply_step(admin, step) for step in steps])


async def _apply_step(admin: AdminContext, step: PlanStep) -> PlanStep:
    match step.action:
        case PlanAction.CREATE:
            made = await create_tenant(admin, step.tenant, settings_representation(step.settings))
            return PlanStep(
                step.tenant, step.action, step.settings, step.changes, made.key, made.webhook_secret
            )
        case PlanAction.CHANGE:
            await change_tenant(admin, step.tenant, settings_representation(step.settings))
            return step
        case _:
            return step
