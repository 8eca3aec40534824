"""Events in the streams of a second Redis: one that is away, one that wants TLS and a login."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from core.clock import SystemClock
from core.ids import SystemIds
from core.settings import RedisPolicy
from core.store import keys
from core.store.client import Wire, connection_source
from core.store.deliveries import DeliveryStore
from core.store.event_streams import FIELD, SinkPolicy, StreamSinks
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import SetupChange, WebhookStore
from core.tenants.api_keys import KeyRecord
from core.tenants.tenant import Tenant
from core.transactions.notifications import jobless_notice
from core.webhooks.circuit_breaker import ChannelPolicy
from core.webhooks.delivery import DeliveryState, EventType
from core.webhooks.endpoint import Endpoint, EndpointKind, channel_of_endpoint
from simulator.private_redis import PrivateRedis, private_redis
from tests.bench.couriers import TENANT, couriers, running
from tests.integration.test_webhook_sender import Authority
from tests.integration.tls_front import tls_before
from worker.composition import open_resources
from worker.settings import WorkerSettings
from worker.webhooks.delivery_worker import CourierPolicy
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
QUICK: Final = CourierPolicy(
    SchedulePolicy(waits=(timedelta(), *[timedelta(milliseconds=200)] * 30)),
    ChannelPolicy(
        first_pause=timedelta(milliseconds=100), longest_pause=timedelta(milliseconds=400)
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
async def wired(url: str) -> AsyncIterator[Wire]:
    """A connection of the test's own."""
    async with Wire(connection_source(policy_of(url), "test")) as wire:
        yield wire


@dataclass(frozen=True)
class Team:
    """A tenant whose events go to a stream, and what became of them."""

    wire: Wire
    setups: WebhookStore
    outbox: DeliveryStore
    endpoint: Endpoint

    async def post(self, count: int) -> list[str]:
        """So many events, due now."""
        setup = await self.setups.load(TENANT)
        assert setup is not None
        made = []
        for number in range(count):
            now = SystemClock().now()
            named = (SystemIds().delivery_id(now), now)
            data = json.dumps({"number": number})
            made.append(jobless_notice(setup, self.endpoint, EventType.TEST, data, named))
        for delivery in made:
            await self.outbox.post(None, delivery)
        return [delivery.id for delivery in made]

    async def read(self, delivery_id: str) -> Delivery:
        """One of them."""
        found = await self.outbox.load(delivery_id)
        assert found is not None
        return found

    async def arrived(self, ids: list[str]) -> list[Delivery]:
        """All of them, once they are delivered."""

        async def look() -> list[Delivery] | None:
            rows = [await self.read(name) for name in ids]
            done = all(row.state is DeliveryState.DELIVERED for row in rows)
            return rows if done else None

        rows: list[Delivery] = await eventually(look)
        return rows

    async def outcomes(self, delivery_id: str) -> list[str]:
        """What its attempts met."""
        return [attempt.outcome for attempt in await self.outbox.attempts(delivery_id)]


async def eventually(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `look` finds
    """What `look` finds, once it finds something."""
    async with asyncio.timeout(SOON):
        while not (found := await look()):  # noqa: ASYNC110 - another server tells nobody
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def team_at(url: str, *, new: bool = True) -> AsyncIterator[Team]:
    """The tenant with the endpoint `stream:jobs@analytics`."""
    clock = SystemClock()
    async with wired(url) as wire:
        scripts = Scripts(wire, read_scripts())
        setups = WebhookStore(wire, scripts, clock)
        if new:
            key = KeyRecord("digest", TENANT, clock.now())
            await TenantStore(wire, scripts, clock).create(Tenant(TENANT, clock.now()), key)
        before = await setups.load(TENANT)
        assert before is not None
        stream = Endpoint("ep_1", "stream:jobs@analytics", clock.now(), EndpointKind.STREAM)
        assert await setups.change(SetupChange(before, before.adding(stream)))
        yield Team(wire, setups, DeliveryStore(wire, scripts, clock), stream)


async def events_in(wire: Wire) -> list[dict[str, Any]]:
    """The stream's CloudEvents."""
    entries = await wire.execute("XRANGE", keys.sink(TENANT, "jobs"), "-", "+")
    assert all(fields[0] == FIELD.encode() for _, fields in entries)
    return [json.loads(fields[1]) for _, fields in entries]


async def test_a_second_redis_that_goes_and_comes_back_gets_every_event(
    redis_flushed: str, other_redis: PrivateRedis
) -> None:
    async with (
        wired(redis_flushed) as own,
        wired(other_redis.url) as other,
        couriers(
            redis_flushed, 20, QUICK, StreamSinks(own, {"analytics": other}, SinkPolicy())
        ) as (_, loop),
        team_at(redis_flushed, new=False) as team,
        running(loop),
    ):
        (first,) = await team.arrived(await team.post(1))
        other_redis.kill()
        ids = await team.post(5)

        async def broken() -> bool:
            return (await team.outbox.channel(channel_of_endpoint(TENANT, "ep_1"))).broken

        await eventually(broken)
        tried = sum([len(await team.outcomes(name)) for name in ids])
        other_redis.start()
        rows = await team.arrived(ids)
        assert not (await team.outbox.channel(rows[0].channel)).broken
        written = await events_in(other)
        assert await own.execute("EXISTS", keys.sink(TENANT, "jobs")) == 0

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
        wired(redis_flushed) as own,
        wired(other_redis.url) as other,
        couriers(
            redis_flushed, 20, QUICK, StreamSinks(own, {"analytics": other}, SinkPolicy())
        ) as (_, loop),
        team_at(redis_flushed, new=False) as team,
    ):
        here = Endpoint("ep_2", "stream:here", SystemClock().now(), EndpointKind.STREAM)
        before = await team.setups.load(TENANT)
        assert before is not None
        assert await team.setups.change(SetupChange(before, before.adding(here)))
        os.kill(other_redis.pid, signal.SIGSTOP)
        try:
            ids = await team.post(50)
            beside = Team(team.wire, team.setups, team.outbox, here)
            async with running(loop):
                began = SystemClock().monotonic()
                await beside.arrived(await beside.post(20))
                took = SystemClock().monotonic() - began
                os.kill(other_redis.pid, signal.SIGCONT)
                await team.arrived(ids)
        finally:
            os.kill(other_redis.pid, signal.SIGCONT)
        written = await events_in(other)
    assert took < timedelta(seconds=1.5)
    assert {event["id"] for event in written} == set(ids)  # some perhaps twice, under one id


# --- addresses with a login


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that the machine does not trust."""
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.found()
    return made


@dataclass(frozen=True)
class Locked:
    """A Redis that writes only for `sink` with its password, and speaks TLS at a second port."""

    server: PrivateRedis
    tls_port: int

    @property
    def plain(self) -> str:
        """Its address without TLS or login."""
        return f"127.0.0.1:{self.server.port}/0"


@pytest.fixture(scope="module")
def locked(authority: Authority) -> Iterator[Locked]:
    """One, whose certificate is for `localhost`."""
    authority.server("DNS:localhost")
    folder = authority.folder
    pair = {"certificate": folder / "DNS_localhost.pem", "key": folder / "DNS_localhost.key"}
    options = tuple(word for user in USERS for word in ("--user", *user.split()))
    with private_redis(options=options) as server, tls_before(server.port, **pair) as port:
        yield Locked(server, port)


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
class Tried:
    """What one attempt at a sink came to, and everything that was said."""

    delivery: Delivery
    outcomes: list[str]
    said: str


async def tried_at(
    url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Tried:
    """One event for a sink, by a worker's own parts as its settings make them."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    monkeypatch.setenv("GATEWAY_RUNCOMFY_TOKEN", "unused")
    monkeypatch.setenv("GATEWAY_RUNCOMFY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_SINKS", json.dumps({"analytics": url}))
    monkeypatch.chdir(folder)
    settings, events = WorkerSettings(), _none()
    async with team_at(redis_url) as team, open_resources(settings, events.append) as parts:
        (name,) = await team.post(1)
        async with running(parts.courier):  # type: ignore[arg-type]  # a test only runs it

            async def made() -> list[str]:
                return await team.outcomes(name)

            outcomes = await eventually(made)
            delivery = await team.read(name)
        attempts = await team.outbox.attempts(name)
    return Tried(delivery, outcomes, f"{events} {attempts} {settings!r} {settings} {delivery}")


def _none() -> list[Event]:
    return []


def address(template: str, locked: Locked, authority: Authority) -> str:
    """A template filled in."""
    ca = authority.folder / "ca.pem"
    return template.format(password=IN_URL, plain=locked.plain, tls=locked.tls_port, ca=ca)


@pytest.fixture
def tried(
    locked: Locked,
    authority: Authority,
    redis_flushed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[str], Awaitable[Tried]]:
    """Tries a sink by its address' template; whatever comes of it, no password is told."""

    async def try_at(template: str) -> Tried:
        url = address(template, locked, authority)
        tried = await tried_at(url, redis_flushed, monkeypatch, tmp_path)
        assert PASSWORD not in tried.said
        assert IN_URL not in tried.said
        return tried

    return try_at


@pytest.mark.parametrize("template", WORKS.values(), ids=WORKS.keys())
async def test_a_sink_s_address_may_ask_for_tls_and_hold_a_login(
    template: str,
    locked: Locked,
    authority: Authority,
    tried: Callable[[str], Awaitable[Tried]],
) -> None:
    it = await tried(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.DELIVERED, ["delivered"])
    async with wired(address(WORKS["a login"], locked, authority)) as wire:
        assert it.delivery.id in [event["id"] for event in await events_in(wire)]


@pytest.mark.parametrize("template", FAILS.values(), ids=FAILS.keys())
async def test_a_sink_that_cannot_be_had_fails_the_attempt_and_tells_no_password(
    template: str, tried: Callable[[str], Awaitable[Tried]]
) -> None:
    it = await tried(template)
    assert (it.delivery.state, it.outcomes) == (DeliveryState.PENDING, ["connect_error"])
