"""Each claim reports what this worker has in flight, by tenant."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import ClaimedDelivery
from tests.support.partial_stores import partial_stores
from tests.support.records import NOW, delivery_to
from worker.webhooks.delivery_source import DeliverySource

LEASE = timedelta(seconds=30)


def claimed(name: str, tenant: str) -> ClaimedDelivery:
    record = delivery_to("https://hooks.example/", tenant, NOW, id=name, data="{}")
    return ClaimedDelivery(record, EndpointCircuit())


class ScriptedDeliveries:
    """Hands out what it is given, and notes what each claim reported."""

    def __init__(self, *answers: Sequence[ClaimedDelivery]) -> None:
        self.answers = list(answers)
        self.reported: list[Mapping[str, int]] = []

    async def claim_due(
        self, lease: timedelta, limit: int, in_flight: Mapping[str, int] | None = None
    ) -> Sequence[ClaimedDelivery]:
        assert (lease, limit) == (LEASE, 10)
        self.reported.append(dict(in_flight or {}))
        return self.answers.pop(0) if self.answers else ()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_delivery_counts_from_its_claim_to_the_end_of_its_attempt(*, fails: bool) -> None:
    store = ScriptedDeliveries([claimed("a1", "ada"), claimed("a2", "ada"), claimed("b1", "bob")])
    may_end = asyncio.Event()

    async def deliver(_: ClaimedDelivery) -> None:
        await may_end.wait()
        if fails:
            raise RuntimeError

    source = DeliverySource(partial_stores(deliveries=store).deliveries, LEASE, deliver)
    taken = await source.claim(10)
    await source.claim(10)
    attempts = [asyncio.create_task(source.handle(one)) for one in taken]
    await asyncio.sleep(0)
    await source.claim(10)
    may_end.set()
    await asyncio.gather(*attempts, return_exceptions=True)
    await source.claim(10)
    assert store.reported == [{}, {"ada": 2, "bob": 1}, {"ada": 2, "bob": 1}, {}]


async def test_a_delivery_that_is_claimed_twice_counts_once() -> None:
    again = claimed("a1", "ada")
    store = ScriptedDeliveries([again], [again])

    async def deliver(_: ClaimedDelivery) -> None: ...

    source = DeliverySource(partial_stores(deliveries=store).deliveries, LEASE, deliver)
    await source.claim(10)
    await source.claim(10)
    await source.handle(again)
    await source.claim(10)
    assert store.reported == [{}, {"ada": 1}, {}]
