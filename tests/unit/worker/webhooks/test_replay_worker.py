"""A replay whose step raises stops no other tenant's, and ends."""

from core.errors import RecordUnreadable
from core.observability.events import Event, OperationalWarning
from core.webhooks.replay import Replay, ReplayRange
from tests.support.clock import FakeClock
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.records import NOW, SECOND
from worker.scheduling.step_failures import MAX_STEP_FAILURES
from worker.webhooks.replay_worker import ReplayPolicy, ReplayWorker

PAST = ReplayRange(NOW - 60 * SECOND, NOW)


class RaisingDeliveries:
    """The deliveries' store, which raises for one tenant."""

    def __init__(self, stores: MemoryStores, error: Exception) -> None:
        self._deliveries = stores.deliveries
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._deliveries, name)

    async def list_oldest_first(self, tenant: str, *_: object) -> object:
        if tenant == "odd":
            raise self._error
        found: list[str] = []
        return found


async def test_a_replay_that_raises_is_given_up_and_delays_nobody() -> None:
    clock, events = FakeClock(), list[Event]()
    stores = memory_stores(clock)
    for tenant in ("odd", "plain"):
        before = Replay(tenant)
        await stores.replays.update(before, before.with_range(PAST), clock.now())
    policy = ReplayPolicy()
    worker = ReplayWorker(
        stores.replays,
        RaisingDeliveries(stores, RecordUnreadable("field")),  # type: ignore[arg-type]  # passes everything else on
        clock,
        policy,
        events.append,
    )
    await worker.run_once()
    assert (await stores.replays.load("plain")).ranges == ()
    for _ in range(20):
        await clock.advance(policy.lease)
        await worker.run_once()
    warnings = [one for one in events if isinstance(one, OperationalWarning)]
    assert [one.code for one in warnings] == ["replay_failed"] * MAX_STEP_FAILURES
    assert (await stores.replays.load("odd")).ranges == ()
