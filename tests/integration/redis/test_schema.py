"""A store that a newer release has written is refused by every process and command."""

from collections.abc import Iterator

import pytest

from core.errors import StoreUnavailable, StoreUnsupported
from core.store import keys
from core.store.identity import StoreIdentity
from core.store.schema import READS, WRITES
from core.store.scripts import LuaScripts, load_scripts
from simulator.private_redis import PrivateRedis
from tests.support.processes import run_gateway
from tests.support.redis import redis_client

NEWER = READS + 1
WORKER = {"GATEWAY_RUNCOMFY_TOKEN": "a-token", "GATEWAY_JOURNAL__URL": "off"}


@pytest.fixture(autouse=True)
def _emptied_afterwards(redis_server: PrivateRedis) -> Iterator[None]:
    """No later test can open a store of a newer release, not even to empty it."""
    yield
    redis_server.flush()


@pytest.mark.parametrize("words", [("serve",), ("work",), ("key", "list", "acme")])
async def test_a_newer_store_is_refused_with_one_line(
    redis_flushed: str, words: tuple[str, ...]
) -> None:
    async with redis_client(redis_flushed) as admin:
        await admin.execute("HSET", keys.STORE, "schema", NEWER)
    ran = run_gateway(redis_flushed, *words, **WORKER)
    assert ran.returncode == 2
    assert ran.stderr == (
        f"gateway: This Redis was written by a newer release (schema {NEWER}; this one reads "
        f"{READS}): use that release, or the one before it.\n"
    )


async def test_a_process_that_runs_is_refused_at_its_next_connection(redis_flushed: str) -> None:
    async with redis_client(redis_flushed) as client:
        await client.execute("HSET", keys.STORE, "schema", NEWER)
        await client.disconnect()
        with pytest.raises(StoreUnavailable):
            await client.execute("SET", "a", 1)
        with pytest.raises(StoreUnsupported, match="newer release"):
            await client.execute("SET", "a", 2)


async def test_the_schema_is_recorded_and_never_goes_down(redis_flushed: str) -> None:
    async with redis_client(redis_flushed) as client:
        identity = StoreIdentity(client, LuaScripts(client, load_scripts()))
        await identity.record_schema()
        assert await client.execute("HGET", keys.STORE, "schema") == str(WRITES).encode()
        assert await identity.load() is None
        await client.execute("HSET", keys.STORE, "schema", NEWER)
        await identity.record_schema()
        assert await client.execute("HGET", keys.STORE, "schema") == str(NEWER).encode()
