"""What a worker does now and then: sign its name, read RunComfy's catalogue and balance.

Each is safe to do by several workers at once; the catalogue is read by whoever finds it old.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from core.clock import Clock
from core.controls import Wallet, spent_down
from core.errors import StoreUnavailable
from core.events import Emit, Trouble, WalletRead
from core.store.catalogue import CatalogueSnapshot, CatalogueStore
from core.store.presence import Durability, Presence
from worker.ports import BalanceSource, CatalogueSource, Unreachable

SIGN_EVERY: Final = timedelta(seconds=5)
LOOK_EVERY: Final = timedelta(seconds=15)
HISTORIES_EVERY: Final = timedelta(seconds=5)
DISPATCH_EVERY: Final = timedelta(seconds=3)
TRIM_EVERY: Final = timedelta(seconds=20)
"""Whose turn it is has it for a minute."""
READ_WALLET_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done every so often."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[None]]


async def keep_doing(chore: Chore, clock: Clock, emit: Emit) -> None:
    """Do a chore for ever. A store that is away only delays it."""
    while True:
        try:
            await chore.do()
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - a failed chore must not end the worker
            emit(Trouble(code=f"{chore.name}_failed", detail=str(error), error=error))
        await clock.sleep(chore.every)


def _is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Whether `at` is nearer than `span`. One far ahead is of a clock that was put back since."""
    return abs(now - at) < span


class CatalogueSync:
    """Copies RunComfy's catalogue into the store when the copy there is old."""

    def __init__(
        self,
        source: CatalogueSource,
        store: CatalogueStore,
        clock: Clock,
        emit: Emit,
        fresh_for: timedelta,
    ) -> None:
        """A copy older than `fresh_for` is replaced."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit
        self._fresh_for = fresh_for

    async def run_once(self) -> None:
        """Read the catalogue if it is time. A failed or empty read leaves the old copy as it is."""
        now = self._clock.now()
        synced_at = await self._store.synced_at()
        if synced_at is not None and _is_recent(synced_at, now, self._fresh_for):
            return
        models = await self._source.models()
        if isinstance(models, Unreachable) or not models:
            why = models.fault.message if isinstance(models, Unreachable) else "It holds no model."
            self._emit(Trouble(code="catalogue_unread", detail=why))
            return
        categories: bytes | Unreachable | None = await self._source.categories()
        if isinstance(categories, Unreachable):
            categories = (await self._store.load()).categories
        snapshot = CatalogueSnapshot(
            synced_at=now,
            models={model.model_id: model.document for model in models},
            categories=categories,
        )
        await self._store.replace(snapshot)


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
        if wallet.read_at is None or not _is_recent(wallet.read_at, now, READ_WALLET_EVERY):
            wallet = await self._read(wallet, now)
        if wallet.balance is not None:
            self._emit(WalletRead(wallet.balance, wallet.burn_per_hour, wallet.lasts))

    async def _read(self, before: Wallet, now: datetime) -> Wallet:
        balance = await self._source.balance()
        if isinstance(balance, Unreachable):
            self._emit(Trouble(code="wallet_unread", detail=balance.fault.message))
            return before
        after = spent_down(before, balance, now)
        await self._store.set_wallet(after)
        return after


async def warn_of_weak_store(presence: Presence, emit: Emit) -> None:
    """Say once, loudly, where Redis is set up so that it can lose what was answered with 202."""
    for weakness in weaknesses(await presence.durability()):
        emit(Trouble(code="store_not_durable", detail=weakness))


def weaknesses(durability: Durability) -> tuple[str, ...]:
    """What the promise needs and this Redis does not have; unknown settings are not judged."""
    found: list[str] = []
    if durability.aof is False:
        found.append("appendonly is off: a crash of Redis loses accepted jobs")
    elif durability.appendfsync not in {None, "always"}:
        found.append(
            f"appendfsync is {durability.appendfsync}: a power cut may lose the last second, "
            "and a lost second can mean a second submit"
        )
    if durability.maxmemory_policy not in {None, "noeviction"}:
        found.append(
            f"maxmemory-policy is {durability.maxmemory_policy}: Redis may evict jobs when full"
        )
    return tuple(found)
