"""Redis Sentinel: a connection pool to the current master, and notice when it is replaced.

During a planned fail-over the old master accepts writes that no other server receives: from the
promotion of a replica until it is made a replica itself, which takes ten seconds and more. A
connection to it must therefore end as soon as a Sentinel begins a fail-over, or names another one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis, Sentinel, SentinelConnectionPool, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import RedisError

from core.settings.definitions import RedisPolicy

POLL_INTERVAL: Final = timedelta(seconds=1)
"""How often the master is read from the Sentinels; their events come earlier."""
RESUBSCRIBE_DELAY: Final = timedelta(seconds=1)
_ALL_EVENTS: Final = "*"
"""`+switch-master` comes last in a fail-over: earlier ones are needed, and all are rare."""
_ERRORS: Final = (RedisError, OSError, TimeoutError)

Address = tuple[str, int]
MasterState = Mapping[str, Any]
"""What one Sentinel knows of the master, as redis-py parses it."""


def choose_master(states: Sequence[MasterState]) -> Address | None:
    """Return the master's address by the newest configuration; None while there is no usable one.

    Only the Sentinel that leads a fail-over shows `failover_in_progress`, so one is enough.
    """
    if any("failover_in_progress" in state["flags"] for state in states):
        return None
    usable = [s for s in states if s["is_master"] and not s["is_sdown"] and not s["is_odown"]]
    if not usable:
        return None
    newest = max(usable, key=lambda state: int(state["config-epoch"]))
    return str(newest["ip"]), int(newest["port"])


def is_replaced(current: Address, states: Sequence[MasterState]) -> bool:
    """Return whether a connection to `current` must end.

    It is kept while no Sentinel answers, or if they only fail to reach the master themselves.
    """
    if any("failover_in_progress" in state["flags"] for state in states):
        return True
    return choose_master(states) not in {None, current}


class MasterSentinel(Sentinel):
    """redis-py's Sentinel, reading from all Sentinels: the first one's answer may be outdated."""

    async def discover_master(self, service_name: str) -> Address:
        """Return the master's address. Raises `MasterNotFoundError`."""
        master = choose_master(await self.read_states(service_name))
        if master is None:
            raise MasterNotFoundError(f"No master found for {service_name!r}")
        return master

    async def read_states(self, service_name: str) -> Sequence[MasterState]:
        """Return the answer of each Sentinel that knows the master."""
        answers = await asyncio.gather(
            *(client.execute_command("SENTINEL MASTERS") for client in self.sentinels),  # type: ignore[no-untyped-call]  # redis-py 5
            return_exceptions=True,
        )
        return [
            answer[service_name]
            for answer in answers
            if isinstance(answer, dict) and service_name in answer
        ]


def build_sentinel_pool(policy: RedisPolicy, options: dict[str, Any]) -> ConnectionPool:
    """Return a pool whose connections go to the current master of `policy`.

    Login, database and TLS files come from the URL; a `rediss://` URL means TLS to the Sentinels
    as well. `options` are redis-py's options of every connection.
    """
    template = ConnectionPool.from_url(policy.url.get_secret_value())
    known = dict(template.connection_kwargs)
    uses_tls = template.connection_class is SSLConnection
    login = {name: known.pop(name) for name in ("db", "username", "password") if name in known}
    for address_part in ("host", "port"):
        known.pop(address_part, None)
    shared = {**known, **options, **({"ssl": True} if uses_tls else {})}
    password = policy.sentinel_password
    sentinel: Any = MasterSentinel(  # type: ignore[no-untyped-call]  # redis-py 5 leaves it untyped
        list(policy.sentinels),
        sentinel_kwargs={
            **{name: value for name, value in shared.items() if name != "redis_connect_func"},
            "username": policy.sentinel_username,
            "password": None if password is None else password.get_secret_value(),
        },
    )
    pool: ConnectionPool = sentinel.master_for(policy.master, **shared, **login).connection_pool
    return pool


@asynccontextmanager
async def watched_master(
    source: object, connection: AbstractConnection, on_replaced: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Call `on_replaced` once if a Sentinel names another master than the one of `connection`.

    Does nothing for a `source` without Sentinel.
    """
    if not isinstance(source, SentinelConnectionPool):
        yield
        return
    watching = asyncio.create_task(_watch(source, _address_of(connection), on_replaced))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _address_of(connection: Any) -> Address:  # noqa: ANN401 - redis-py's managed connection
    return str(connection.host), int(connection.port)


async def _watch(
    source: SentinelConnectionPool, current: Address, on_replaced: Callable[[], Awaitable[None]]
) -> None:
    switched = asyncio.Event()
    listening = [
        asyncio.create_task(_listen(client, switched))
        for client in source.sentinel_manager.sentinels
    ]
    try:
        while not is_replaced(current, await _read_states(source)):
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL.total_seconds()):
                    await switched.wait()
            switched.clear()
        await on_replaced()
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def _read_states(source: SentinelConnectionPool) -> Sequence[MasterState]:
    states: Sequence[MasterState] = await source.sentinel_manager.read_states(source.service_name)
    return states


async def _listen(client: Redis, switched: asyncio.Event) -> None:
    """Set `switched` at each event of this Sentinel, until cancelled."""
    while True:
        try:
            async with client.pubsub() as messages:
                await messages.psubscribe(_ALL_EVENTS)
                while True:
                    if await messages.get_message(timeout=POLL_INTERVAL.total_seconds()):
                        switched.set()
        except _ERRORS:
            await asyncio.sleep(RESUBSCRIBE_DELAY.total_seconds())  # noqa: TID251 - no rule depends on this time
