"""Reads RunComfy's account balance into the store."""

from datetime import datetime, timedelta
from typing import Final

from core.billing.balance import AccountBalance, record_balance
from core.clock import Clock
from core.money import MicroUsd
from core.observability.events import AccountBalanceRead, Emit, OperationalWarning
from core.observability.outcomes import FaultKind
from core.store.interfaces import AdminRepository
from worker.ports import BalanceReadRecorder, BalanceSource, Unreachable
from worker.scheduling.periodic import is_recent

BALANCE_INTERVAL: Final = timedelta(minutes=1)
PROBE_INTERVAL: Final = timedelta(seconds=5)
"""While RunComfy refuses the account or the balance: the read is a probe that costs no job."""


class BalanceSync:
    """Reads RunComfy's balance once a minute for all workers; each emits it for its own metrics."""

    def __init__(
        self,
        source: BalanceSource,
        store: AdminRepository,
        gate: BalanceReadRecorder,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """Admission compares the stored balance with the minimum balance."""
        self._source = source
        self._store = store
        self._gate = gate
        self._clock = clock
        self._emit = emit

    async def run_once(self) -> None:
        """Read the balance unless a worker did recently. A failed read keeps the last one."""
        stored, now = await self._store.load_balance(), self._clock.now()
        is_probe = await self._gate.is_refused()
        interval = PROBE_INTERVAL if is_probe else BALANCE_INTERVAL
        if stored.read_at is None or not is_recent(stored.read_at, now, interval):
            stored = await self._read(stored, now, is_probe=is_probe)
        if stored.balance is not None:
            self._emit(
                AccountBalanceRead(stored.balance, stored.burn_per_hour, stored.time_remaining)
            )

    async def _read(
        self, before: AccountBalance, now: datetime, *, is_probe: bool
    ) -> AccountBalance:
        balance = await self._source.get_balance()
        if is_probe and _concerns_account(balance):
            read = None if isinstance(balance, Unreachable) else balance
            await self._gate.record_balance_read(read, PROBE_INTERVAL)
        if isinstance(balance, Unreachable):
            self._emit(
                OperationalWarning(code="balance_fetch_failed", detail=balance.fault.message)
            )
            return before
        after = record_balance(before, balance, now)
        await self._store.store_balance(after)
        return after


def _concerns_account(balance: MicroUsd | Unreachable) -> bool:
    """Return whether a read states something about the account: it was answered, or refused it."""
    if not isinstance(balance, Unreachable):
        return True
    return balance.fault.kind == FaultKind.ACCOUNT_REJECTED
