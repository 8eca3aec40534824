"""arq's side of the worker: answers the doorbell. Knows arq's calling convention; decides nothing.

arq is at-least-once, and in maintenance mode only: nothing here is relied on for safety. A ring
that is lost or doubled costs latency; the record's version decides who acts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import orjson
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Worker, func

from core.clock import Clock
from core.store.client import STORE_ERRORS
from core.store.keys import BELL
from core.store.wake_queue import ADVANCE

Answer = Callable[[str, int], Awaitable[None]]
_CONTEXT_KEY: Final = "answer"


class PoolSource(Protocol):
    """Makes the connection pool that arq works on."""

    def __call__(self) -> ArqRedis:
        """A new, unconnected client."""
        ...


@dataclass(frozen=True, slots=True)
class BellPolicy:
    """How arq listens. `ring_timeout` bounds how long a message counts as being answered."""

    at_once: int = 100
    poll_every: timedelta = timedelta(milliseconds=50)
    read_limit: int = 2000
    """Above all that can be in progress or orphaned at once, or new ones would not be seen."""
    ring_timeout: timedelta = timedelta(seconds=60)
    pause: timedelta = timedelta(milliseconds=500)


async def advance(context: dict[str, Any], job_id: str, version: int) -> None:
    """The one arq function: somebody rang for a job."""
    answer: Answer = context[_CONTEXT_KEY]
    await answer(job_id, version)


class Bell:
    """Listens to the doorbell until it is stopped. A Redis that is away ends nothing."""

    def __init__(self, pool: PoolSource, answer: Answer, policy: BellPolicy, clock: Clock) -> None:
        """`answer` is called with the id and version of each message."""
        self._pool = pool
        self._answer = answer
        self._policy = policy
        self._clock = clock
        self._listener: _Listener | None = None

    async def run(self) -> None:
        """Listen for ever.

        A listener that lost Redis is retired, since arq's counters leak then.
        """
        while True:
            listener = self._listener = self._open()
            try:
                await listener.async_run()
            except STORE_ERRORS:
                await self._clock.sleep(self._policy.pause)
            finally:
                await listener.retire()

    def _open(self) -> "_Listener":
        return _Listener(
            functions=[
                func(
                    advance,  # type: ignore[arg-type]  # arq types the context as a plain dict
                    name=ADVANCE,
                    keep_result=0,
                    timeout=self._policy.ring_timeout.total_seconds(),
                    max_tries=1,
                )
            ],
            queue_name=BELL,
            redis_pool=self._pool(),
            handle_signals=False,
            max_jobs=self._policy.at_once,
            poll_delay=self._policy.poll_every.total_seconds(),
            queue_read_limit=self._policy.read_limit,
            keep_result=0,
            max_tries=1,
            retry_jobs=False,
            health_check_interval=15,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            log_results=False,
            ctx={_CONTEXT_KEY: self._answer},
        )


class _Listener(Worker):
    """arq's worker with its shutdown mended.

    arq gathers its cancelled tasks without `return_exceptions`: the first one ends the process, and
    every claim of the others stays locked until its key expires.
    """

    async def retire(self) -> None:
        """Stop, and unlock what was claimed and not finished."""
        self.allow_pick_jobs = False
        unfinished = [name for name, task in self.tasks.items() if not task.done()]
        for task in self.tasks.values():
            task.cancel()
        if self.main_task is not None:
            self.main_task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        with suppress(*STORE_ERRORS):
            if unfinished:
                await self.pool.delete(*(in_progress_key_prefix + name for name in unfinished))
            await self.pool.delete(self.health_check_key)
        with suppress(*STORE_ERRORS):
            await self.pool.close(close_connection_pool=True)
