"""Events in the streams of a second Redis: one that is away, one that wants TLS and a login."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from core.clock import SystemClock
from core.ids import SystemIds
from core.settings import RedisPolicy
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from core.store.deliveries import DeliveryStore
from core.store.event_streams import EVENT_FIELD, EventStreams
from core.store.scripts import LuaScripts, load_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import WebhookConfigStore, WebhookConfigUpdate
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.transactions.notifications import system_delivery
from core.webhooks.circuit_breaker import EndpointCircuitPolicy
from core.webhooks.delivery import DeliveryState, WebhookEventType
from core.webhooks.endpoint import Endpoint, EndpointKind, queue_of_endpoint
from simulator.private_redis import PrivateRedis, private_redis
from tests.support.delivery_worker import TENANT, delivery_worker, running_loop
from tests.support.tls import CertificateAuthority, tls_proxy
from worker.composition import open_worker_components
from worker.settings import WorkerSettings
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.retry_schedule import SchedulePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from core.observability.events import Event
    from core.webhooks.delivery import Delivery

PASSWORD: Final = "p@ss/w:rd#?%"
IN_URL: Final = "p%40ss%2Fw%3Ard%23%3F%25"
USERS: Final = (
    "default on nopass resetkeys resetchannels -@all +ping",
    f"sink on >{PASSWORD} ~gw:sink:* -@all +xadd +xrange +client",
)
SOON: Final = 10.0
QUICK: Final = DeliveryRules(
    Random(1),
    SchedulePolicy(delays=(timedelta(), *[timedelta(milliseconds=200)] * 30)),
    EndpointCircuitPolicy(
        initial_pause=timedelta(milliseconds=100), max_pause=timedelta(milliseconds=400)
    ),
)


@pytest.fixture
def other_redis() -> Iterator[PrivateRedis]:
    """The second one."""
    with private_redis() as server:
        yield server


def policy_of(url: str) -> RedisPolicy:
    """Impatient."""
    second = timedelta(seconds=1)
    return RedisPolicy(SecretStr(url), (), "", second, second)


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[RedisClient]:
    """A connection of the test's own."""
    async with RedisClient(build_connection_pool(policy_of(url), "test")) as wire:
        yield wire


@dataclass(frozen=True)
class StreamTenant:
    """A tenant whose events go to a stream, and what became of them."""

    wire: RedisClient
    webhook_configs: WebhookConfigStore
    outbox: DeliveryStore
    endpoint: Endpoint

    async def enqueue(self, count: int) -> list[str]:
        """So many events, due now."""
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
        """One of them."""
        found = await self.outbox.load(delivery_id)
        assert found is not None
        return found

    async def stream_entries(self, ids: list[str]) -> list[Delivery]:
        """All of them, once they are delivered."""

        async def look() -> list[Delivery] | None:
            rows = [await self.read(name) for name in ids]
            done = all(row.state is DeliveryState.DELIVERED for row in rows)
            return rows if done else None

        rows: list[Delivery] = await poll_until(look)
        return rows

    async def outcomes(self, delivery_id: str) -> list[str]:
        """What its attempts met."""
        return [attempt.outcome for attempt in await self.outbox.list_attempts(delivery_id)]


async def poll_until(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `look` finds
    """What `look` finds, once it finds something."""
    async with asyncio.timeout(SOON):
        while not (found := await look()):  # noqa: ASYNC110 - another server tells nobody
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def tenant_with_stream(url: str, *, new: bool = True) -> AsyncIterator[StreamTenant]:
    """The tenant with the endpoint `stream:jobs@analytics`."""
    clock = SystemClock()
    async with open_client(url) as wire:
        scripts = LuaScripts(wire, load_scripts())
        setups = WebhookConfigStore(wire, scripts, clock)
        if new:
            key = ApiKey("digest", TENANT, clock.now())
            await TenantStore(wire, scripts, clock).create(Tenant(TENANT, clock.now()), key)
        before = await setups.load(TENANT)
        assert before is not None
        stream = Endpoint("ep_1", "stream:jobs@analytics", clock.now(), EndpointKind.STREAM)
        assert await setups.update(WebhookConfigUpdate(before, before.with_endpoint(stream)))
        yield StreamTenant(wire, setups, DeliveryStore(wire, scripts, clock), stream)


async def events_in(wire: RedisClient) -> list[dict[str, Any]]:
    """The stream's CloudEvents."""
    entries = await wire.execute("XRANGE", keys.event_stream(TENANT, "jobs"), "-", "+")
    assert all(fields[0] == EVENT_FIELD.encode() for _, fields in entries)
    return [json.loads(fields[1]) for _, fields in entries]


async def test_a_second_redis_that_goes_and_comes_back_gets_every_event(
    redis_flushed: str, other_redis: PrivateRedis
) -> None:
    async with (
        open_client(redis_flushed) as own,
        open_client(other_redis.url) as other,
        delivery_worker(redis_flushed, 20, QUICK, EventStreams(own, {"analytics": other})) as (
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


async def test_a_second_redis_that_hangs_delays_nobody_else(
    redis_flushed: str, other_redis: PrivateRedis
) -> None:
    assert other_redis.pid is not None
    async with (
        open_client(redis_flushed) as own,
        open_client(other_redis.url) as other,
        delivery_worker(redis_flushed, 20, QUICK, EventStreams(own, {"analytics": other})) as (
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
    assert took < timedelta(seconds=1.5)
    assert {event["id"] for event in written} == set(ids)  # some perhaps twice, under one id


# --- addresses with a login


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA that the machine does not trust."""
    made = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    made.create()
    return made


@dataclass(frozen=True)
class ProtectedRedis:
    """A Redis that writes only for `sink` with its password, and speaks TLS at a second port."""

    server: PrivateRedis
    tls_port: int

    @property
    def plain(self) -> str:
        """Its address without TLS or login."""
        return f"127.0.0.1:{self.server.port}/0"


@pytest.fixture(scope="module")
def protected(authority: CertificateAuthority) -> Iterator[ProtectedRedis]:
    """One, whose certificate is for `localhost`."""
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
    """What one attempt at a sink came to, and everything that was said."""

    delivery: Delivery
    outcomes: list[str]
    logged: str


async def attempt_delivery(
    url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> StreamAttempt:
    """One event for a sink, by a worker's own parts as its settings make them."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    monkeypatch.setenv("GATEWAY_RUNCOMFY_TOKEN", "unused")
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
    """A template filled in."""
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
    """Tries a sink by its address' template; whatever comes of it, no password is told."""

    async def try_at(template: str) -> StreamAttempt:
        url = address(template, protected, authority)
        tried = await attempt_delivery(url, redis_flushed, monkeypatch, tmp_path)
        assert PASSWORD not in tried.logged
        assert IN_URL not in tried.logged
        return tried

    return try_at


@pytest.mark.parametrize("template", WORKS.values(), ids=WORKS.keys())
async def test_a_sink_s_address_may_ask_for_tls_and_hold_a_login(
    template: str,
    protected: ProtectedRedis,
    authority: CertificateAuthority,
    attempt: Callable[[str], Awaitable[StreamAttempt]],
) -> None:
    it = await attempt(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.DELIVERED, ["delivered"])
    async with open_client(address(WORKS["a login"], protected, authority)) as wire:
        assert it.delivery.id in [event["id"] for event in await events_in(wire)]


@pytest.mark.parametrize("template", FAILS.values(), ids=FAILS.keys())
async def test_a_sink_that_cannot_be_had_fails_the_attempt_and_tells_no_password(
    template: str, attempt: Callable[[str], Awaitable[StreamAttempt]]
) -> None:
    it = await attempt(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.PENDING, ["connect_error"])
