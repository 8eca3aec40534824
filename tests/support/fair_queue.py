"""Fills a tenant's queue, for tests of the cost of many waiting jobs."""

from typing import Final

from core.store import keys
from core.store.client import RedisClient
from core.store.keys import LUA_NAMES

_FILL: Final = """
for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], 1e15 + 1e9 + i, 'req_filler' .. i) end
return redis.call('HINCRBY', KEYS[2], ARGV[2], ARGV[1])
"""


async def fill_queue(wire: RedisClient, tenant: str, model_id: str, count: int) -> None:
    """Add entries to the end of a tenant's queue.

    They have no records: a waiting job's record is read only when it gets a slot.
    """
    lane = f"{LUA_NAMES['queue_jobs']}{tenant}:{model_id}"
    await wire.execute("EVAL", _FILL, 2, lane, keys.WAITING, count, tenant)
