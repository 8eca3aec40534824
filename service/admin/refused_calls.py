"""Lists failed log-ins and forbidden calls in the audit log, in bounded number."""

from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.operators.operator import operator_named_by
from service.operator_context import AdminContext
from service.tenants.token_bucket import TokenBucket

UNKNOWN_ACTOR: Final = "unknown"
_BUCKET: Final = TokenBucket(20, timedelta(minutes=10))


class RefusedCalls:
    """Appends to the audit log: 20 entries together, then one each 10 minutes, by each process.

    An entry has the number of those left out before it; the log and the metrics have all of them.
    """

    def __init__(self, clock: Clock) -> None:
        """Measure time with `clock`."""
        self._clock = clock
        self._full_at = timedelta()
        self._left_out = 0

    async def failed_log_in(self, admin: AdminContext, token: str) -> None:
        """Record that `token` is of no operator. What it names is a claim, not an actor."""
        claimed = operator_named_by(token) or "-"
        await self._record(admin, "log-in.fail", claimed)

    async def forbidden(self, admin: AdminContext, operation: str) -> None:
        """Record that an operator lacks the role for `operation`."""
        await self._record(admin, "access.deny", operation)

    async def _record(self, admin: AdminContext, action: str, subject: str) -> None:
        if not self._take():
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        change = f"{left_out} more are not listed" if left_out else ""
        await admin.record_action(action, subject, change)

    def _take(self) -> bool:
        has_token, self._full_at = _BUCKET.take(self._full_at, self._clock.monotonic())
        return has_token
