"""Reads RunComfy's account balance into the store."""

from datetime import datetime, timedelta
from typing import Final, Protocol

from core.billing.balance import Wallet, spent_down
from core.clock import Clock
from core.observability.events import AccountBalanceRead, Emit, OperationalWarning
from worker.ports import BalanceSource, Unreachable
from worker.scheduling.periodic import is_recent

READ_WALLET_EVERY: Final = timedelta(minutes=1)


class Wallets(Protocol):
    """What the wallet's watch asks of the store."""

    async def wallet(self) -> Wallet:
        """The last reading."""
        ...

    async def set_wallet(self, wallet: Wallet) -> None:
        """Store a reading."""
        ...


class WalletWatch:
    """Reads RunComfy's balance once a minute for all workers; tells each worker's metrics of it."""

    def __init__(self, source: BalanceSource, store: Wallets, clock: Clock, emit: Emit) -> None:
        """Admission compares what is stored here with the floor."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit

    async def run_once(self) -> None:
        """Read if nobody did of late. A failed read leaves the last balance with its age."""
        wallet, now = await self._store.wallet(), self._clock.now()
        if wallet.read_at is None or not is_recent(wallet.read_at, now, READ_WALLET_EVERY):
            wallet = await self._read(wallet, now)
        if wallet.balance is not None:
            self._emit(AccountBalanceRead(wallet.balance, wallet.burn_per_hour, wallet.lasts))

    async def _read(self, before: Wallet, now: datetime) -> Wallet:
        balance = await self._source.balance()
        if isinstance(balance, Unreachable):
            self._emit(
                OperationalWarning(code="balance_fetch_failed", detail=balance.fault.message)
            )
            return before
        after = spent_down(before, balance, now)
        await self._store.set_wallet(after)
        return after
