"""A tenant's usage as JSON. Pure. Money is in USD with at most six decimals."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from core.billing.settlement import ReservationTotals
from core.billing.usage import Usage, UsageTotals, WindowUsage
from core.clock import iso
from core.money import MicroUsd, to_usd, usd_or_none
from core.tenants.windows import Window
from service.tenants.top_ups import top_up_representation
from service.webhooks.webhook_service import DisabledEndpoint

JsonObject = dict[str, Any]
_JOB_LIMITS: Final[Mapping[Window, str]] = {
    Window.DAY: "jobs_per_day",
    Window.MONTH: "jobs_per_month",
}
"""The windows with a limit on jobs."""


def usage_representation(
    tenant: str, usage: Usage, now: datetime, disabled_endpoints: Sequence[DisabledEndpoint] = ()
) -> JsonObject:
    """Return a tenant's usage, remaining limits and disabled endpoints.

    Of money, `used` counts against the budget: `settled` plus what is still `reserved`.
    """
    limits = usage.limits
    return {
        "tenant": tenant,
        "at": iso(now),
        "running": _quota_representation(usage.running, limits.running),
        "waiting": _quota_representation(usage.waiting, limits.waiting),
        "files": {
            "stored_bytes": _quota_representation(usage.files.stored_bytes, limits.storage_bytes),
            "uploaded_bytes": _quota_representation(
                usage.files.uploaded_bytes, limits.upload_bytes_per_day
            ),
        },
        "requests_per_minute": limits.requests_per_minute,
        "usd_per_request": usd_or_none(limits.usd_per_request),
        "time_zone": usage.budget.calendar.time_zone,
        "reset_hour": usage.budget.calendar.reset_hour,
        "top_ups": [top_up_representation(one) for one in usage.budget.top_ups if one.until > now],
        "windows": [_window_representation(window, usage) for window in usage.windows],
        "disabled_endpoints": [
            _disabled_endpoint_representation(endpoint) for endpoint in disabled_endpoints
        ],
    }


def _disabled_endpoint_representation(disabled: DisabledEndpoint) -> JsonObject:
    endpoint = disabled.endpoint
    return {
        "endpoint_id": endpoint.id,
        "url": endpoint.url,
        "reason": endpoint.disabled_reason,
        "disabled_at": iso(endpoint.disabled_at),
        "owed": disabled.pending,
    }


def _window_representation(window: WindowUsage, usage: Usage) -> JsonObject:
    jobs_field, usd_limit = _JOB_LIMITS.get(window.window.kind), usage.budget_of(window.window)
    jobs_limit = None if jobs_field is None else getattr(usage.limits, jobs_field)
    return {
        "window": window.window.kind,
        "resets_at": iso(window.window.resets_at),
        "jobs": _quota_representation(window.total.jobs, jobs_limit),
        "usd": _cost_representation(window.total.reservations)
        | _budget_representation(window.total.reservations, usd_limit),
        "reused": _reused_representation(window.total),
        "models": {name: _model_representation(use) for name, use in sorted(window.models.items())},
    }


def _model_representation(use: UsageTotals) -> JsonObject:
    return {
        "jobs": use.jobs,
        "usd": _cost_representation(use.reservations),
        "reused": _reused_representation(use),
    }


def _reused_representation(use: UsageTotals) -> JsonObject:
    return {"jobs": use.reused_jobs, "saved_usd": to_usd(MicroUsd(use.cost_saved))}


def _cost_representation(totals: ReservationTotals) -> JsonObject:
    return {
        "used": to_usd(MicroUsd(totals.used)),
        "settled": to_usd(MicroUsd(totals.settled)),
        "reserved": to_usd(MicroUsd(totals.held)),
    }


def _budget_representation(totals: ReservationTotals, limit: MicroUsd | None) -> JsonObject:
    if limit is None:
        return {"limit": None, "remaining": None}
    remaining = MicroUsd(max(limit - totals.used, 0))
    return {"limit": to_usd(limit), "remaining": to_usd(remaining)}


def _quota_representation(used: int, limit: int | None) -> JsonObject:
    remaining = None if limit is None else max(limit - used, 0)
    return {"used": used, "limit": limit, "remaining": remaining}
