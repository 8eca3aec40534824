import pytest

from core.errors import StoreUnavailable
from core.observability.events import Event, OperationalWarning
from core.store.worker_heartbeats import Durability
from tests.support.clock import FakeClock
from tests.support.memory_store.shared_state import MemoryWorkerHeartbeats
from tests.support.memory_store.state import MemoryState
from worker.maintenance.durability_check import DurabilityCheck, durability_issues

# What Redis says -> the settings that are complained of.
STORES: dict[str, tuple[Durability, list[str]]] = {
    "safe": (Durability(True, "always", "noeviction"), []),  # noqa: FBT003 - a field
    "no AOF": (Durability(False, "always", "noeviction"), ["appendonly"]),  # noqa: FBT003 - a field
    "no AOF, so no more of it": (Durability(False, "no", None), ["appendonly"]),  # noqa: FBT003 - a field
    "each second": (Durability(True, "everysec", "noeviction"), ["appendfsync"]),  # noqa: FBT003 - a field
    "when it likes": (Durability(True, "no", "noeviction"), ["appendfsync"]),  # noqa: FBT003 - a field
    "evicts": (Durability(True, "always", "allkeys-lru"), ["maxmemory-policy"]),  # noqa: FBT003 - a field
    "all": (Durability(False, None, "volatile-ttl"), ["appendonly", "maxmemory-policy"]),  # noqa: FBT003 - a field
    "does not tell": (Durability(None, None, None), []),
    "tells half": (Durability(None, "everysec", None), ["appendfsync"]),
}


@pytest.mark.parametrize(("durability", "named"), STORES.values(), ids=STORES)
def test_what_the_promise_needs_and_this_store_lacks(
    durability: Durability, named: list[str]
) -> None:
    assert [weakness.split()[0] for weakness in durability_issues(durability)] == named


class Weak(MemoryWorkerHeartbeats):
    """A Redis that may be away. It has two faults."""

    is_away = False

    async def load_durability(self) -> Durability:
        if self.is_away:
            raise StoreUnavailable
        return Durability(aof=False, appendfsync=None, maxmemory_policy="allkeys-lru")


async def test_each_weakness_is_told_after_each_reconnect() -> None:
    connections, events = [1], list[Event]()
    store = Weak(MemoryState(FakeClock()))
    check = DurabilityCheck(store, lambda: connections[0], events.append)

    def told() -> list[str]:
        return [event.code for event in events if isinstance(event, OperationalWarning)]

    for _ in range(3):
        await check.run_once()
    assert told() == ["redis_not_durable"] * 2
    connections[0], store.is_away = 2, True
    with pytest.raises(StoreUnavailable):
        await check.run_once()
    store.is_away = False
    for _ in range(3):
        await check.run_once()
    assert told() == ["redis_not_durable"] * 4
