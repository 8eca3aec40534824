"""How a tenant's use is shown. Pure. Money is USD with at most six decimals."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from core.billing.settlement import Booking
from core.billing.usage import Usage, Use, WindowUse
from core.clock import iso
from core.money import MicroUsd, to_usd, usd_or_none
from core.tenants.limits import Limits, Window
from service.webhooks.webhook_service import Silence

Document = dict[str, Any]
_LIMITS: Final[Mapping[Window, tuple[str, str]]] = {
    Window.DAY: ("jobs_per_day", "usd_per_day"),
    Window.MONTH: ("jobs_per_month", "usd_per_month"),
}
"""The limits of each window: on jobs, on money."""


def usage_document(
    tenant: str, usage: Usage, now: datetime, silent: Sequence[Silence] = ()
) -> Document:
    """What a tenant used, how its limits stand, and which of its endpoints get nothing.

    Of money, `used` counts against the budget: what is `settled`, and what is still `reserved`.
    """
    limits = usage.limits
    return {
        "tenant": tenant,
        "at": iso(now),
        "running": _against(usage.running, limits.running),
        "waiting": _against(usage.waiting, limits.waiting),
        "requests_per_minute": limits.requests_per_minute,
        "usd_per_request": usd_or_none(limits.usd_per_request),
        "windows": [_window(window, limits) for window in usage.windows],
        "disabled_endpoints": [_disabled(silence) for silence in silent],
    }


def _disabled(silence: Silence) -> Document:
    endpoint = silence.endpoint
    return {
        "endpoint_id": endpoint.id,
        "url": endpoint.url,
        "reason": endpoint.disabled,
        "disabled_at": iso(endpoint.disabled_at),
        "owed": silence.owed,
    }


def _window(window: WindowUse, limits: Limits) -> Document:
    jobs_limit, usd_limit = (getattr(limits, name) for name in _LIMITS[window.span.window])
    return {
        "window": window.span.window,
        "resets_at": iso(window.span.resets_at),
        "jobs": _against(window.total.jobs, jobs_limit),
        "usd": _money(window.total.booking) | _budget(window.total.booking, usd_limit),
        "reused": _reused(window.total),
        "models": {name: _by_model(use) for name, use in sorted(window.models.items())},
    }


def _by_model(use: Use) -> Document:
    return {"jobs": use.jobs, "usd": _money(use.booking), "reused": _reused(use)}


def _reused(use: Use) -> Document:
    return {"jobs": use.reused, "saved_usd": to_usd(MicroUsd(use.saved))}


def _money(booking: Booking) -> Document:
    return {
        "used": to_usd(MicroUsd(booking.used)),
        "settled": to_usd(MicroUsd(booking.settled)),
        "reserved": to_usd(MicroUsd(booking.held)),
    }


def _budget(booking: Booking, limit: MicroUsd | None) -> Document:
    if limit is None:
        return {"limit": None, "remaining": None}
    remaining = MicroUsd(max(limit - booking.used, 0))
    return {"limit": to_usd(limit), "remaining": to_usd(remaining)}


def _against(used: int, limit: int | None) -> Document:
    remaining = None if limit is None else max(limit - used, 0)
    return {"used": used, "limit": limit, "remaining": remaining}
