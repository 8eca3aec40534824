"""Events in the streams of a second Redis: one that is down, one with TLS and a login."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from core.clock import SystemClock
from core.ids import SystemIds
from core.observability.events import Event
from core.store import keys
from core.store.client import RedisClient
from core.store.deliveries import DeliveryStore
from core.store.event_streams import EVENT_FIELD, EventStreams
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from core.store.webhook_endpoints import WebhookConfigStore
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.transactions.webhook_deliveries import system_delivery
from core.webhooks.circuit_breaker import EndpointCircuitPolicy
from core.webhooks.delivery import Delivery, DeliveryState, WebhookEventType
from core.webhooks.endpoint import Endpoint, EndpointKind, queue_of_endpoint
from simulator.private_redis import PrivateRedis, private_redis
from tests.support.delivery_worker import TENANT, delivery_worker, running_loop
from tests.support.redis import redis_client
from tests.support.tls import CertificateAuthority, tls_proxy
from worker.composition import open_worker_components
from worker.settings import WorkerSettings
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.retry_schedule import SchedulePolicy

PASSWORD: Final = "p@ss/w:rd#?%"
IN_URL: Final = "p%40ss%2Fw%3Ard%23%3F%25"
USERS: Final = (
    "default on nopass resetkeys resetchannels -@all +ping",
    f"sink on >{PASSWORD} ~gw:events:* -@all +xadd +xrange +client",
)
SOON: Final = 60.0
REDIS_TIMEOUT: Final = timedelta(seconds=1)
LONG_REDIS_TIMEOUT: Final = timedelta(seconds=8)
"""How long a Redis that hangs may hold the delivery worker up."""
QUICK: Final = DeliveryRules(
    Random(1),
    SchedulePolicy(delays=(timedelta(), *[timedelta(milliseconds=200)] * 30)),
    EndpointCircuitPolicy(
        initial_pause=timedelta(milliseconds=100), max_pause=timedelta(milliseconds=400)
    ),
)


@pytest.fixture
def other_redis() -> Iterator[PrivateRedis]:
    """The second Redis."""
    with private_redis() as server:
        yield server


@dataclass(frozen=True)
class StreamTenant:
    """A tenant whose events go to a stream, with reads of their deliveries."""

    wire: RedisClient
    webhook_configs: WebhookConfigStore
    outbox: DeliveryStore
    endpoint: Endpoint

    async def enqueue(self, count: int) -> list[str]:
        """Enqueue events that are due now."""
        setup = await self.webhook_configs.load(TENANT)
        assert setup is not None
        made = []
        for number in range(count):
            now = SystemClock().now()
            named = (SystemIds().delivery_id(now), now)
            data = json.dumps({"number": number})
            made.append(system_delivery(setup, self.endpoint, WebhookEventType.TEST, data, named))
        for delivery in made:
            await self.outbox.enqueue(None, delivery)
        return [delivery.id for delivery in made]

    async def read(self, delivery_id: str) -> Delivery:
        """One delivery."""
        found = await self.outbox.load(delivery_id)
        assert found is not None
        return found

    async def stream_entries(self, ids: list[str]) -> list[Delivery]:
        """The deliveries, once all have succeeded."""

        async def look() -> list[Delivery] | None:
            rows = [await self.read(name) for name in ids]
            done = all(row.state is DeliveryState.DELIVERED for row in rows)
            return rows if done else None

        rows: list[Delivery] = await poll_until(look)
        return rows

    async def outcomes(self, delivery_id: str) -> list[str]:
        """The outcomes of its attempts."""
        return [attempt.outcome for attempt in await self.outbox.list_attempts(delivery_id)]


async def poll_until(poll: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `poll` returns
    """The first true result of `poll`."""
    async with asyncio.timeout(SOON):
        while not (found := await poll()):  # noqa: ASYNC110 - another server sends no event
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def tenant_with_stream(url: str, *, new: bool = True) -> AsyncIterator[StreamTenant]:
    """The tenant with the endpoint `stream:jobs@analytics`."""
    clock = SystemClock()
    async with redis_client(url) as wire:
        scripts = LuaScripts(wire, load_scripts())
        setups = WebhookConfigStore(wire, scripts, clock)
        if new:
            key = ApiKey("digest", TENANT, clock.now())
            await open_stores(wire, scripts, clock).tenants.create(Tenant(TENANT, clock.now()), key)
        before = await setups.load(TENANT)
        assert before is not None
        stream = Endpoint("ep_1", "stream:jobs@analytics", clock.now(), EndpointKind.STREAM)
        assert await setups.update(WebhookConfigUpdate(before, before.with_endpoint(stream)))
        yield StreamTenant(wire, setups, DeliveryStore(wire, scripts, clock), stream)


async def events_in(wire: RedisClient) -> list[dict[str, Any]]:
    """The CloudEvents in the stream."""
    entries = await wire.execute("XRANGE", keys.event_stream(TENANT, "jobs"), "-", "+")
    assert all(fields[0] == EVENT_FIELD.encode() for _, fields in entries)
    return [json.loads(fields[1]) for _, fields in entries]


async def test_a_second_redis_that_goes_and_comes_back_gets_every_event(
    redis_flushed: str, other_redis: PrivateRedis
) -> None:
    async with (
        redis_client(redis_flushed, REDIS_TIMEOUT) as own,
        redis_client(other_redis.url, REDIS_TIMEOUT) as other,
        delivery_worker(
            redis_flushed, 20, QUICK, EventStreams(own, {"analytics": other}, SystemClock())
        ) as (
            _,
            loop,
        ),
        tenant_with_stream(redis_flushed, new=False) as team,
        running_loop(loop),
    ):
        (first,) = await team.stream_entries(await team.enqueue(1))
        other_redis.kill()
        ids = await team.enqueue(5)

        async def broken() -> bool:
            return (await team.outbox.load_circuit(queue_of_endpoint(TENANT, "ep_1"))).is_open

        await poll_until(broken)
        tried = sum([len(await team.outcomes(name)) for name in ids])
        other_redis.start()
        rows = await team.stream_entries(ids)
        assert not (await team.outbox.load_circuit(rows[0].queue)).is_open
        written = await events_in(other)
        assert await own.execute("EXISTS", keys.event_stream(TENANT, "jobs")) == 0

        for name in ids:
            *failures, last = await team.outcomes(name)
            assert (set(failures) <= {"connect_error"}, last) == (True, "delivered")
    assert tried >= 3
    assert [event["id"] for event in written] == [first.id, *[e["id"] for e in written[1:]]]
    assert {event["id"] for event in written} == {first.id, *ids}
    assert len(written) == 6
    assert written[0] | {"time": ""} == {
        "specversion": "1.0",
        "id": first.id,
        "source": f"/tenants/{TENANT}",
        "type": "webhook.test",
        "time": "",
        "datacontenttype": "application/json",
        "data": {"number": 0},
    }


async def test_a_second_redis_that_hangs_delays_no_other_delivery(
    redis_flushed: str, other_redis: PrivateRedis
) -> None:
    assert other_redis.pid is not None
    async with (
        redis_client(redis_flushed, REDIS_TIMEOUT) as own,
        redis_client(other_redis.url, LONG_REDIS_TIMEOUT) as other,
        delivery_worker(
            redis_flushed, 20, QUICK, EventStreams(own, {"analytics": other}, SystemClock())
        ) as (
            _,
            loop,
        ),
        tenant_with_stream(redis_flushed, new=False) as team,
    ):
        here = Endpoint("ep_2", "stream:here", SystemClock().now(), EndpointKind.STREAM)
        before = await team.webhook_configs.load(TENANT)
        assert before is not None
        assert await team.webhook_configs.update(
            WebhookConfigUpdate(before, before.with_endpoint(here))
        )
        os.kill(other_redis.pid, signal.SIGSTOP)
        try:
            ids = await team.enqueue(50)
            beside = StreamTenant(team.wire, team.webhook_configs, team.outbox, here)
            async with running_loop(loop):
                began = SystemClock().monotonic()
                await beside.stream_entries(await beside.enqueue(20))
                took = SystemClock().monotonic() - began
                os.kill(other_redis.pid, signal.SIGCONT)
                await team.stream_entries(ids)
        finally:
            os.kill(other_redis.pid, signal.SIGCONT)
        written = await events_in(other)
    assert (
        took < 2 * LONG_REDIS_TIMEOUT
    )  # at most one timeout of the other Redis, not one a delivery
    assert {event["id"] for event in written} == set(ids)  # some may be there twice, with one id


# --- URLs with a login


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA that the machine does not trust."""
    made = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    made.create()
    return made


@dataclass(frozen=True)
class ProtectedRedis:
    """A Redis in which only the user `sink` may write, with TLS at a second port."""

    server: PrivateRedis
    tls_port: int

    @property
    def plain(self) -> str:
        """Its URL without TLS and login."""
        return f"127.0.0.1:{self.server.port}/0"


@pytest.fixture(scope="module")
def protected(authority: CertificateAuthority) -> Iterator[ProtectedRedis]:
    """A running one, whose certificate is for `localhost`."""
    authority.server("DNS:localhost")
    folder = authority.folder
    pair = {"certificate": folder / "DNS_localhost.pem", "key": folder / "DNS_localhost.key"}
    options = tuple(word for user in USERS for word in ("--user", *user.split()))
    with private_redis(options=options) as server, tls_proxy(server.port, **pair) as port:
        yield ProtectedRedis(server, port)


WORKS: Final = {
    "a login": "redis://sink:{password}@{plain}",
    "TLS and a login": "rediss://sink:{password}@localhost:{tls}/0?ssl_ca_certs={ca}",
}
FAILS: Final = {
    "no login": "redis://{plain}",
    "a wrong password": "redis://sink:{password}x@{plain}",
    "an unknown authority": "rediss://sink:{password}@localhost:{tls}/0",
    "another name": "rediss://sink:{password}@127.0.0.1:{tls}/0?ssl_ca_certs={ca}",
    "TLS where there is none": "rediss://sink:{password}@{plain}",
    "no TLS where there is": "redis://sink:{password}@localhost:{tls}/0",
    "nobody": "redis://sink:{password}@127.0.0.1:1/0",
    "a missing file": "rediss://sink:{password}@localhost:{tls}/0?ssl_ca_certs=/nowhere.pem",
}


@dataclass(frozen=True)
class StreamAttempt:
    """The outcome of one attempt at a stream, and everything that was logged."""

    delivery: Delivery
    outcomes: list[str]
    logged: str


async def attempt_delivery(
    url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> StreamAttempt:
    """Write one event with a worker's components, built from its settings."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    monkeypatch.setenv("GATEWAY_RUNCOMFY_TOKEN", "unused")
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", "off")
    monkeypatch.setenv("GATEWAY_RUNCOMFY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_SINKS", json.dumps({"analytics": url}))
    monkeypatch.chdir(folder)
    settings, events = WorkerSettings(), _none()
    async with (
        tenant_with_stream(redis_url) as team,
        open_worker_components(settings, events.append) as parts,
    ):
        (name,) = await team.enqueue(1)
        async with running_loop(parts.delivery_loop):  # type: ignore[arg-type]  # a test only runs it

            async def made() -> list[str]:
                return await team.outcomes(name)

            outcomes = await poll_until(made)
            delivery = await team.read(name)
        attempts = await team.outbox.list_attempts(name)
    return StreamAttempt(
        delivery, outcomes, f"{events} {attempts} {settings!r} {settings} {delivery}"
    )


def _none() -> list[Event]:
    return []


def address(template: str, protected: ProtectedRedis, authority: CertificateAuthority) -> str:
    """The URL that a template gives for this Redis."""
    ca = authority.folder / "ca.pem"
    return template.format(password=IN_URL, plain=protected.plain, tls=protected.tls_port, ca=ca)


@pytest.fixture
def attempt(
    protected: ProtectedRedis,
    authority: CertificateAuthority,
    redis_flushed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[str], Awaitable[StreamAttempt]]:
    """Tries a stream by its URL's template; checks that no password is logged."""

    async def try_at(template: str) -> StreamAttempt:
        url = address(template, protected, authority)
        tried = await attempt_delivery(url, redis_flushed, monkeypatch, tmp_path)
        assert PASSWORD not in tried.logged
        assert IN_URL not in tried.logged
        return tried

    return try_at


@pytest.mark.parametrize("template", WORKS.values(), ids=WORKS.keys())
async def test_a_stream_s_url_may_name_tls_and_a_login(
    template: str,
    protected: ProtectedRedis,
    authority: CertificateAuthority,
    attempt: Callable[[str], Awaitable[StreamAttempt]],
) -> None:
    it = await attempt(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.DELIVERED, ["delivered"])
    async with redis_client(address(WORKS["a login"], protected, authority)) as wire:
        assert it.delivery.id in [event["id"] for event in await events_in(wire)]


@pytest.mark.parametrize("template", FAILS.values(), ids=FAILS.keys())
async def test_an_unreachable_stream_fails_the_attempt_and_logs_no_password(
    template: str, attempt: Callable[[str], Awaitable[StreamAttempt]]
) -> None:
    it = await attempt(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.PENDING, ["connect_error"])
