"""What all processes share: tenants, circuit breaker, catalogue, worker heartbeats."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from core.models.changes import ModelChange, ModelChangeKind
from core.models.pins import pin_model
from core.store.model_catalogue import CatalogueSnapshot
from core.tenants.api_keys import ApiKey
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.tenant import DoubtPolicy, Tenant
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, Circuits, model_circuit
from core.webhooks.config import initial_config
from tests.support.backends import StoreBackend
from tests.support.store_steps import SECOND, tenant_credential

POLICY = BreakerPolicy()
SHARING = TenantCachePolicy(CacheMode.OFF, timedelta(hours=36), shared=True, promote=True)


async def test_a_tenant_is_kept_as_it_was_given(backend: StoreBackend) -> None:
    now = backend.clock.now()
    tenant = Tenant("cyd", now, doubt=DoubtPolicy.FAIL, cache_policy=SHARING)
    config = initial_config("cyd", "https://cyd.test/h", "whsec_x", now)
    assert await backend.tenants.create(tenant, ApiKey("digest-cyd", "cyd", now), config)
    assert await backend.webhook_configs.load("cyd") == config
    assert await backend.tenants.load("cyd") == tenant
    assert await backend.tenants.list_names() == {"ada", "bob", "cyd"}
    await backend.jobs.authenticate(tenant_credential("cyd"))


async def test_a_taken_name_is_left_as_it_is(backend: StoreBackend) -> None:
    before = await backend.tenants.load("ada")
    config = await backend.webhook_configs.load("ada")
    other = Tenant("ada", backend.clock.now(), disabled=True)
    other_config = initial_config("ada", "https://other.test/", "whsec_x", backend.clock.now())
    key = ApiKey("digest-other", "ada", backend.clock.now())
    assert not await backend.tenants.create(other, key, other_config)
    assert await backend.tenants.load("ada") == before
    assert await backend.webhook_configs.load("ada") == config


async def test_what_a_tenant_may_share_changes_and_is_taken_back(backend: StoreBackend) -> None:
    before = await backend.tenants.load("ada")
    assert before is not None
    for reuse in (SHARING, replace(SHARING, shared=False, cache=None), TenantCachePolicy()):
        after = replace(before, cache_policy=reuse, version=before.version + 1)
        assert await backend.tenants.change(before, after)
        assert await backend.tenants.load("ada") == after
        before = after


async def test_an_unknown_tenant_is_not_there(backend: StoreBackend) -> None:
    assert await backend.tenants.load("nobody") is None


REASON = BreakerReason.ACCOUNT_REFUSED


async def test_breakers_that_were_never_written_are_closed(backend: StoreBackend) -> None:
    assert await backend.circuit_breakers.load("a/b") == Circuits("a/b")
    assert await backend.circuit_breakers.load_all() == {}


async def test_each_breaker_is_stored_by_itself(backend: StoreBackend) -> None:
    store, opened = backend.circuit_breakers, {}
    for name in (ACCOUNT, BALANCE, model_circuit("a/b"), model_circuit("c/d")):
        opened[name] = CircuitBreaker().record_failure(name, backend.clock.now(), POLICY)
        assert await store.compare_and_set(name, CircuitBreaker(), opened[name])
    assert await store.load_all() == opened
    assert (await store.load("c/d")).named() == {
        name: breaker for name, breaker in opened.items() if name != model_circuit("a/b")
    }
    assert await store.compare_and_set(ACCOUNT, opened[ACCOUNT], opened[ACCOUNT].record_success())
    assert await store.load_all() == {k: v for k, v in opened.items() if k != ACCOUNT}


async def test_of_many_writes_of_one_version_exactly_one_wins(backend: StoreBackend) -> None:
    before, now = CircuitBreaker(), backend.clock.now()
    nexts = [before.record_refusal(REASON, f"worker {n}", now, POLICY) for n in range(20)]
    won = await asyncio.gather(
        *(backend.circuit_breakers.compare_and_set(ACCOUNT, before, after) for after in nexts)
    )
    assert won.count(True) == 1
    assert (await backend.circuit_breakers.load("a/b")).account == nexts[won.index(True)]


async def test_an_old_breaker_replaces_nothing(backend: StoreBackend) -> None:
    first, now, store = CircuitBreaker(), backend.clock.now(), backend.circuit_breakers
    opened = first.record_refusal(REASON, "401", now, POLICY)
    assert await store.compare_and_set(ACCOUNT, first, opened)
    throttled = first.record_throttle(SECOND, now, POLICY)
    assert not await store.compare_and_set(ACCOUNT, first, throttled)
    assert await store.compare_and_set(ACCOUNT, opened, opened.record_success())
    assert (await store.load("a/b")).account.state is BreakerState.CLOSED


async def test_a_catalogue_that_was_never_read_is_empty_and_has_no_age(
    backend: StoreBackend,
) -> None:
    assert await backend.catalogue.synced_at() is None
    assert await backend.catalogue.load() == CatalogueSnapshot()


async def test_a_new_catalogue_replaces_the_last_one(backend: StoreBackend) -> None:
    now = backend.clock.now()
    first = CatalogueSnapshot(now, {"a/b": b'{"x":1}', "c/d": b"{}"}, b"[]")
    await backend.catalogue.replace(first)
    assert await backend.catalogue.load() == first
    second = CatalogueSnapshot(now + SECOND, {"a/b": b'{"x":2}'}, None)
    await backend.catalogue.replace(second)
    assert await backend.catalogue.load() == second
    assert await backend.catalogue.synced_at() == now + SECOND


async def test_a_sync_is_requested_until_the_next_one(backend: StoreBackend) -> None:
    now, catalogue = backend.clock.now(), backend.catalogue
    assert not await catalogue.is_sync_requested()
    await catalogue.request_sync(now)
    assert await catalogue.is_sync_requested()
    await catalogue.replace(CatalogueSnapshot(now + SECOND, {"a/b": b"{}"}))
    assert not await catalogue.is_sync_requested()
    await catalogue.request_sync(now + 2 * SECOND)
    assert await catalogue.is_sync_requested()
    assert (await catalogue.load()).models == {"a/b": b"{}"}


async def test_changes_of_the_catalogue_are_listed_newest_first(backend: StoreBackend) -> None:
    now, catalogue = backend.clock.now(), backend.catalogue
    first = ModelChange(now, "a b/c", ModelChangeKind.ADDED)
    second = ModelChange(now + SECOND, "a b/c", ModelChangeKind.FIELD_NARROWED, "n", "maximum")
    for change in (first, second):
        await catalogue.append_change(change)
    assert await catalogue.list_changes(10) == [second, first]
    assert await catalogue.list_changes(1) == [second]


async def test_pins_are_kept_per_tenant_and_model(backend: StoreBackend) -> None:
    now, pins = backend.clock.now(), backend.model_pins
    entry = {"input_schema": {"properties": {"a": {"default": 1.5}}}, "base_price_usd": 0.1}
    for_all = pin_model("a b/c", entry, now, with_price=True)
    own = pin_model("a b/c", entry, now, "ads")
    other = pin_model("a/a", {}, now, "ads")
    for pin in (own, other, for_all):
        await pins.put(pin)
    assert await pins.list_all() == [for_all, own, other]
    newer = pin_model("a b/c", {}, now + SECOND, "ads")
    await pins.put(newer)
    assert await pins.list_all() == [for_all, newer, other]
    assert await pins.remove("ads", "a b/c")
    assert not await pins.remove("ads", "a b/c")
    assert await pins.list_all() == [for_all, other]


async def test_one_worker_syncs_on_request(backend: StoreBackend) -> None:
    minute = 60 * SECOND
    claims = [await backend.catalogue.claim_requested_sync(minute) for _ in range(3)]
    assert claims == [True, False, False]


async def test_the_last_heartbeat_is_seen_until_its_worker_leaves(backend: StoreBackend) -> None:
    assert await backend.heartbeats.last_seen() is None
    await backend.heartbeats.record("one")
    seen = backend.clock.now()
    backend.clock.move(SECOND)
    await backend.heartbeats.record("two")
    assert await backend.heartbeats.last_seen() == seen + SECOND
    await backend.heartbeats.remove("two")
    assert await backend.heartbeats.last_seen() == seen
    await backend.heartbeats.remove("one")
    assert await backend.heartbeats.last_seen() is None


async def test_a_worker_unseen_for_an_hour_is_forgotten(backend: StoreBackend) -> None:
    await backend.heartbeats.record("one")
    backend.clock.move(timedelta(hours=1))
    await backend.heartbeats.record("two")
    await backend.heartbeats.remove("two")
    assert await backend.heartbeats.last_seen() is None


async def test_the_store_reports_its_durability(backend: StoreBackend) -> None:
    durability = await backend.heartbeats.load_durability()
    assert durability == replace(durability, aof=True, maxmemory_policy="noeviction")
