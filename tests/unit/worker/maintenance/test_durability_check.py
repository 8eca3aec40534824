import pytest

from core.observability.events import Event, OperationalWarning
from core.store.worker_heartbeats import Durability
from worker.maintenance.durability_check import durability_issues, warn_if_not_durable

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


async def test_each_weakness_is_told() -> None:
    class Weak:
        async def load_durability(self) -> Durability:
            return Durability(aof=False, appendfsync=None, maxmemory_policy="allkeys-lru")

    events: list[Event] = []
    await warn_if_not_durable(Weak(), events.append)  # type: ignore[arg-type]  # a twin
    assert [event.code for event in events if isinstance(event, OperationalWarning)] == [
        "redis_not_durable"
    ] * 2
