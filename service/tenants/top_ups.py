"""Top-ups of tenants: money beyond their budgets, until a day."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field

from core.billing.usage import USD_LIMIT_OF_WINDOW
from core.clock import iso
from core.errors import FieldError
from core.money import MicroUsd, from_usd, to_usd
from core.tenants.tenant import Tenant
from core.tenants.top_ups import MAX_TOP_UPS, TopUp, without_ended
from core.tenants.windows import Window
from service.operator_context import AdminContext
from service.parsing.request_models import RequestModel, Text, Usd, invalid_input, optional
from service.tenants.tenants import load_tenant, update_tenant
from service.tenants.usage_reports import DateText

JsonObject = dict[str, Any]
MAX_TOP_UP_DAYS: Final = 400
_MAX_REASON_LENGTH: Final = 200


class TopUpRequest(RequestModel):
    """A top-up to add."""

    usd: Usd = Field(description="How much may be spent beyond the budgets, once.")
    until: DateText = Field(
        description="The last day on which it may be spent, in the tenant's time zone."
    )
    window: Window | None = optional(
        "The budget that it raises. Default: each budget of a day, a week, a month and in total "
        "that the tenant has."
    )
    reason: Annotated[Text, Field(min_length=1, max_length=_MAX_REASON_LENGTH)] = Field(
        description="Why, for the audit log."
    )


async def add_top_up(admin: AdminContext, name: str, request: TopUpRequest) -> Tenant:
    """Add a top-up; it applies from the next submit on. Raises `InvalidInput`, `NotFound`."""
    _, after = await update_tenant(admin, name, lambda tenant: _with_top_up(admin, tenant, request))
    added = after.top_ups[-1]
    kinds = ", ".join(added.windows)
    change = f"{to_usd(added.amount)} USD beyond {kinds} until {iso(added.until)}: {added.reason}"
    await admin.record_action("tenant.topup", name, change)
    return after


def _with_top_up(admin: AdminContext, tenant: Tenant, request: TopUpRequest) -> Tenant:
    now, calendar = admin.clock.now(), tenant.calendar
    today, amount = calendar.day_of(now), from_usd(request.usd)
    if not today <= request.until <= today + timedelta(days=MAX_TOP_UP_DAYS):
        raise _invalid("/until", f"must be from today to {MAX_TOP_UP_DAYS} days later")
    if not amount:
        raise _invalid("/usd", "must be more than 0")
    kept = without_ended(tenant.top_ups, now)
    if len(kept) >= MAX_TOP_UPS:
        raise _invalid("/usd", f"cannot be added: the tenant has {MAX_TOP_UPS} top-ups already")
    added = TopUp(
        amount,
        _windows(tenant, request.window),
        now,
        calendar.start_of(request.until + timedelta(days=1)),
        today,
        request.until,
        request.reason,
    )
    return replace(tenant, top_ups=(*kept, added), version=tenant.version + 1)


def _windows(tenant: Tenant, chosen: Window | None) -> tuple[Window, ...]:
    limited = tuple(
        kind
        for kind, field in USD_LIMIT_OF_WINDOW.items()
        if getattr(tenant.limits, field) is not None
    )
    found = tuple(kind for kind in limited if chosen in {None, kind})
    if not found:
        what = "no budget" if chosen is None else f"no budget `{USD_LIMIT_OF_WINDOW[chosen]}`"
        raise _invalid("/window", f"must have a budget to raise: the tenant has {what}")
    return found


def _invalid(path: str, message: str) -> Exception:
    return invalid_input((FieldError(path, message),))


async def end_top_ups(admin: AdminContext, name: str) -> Tenant:
    """End all top-ups of a tenant now. Raises `NotFound`."""
    tenant = await load_tenant(admin, name)
    if tenant.top_ups:
        _, tenant = await update_tenant(
            admin,
            name,
            lambda before: replace(before, top_ups=(), version=before.version + 1),
        )
        await admin.record_action("tenant.topup.end", name)
    return tenant


def top_ups_representation(tenant: Tenant) -> list[JsonObject]:
    """Return the tenant's top-ups as JSON."""
    return [top_up_representation(one) for one in tenant.top_ups]


def top_up_representation(one: TopUp) -> JsonObject:
    """Return a top-up as JSON."""
    return {
        "usd": to_usd(MicroUsd(one.amount)),
        "windows": list(one.windows),
        "created_at": iso(one.created_at),
        "until": iso(one.until),
        "reason": one.reason,
    }
