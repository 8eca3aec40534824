"""The balance is read once a minute by one worker, and emitted by each."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr, ValidationError

from core.billing.balance import AccountBalance
from core.money import MicroUsd
from core.observability.events import AccountBalanceRead, Event, OperationalWarning
from core.settings.definitions import JournalSettings
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, CircuitBreaker
from tests.support.clock import FakeClock
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.partial_stores import partial_stores
from tests.support.records import MINUTE, fault
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker
from worker.maintenance.balance_sync import BalanceSync
from worker.ports import Unreachable
from worker.settings import RUNCOMFY_ACCOUNT_URL, RUNCOMFY_URL, WorkerSettings

FULL = MicroUsd(100_000_000)


@dataclass
class StubAccount:
    """RunComfy's account and the store's record of it."""

    remaining: MicroUsd | Unreachable = FULL
    stored: AccountBalance = field(default_factory=AccountBalance)
    reads: int = 0

    async def get_balance(self) -> MicroUsd | Unreachable:
        self.reads += 1
        return self.remaining

    async def load_balance(self) -> AccountBalance:
        return self.stored

    async def store_balance(self, balance: AccountBalance) -> None:
        self.stored = balance


@dataclass
class BalanceSyncHarness:
    account: StubAccount = field(default_factory=StubAccount)
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    memory: MemoryStores = field(init=False)

    def __post_init__(self) -> None:
        self.memory = memory_stores(self.clock)

    async def refuse(self, name: str, reason: BreakerReason, price: int | None = None) -> None:
        now, amount = self.clock.now(), None if price is None else MicroUsd(price)
        opened = CircuitBreaker().record_refusal(reason, "words", now, BreakerPolicy(), amount)
        await self.memory.circuit_breakers.compare_and_set(name, CircuitBreaker(), opened)

    async def probe_at(self, name: str) -> datetime | None:
        return (await self.memory.circuit_breakers.load_all())[name].retry_at

    def watch(self) -> BalanceSync:
        stores = partial_stores(
            admin=self.account, circuit_breakers=self.memory.circuit_breakers, jobs=self.memory.jobs
        )
        gate = SubmitCircuitBreaker(
            stores.circuit_breakers, stores.jobs, self.clock, BreakerPolicy(), lambda _: None
        )
        return BalanceSync(self.account, stores.admin, gate, self.clock, self.events.append)


async def test_the_first_look_reads_and_tells() -> None:
    rig = BalanceSyncHarness()
    await rig.watch().run_once()
    assert rig.account.stored == AccountBalance(FULL, rig.clock.now())
    assert rig.events == [AccountBalanceRead(FULL, None, None)]


async def test_two_workers_read_once_a_minute_between_them() -> None:
    rig = BalanceSyncHarness()
    one, other = rig.watch(), rig.watch()
    for _ in range(8):
        await one.run_once()
        await other.run_once()
        rig.clock.move(timedelta(seconds=15))
    assert rig.account.reads == 2
    assert len(rig.events) == 16


async def test_the_burn_is_told_with_the_hours_that_are_left() -> None:
    rig = BalanceSyncHarness()
    await rig.watch().run_once()
    rig.clock.move(MINUTE)
    rig.account.remaining = MicroUsd(99_000_000)
    await rig.watch().run_once()
    told = rig.events[-1]
    assert told == AccountBalanceRead(
        MicroUsd(99_000_000), MicroUsd(60_000_000), timedelta(hours=99 / 60)
    )


async def test_a_clock_put_back_does_not_keep_an_old_balance() -> None:
    rig = BalanceSyncHarness()
    rig.account.stored = AccountBalance(FULL, rig.clock.now() + timedelta(days=1))
    rig.account.remaining = MicroUsd(1)
    await rig.watch().run_once()
    assert rig.account.stored == AccountBalance(MicroUsd(1), rig.clock.now())


async def test_a_balance_that_cannot_be_read_keeps_its_age_and_is_told_of() -> None:
    rig = BalanceSyncHarness(StubAccount(Unreachable(fault())))
    await rig.watch().run_once()
    assert rig.account.stored == AccountBalance()
    assert [type(event) for event in rig.events] == [OperationalWarning]


@pytest.mark.parametrize(
    ("model_api", "named", "asked"),
    [
        (RUNCOMFY_URL, None, RUNCOMFY_ACCOUNT_URL),
        (RUNCOMFY_URL + "/", None, RUNCOMFY_ACCOUNT_URL),
        ("http://127.0.0.1:9000", None, None),
        (RUNCOMFY_URL + ".evil.example", None, None),
        ("https://proxy.example", "https://account.example", "https://account.example"),
    ],
)
def test_the_token_goes_to_no_host_that_nobody_named(
    model_api: str, named: str | None, asked: str | None
) -> None:
    settings = WorkerSettings(
        runcomfy_url=model_api,
        runcomfy_account_url=named,
        runcomfy_token=SecretStr("t"),
        journal=JournalSettings(url="off"),
    )
    assert settings.account_url == asked


def test_an_account_url_of_no_web_is_refused() -> None:
    with pytest.raises(ValidationError, match="runcomfy_account_url"):
        WorkerSettings(
            runcomfy_account_url="ftp://x",
            runcomfy_token=SecretStr("t"),
            journal=JournalSettings(url="off"),
        )


async def test_while_the_balance_is_too_small_the_read_is_the_probe() -> None:
    rig = BalanceSyncHarness()
    rig.account.remaining = MicroUsd(400)
    await rig.refuse("balance", BreakerReason.INSUFFICIENT_BALANCE, price=500)
    watch = rig.watch()
    for _ in range(12):
        await watch.run_once()
        assert await rig.probe_at("balance") == rig.clock.now() + timedelta(seconds=10)
        rig.clock.move(timedelta(seconds=5))
    assert rig.account.reads == 12
    rig.account.remaining = MicroUsd(500)
    await watch.run_once()
    assert await rig.probe_at("balance") == rig.clock.now()


@pytest.mark.parametrize(("kind", "postponed"), [("account_rejected", True), ("http_5xx", False)])
async def test_a_refused_read_postpones_the_probe_of_the_account(
    kind: str, *, postponed: bool
) -> None:
    rig = BalanceSyncHarness()
    rig.account.remaining = Unreachable(fault(kind, 401))
    await rig.refuse("account", BreakerReason.ACCOUNT_REFUSED)
    before = await rig.probe_at("account")
    await rig.watch().run_once()
    assert (await rig.probe_at("account") != before) is postponed
