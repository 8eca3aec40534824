"""Reads what tenants used. The scripts write it: `admit_jobs` reserves, `update_job` settles."""

import asyncio
from collections import defaultdict
from datetime import datetime

from core.billing.settlement import Booking
from core.billing.usage import Usage, Use, WindowUse
from core.store import keys
from core.store.client import Wire
from core.tenants.limits import Limits, Span, spans_at

_MODEL = "|"


class UsageStore:
    """Tenants' windows in Redis."""

    def __init__(self, wire: Wire) -> None:
        """Talk over `wire`."""
        self._wire = wire

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """How the tenant stands in the windows that `now` falls into."""
        running, waiting, *windows = await asyncio.gather(
            self._wire.execute("HGET", keys.RUNNING, f"tenant:{tenant}"),
            self._wire.execute("HGET", keys.WAITING, tenant),
            *(self._window(tenant, span) for span in spans_at(now)),
        )
        return Usage(limits, tuple(windows), int(running or 0), int(waiting or 0))

    async def _window(self, tenant: str, span: Span) -> WindowUse:
        flat = await self._wire.execute("HGETALL", keys.use(tenant, span.name))
        figures: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            kind, _, model = name.decode().partition(_MODEL)
            figures[model][kind] = int(value)
        uses = {model: _use(fields) for model, fields in figures.items()}
        return WindowUse(span, uses.pop("", Use()), uses)


def _use(fields: dict[str, int]) -> Use:
    return Use(
        jobs=fields.get("jobs", 0),
        booking=Booking(
            reserved=fields.get("reserved", 0),
            settled=fields.get("settled", 0),
            released=fields.get("released", 0),
        ),
        reused=fields.get("reused", 0),
        saved=fields.get("saved", 0),
    )
