"""What all processes share: tenants, the breaker, the catalogue, signs of life."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from core.circuit_breaker import Breaker, BreakerPolicy, BreakerState
from core.store.model_catalogue import CatalogueSnapshot
from core.tenants.api_keys import KeyRecord
from core.tenants.cache_policy import CacheMode, ReusePolicy
from core.tenants.tenant import DoubtPolicy, Tenant
from tests.contract.orders import SECOND, credential

if TYPE_CHECKING:
    from tests.contract.subjects import Subject

POLICY = BreakerPolicy()
SHARING = ReusePolicy(CacheMode.OFF, timedelta(hours=36), shared=True, promote=True)


async def test_a_tenant_is_kept_as_it_was_given(subject: Subject) -> None:
    now = subject.clock.now()
    tenant = Tenant(
        "cyd", now, "https://cyd.test/h", ("whsec_x",), doubt=DoubtPolicy.FAIL, reuse=SHARING
    )
    assert await subject.tenants.create(tenant, KeyRecord("digest-cyd", "cyd", now))
    assert await subject.tenants.load("cyd") == tenant
    assert await subject.tenants.names() == {"ada", "bob", "cyd"}
    await subject.jobs.authenticate(credential("cyd"))


async def test_a_taken_name_is_left_as_it_is(subject: Subject) -> None:
    before = await subject.tenants.load("ada")
    other = Tenant("ada", subject.clock.now(), webhook="https://other.test/")
    key = KeyRecord("digest-other", "ada", subject.clock.now())
    assert not await subject.tenants.create(other, key)
    assert await subject.tenants.load("ada") == before


async def test_what_a_tenant_may_share_changes_and_is_taken_back(subject: Subject) -> None:
    before = await subject.tenants.load("ada")
    assert before is not None
    for reuse in (SHARING, replace(SHARING, shared=False, cache=None), ReusePolicy()):
        after = replace(before, reuse=reuse, version=before.version + 1)
        assert await subject.tenants.change(before, after)
        assert await subject.tenants.load("ada") == after
        before = after


async def test_an_unknown_tenant_is_not_there(subject: Subject) -> None:
    assert await subject.tenants.load("nobody") is None


async def test_a_breaker_that_was_never_written_is_closed(subject: Subject) -> None:
    assert await subject.breakers.load() == Breaker()


async def test_of_many_swaps_of_one_version_exactly_one_wins(subject: Subject) -> None:
    before, now = await subject.breakers.load(), subject.clock.now()
    nexts = [before.refused(f"worker {number}", now, POLICY) for number in range(20)]
    won = await asyncio.gather(*(subject.breakers.swap(before, after) for after in nexts))
    assert won.count(True) == 1
    assert await subject.breakers.load() == nexts[won.index(True)]


async def test_an_old_breaker_swaps_nothing(subject: Subject) -> None:
    first, now = await subject.breakers.load(), subject.clock.now()
    opened = first.refused("402", now, POLICY)
    assert await subject.breakers.swap(first, opened)
    assert not await subject.breakers.swap(first, first.throttled(SECOND, now, POLICY))
    assert await subject.breakers.swap(opened, opened.succeeded())
    assert (await subject.breakers.load()).state is BreakerState.CLOSED


async def test_a_catalogue_that_was_never_read_is_empty_and_has_no_age(subject: Subject) -> None:
    assert await subject.catalogue.synced_at() is None
    assert await subject.catalogue.load() == CatalogueSnapshot()


async def test_a_new_catalogue_takes_the_place_of_the_last_one(subject: Subject) -> None:
    now = subject.clock.now()
    first = CatalogueSnapshot(now, {"a/b": b'{"x":1}', "c/d": b"{}"}, b"[]")
    await subject.catalogue.replace(first)
    assert await subject.catalogue.load() == first
    second = CatalogueSnapshot(now + SECOND, {"a/b": b'{"x":2}'}, None)
    await subject.catalogue.replace(second)
    assert await subject.catalogue.load() == second
    assert await subject.catalogue.synced_at() == now + SECOND


async def test_the_last_sign_of_life_is_seen_until_its_worker_leaves(subject: Subject) -> None:
    assert await subject.presence.last_seen() is None
    await subject.presence.sign("one")
    seen = subject.clock.now()
    subject.clock.move(SECOND)
    await subject.presence.sign("two")
    assert await subject.presence.last_seen() == seen + SECOND
    await subject.presence.leave("two")
    assert await subject.presence.last_seen() == seen
    await subject.presence.leave("one")
    assert await subject.presence.last_seen() is None


async def test_a_worker_unseen_for_an_hour_is_forgotten(subject: Subject) -> None:
    await subject.presence.sign("one")
    subject.clock.move(timedelta(hours=1))
    await subject.presence.sign("two")
    await subject.presence.leave("two")
    assert await subject.presence.last_seen() is None


async def test_the_store_says_how_safe_it_is(subject: Subject) -> None:
    durability = await subject.presence.durability()
    assert durability == replace(durability, aof=True, maxmemory_policy="noeviction")
