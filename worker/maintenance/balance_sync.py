"""Reads RunComfy's account balance into the store."""

from datetime import datetime, timedelta
from typing import Final

from core.billing.balance import AccountBalance, record_balance
from core.clock import Clock
from core.observability.events import AccountBalanceRead, Emit, OperationalWarning
from core.store.interfaces import OperationsRepository
from worker.ports import BalanceSource, Unreachable
from worker.scheduling.periodic import is_recent

BALANCE_INTERVAL: Final = timedelta(minutes=1)


class BalanceSync:
    """Reads RunComfy's balance once a minute for all workers; tells each worker's metrics of it."""

    def __init__(
        self, source: BalanceSource, store: OperationsRepository, clock: Clock, emit: Emit
    ) -> None:
        """Admission compares what is stored here with the floor."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit

    async def run_once(self) -> None:
        """Read if nobody did of late. A failed read leaves the last balance with its age."""
        wallet, now = await self._store.load_balance(), self._clock.now()
        if wallet.read_at is None or not is_recent(wallet.read_at, now, BALANCE_INTERVAL):
            wallet = await self._read(wallet, now)
        if wallet.balance is not None:
            self._emit(
                AccountBalanceRead(wallet.balance, wallet.burn_per_hour, wallet.time_remaining)
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
