"""Reads RunComfy's account balance into the store."""

from datetime import datetime, timedelta
from typing import Final

from core.billing.balance import AccountBalance, record_balance
from core.clock import Clock
from core.observability.events import AccountBalanceRead, Emit, OperationalWarning
from core.store.interfaces import AdminRepository
from worker.ports import BalanceSource, Unreachable
from worker.scheduling.periodic import is_recent

BALANCE_INTERVAL: Final = timedelta(minutes=1)


class BalanceSync:
    """Reads RunComfy's balance once a minute for all workers; each emits it for its own metrics."""

    def __init__(
        self, source: BalanceSource, store: AdminRepository, clock: Clock, emit: Emit
    ) -> None:
        """Admission compares the stored balance with the minimum balance."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit

    async def run_once(self) -> None:
        """Read the balance unless a worker did recently. A failed read keeps the last one."""
        stored, now = await self._store.load_balance(), self._clock.now()
        if stored.read_at is None or not is_recent(stored.read_at, now, BALANCE_INTERVAL):
            stored = await self._read(stored, now)
        if stored.balance is not None:
            self._emit(
                AccountBalanceRead(stored.balance, stored.burn_per_hour, stored.time_remaining)
            )

    async def _read(self, before: AccountBalance, now: datetime) -> AccountBalance:
        balance = await self._source.get_balance()
        if isinstance(balance, Unreachable):
            self._emit(
                OperationalWarning(code="balance_fetch_failed", detail=balance.fault.message)
            )
            return before
        after = record_balance(before, balance, now)
        await self._store.store_balance(after)
        return after
