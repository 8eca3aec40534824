"""Tenants as a file says they are: compared with those that there are, then made so.

The file is the whole truth of the tenants that it names: a setting that it leaves out has its
default. Tenants that it does not name are told of and left alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import Conflict, InvalidInput
from core.tenants.tenant import Tenant, check_name
from core.webhooks.url_policy import TargetPolicy
from service.operator_context import Desk
from service.tenants.settings import (
    Difference,
    TenantSettings,
    differences,
    read_fields,
    settings_of,
    show_fields,
)
from service.tenants.tenants import change_tenant, create_tenant, list_tenants


class Action(StrEnum):
    """What becomes of one tenant."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class Step:
    """One tenant's part of a plan; `key` and `webhook_secret` once it was created."""

    tenant: str
    action: Action
    wanted: TenantSettings
    changes: tuple[Difference, ...] = ()
    key: str | None = None
    webhook_secret: str | None = None


def read_file(document: Mapping[str, object], policy: TargetPolicy) -> Mapping[str, TenantSettings]:
    """The tenants of a file: tables under `tenants`. Raises `InvalidInput`."""
    tenants = document.get("tenants")
    if not isinstance(tenants, dict) or document.keys() != {"tenants"}:
        raise InvalidInput("The file must hold tables under [tenants] and nothing else.")
    return {check_name(name): _read_one(name, raw, policy) for name, raw in tenants.items()}


def _read_one(name: str, raw: object, policy: TargetPolicy) -> TenantSettings:
    if not isinstance(raw, dict):
        raise InvalidInput(f"tenants.{name} must be a table of settings.")
    try:
        return read_fields(raw, TenantSettings(), policy)
    except InvalidInput as error:
        raise InvalidInput(f"tenants.{name}: {error.detail}", fields=error.fields) from error


def plan(wanted: Mapping[str, TenantSettings], present: Sequence[Tenant]) -> tuple[Step, ...]:
    """What must be done so that tenants are as the file says."""
    known = {tenant.name: settings_of(tenant) for tenant in present}
    named = tuple(_step(name, known.get(name), settings) for name, settings in wanted.items())
    others = (Step(name, Action.UNLISTED, known[name]) for name in known if name not in wanted)
    return (*named, *others)


def _step(name: str, before: TenantSettings | None, after: TenantSettings) -> Step:
    changes = differences(before or TenantSettings(), after)
    if before is None:
        return Step(name, Action.CREATE, after, changes)
    return Step(name, Action.CHANGE if changes else Action.KEEP, after, changes)


async def preview(desk: Desk, document: Mapping[str, object]) -> tuple[Step, ...]:
    """The plan, carried out in no part. Raises `InvalidInput`; `Conflict` for a deleted name."""
    steps = plan(read_file(document, desk.targets), await list_tenants(desk))
    new = [step.tenant for step in steps if step.action is Action.CREATE]
    held = await asyncio.gather(*map(desk.tenants.load, new))
    taken = [name for name, tenant in zip(new, held, strict=True) if tenant is not None]
    if taken:
        raise Conflict(f"Deleted less than 30 days ago: {', '.join(taken)}.")
    return steps


async def apply(desk: Desk, document: Mapping[str, object]) -> tuple[Step, ...]:
    """Make the tenants so; done twice, the second time does nothing. Raises as its parts do."""
    steps = await preview(desk, document)
    return tuple([await _carry_out(desk, step) for step in steps])


async def _carry_out(desk: Desk, step: Step) -> Step:
    match step.action:
        case Action.CREATE:
            made = await create_tenant(desk, step.tenant, show_fields(step.wanted))
            return Step(
                step.tenant, step.action, step.wanted, step.changes, made.key, made.webhook_secret
            )
        case Action.CHANGE:
            await change_tenant(desk, step.tenant, show_fields(step.wanted))
            return step
        case _:
            return step
