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
from core.store.keys import WAKE_QUEUE
from core.store.wake_queue import WAKE_FUNCTION

WakeHandler = Callable[[str, int], Awaitable[None]]
_CONTEXT_KEY: Final = "answer"


class PoolSource(Protocol):
    """Makes the connection pool that arq works on."""

    def __call__(self) -> ArqRedis:
        """A new, unconnected client."""
        ...


@dataclass(frozen=True, slots=True)
class WakeListenerPolicy:
    """How arq listens. `wake_timeout` bounds how long a message counts as being answered."""

    max_concurrency: int = 100
    poll_interval: timedelta = timedelta(milliseconds=50)
    max_read: int = 2000
    """Above all that can be in progress or orphaned at once, or new ones would not be seen."""
    wake_timeout: timedelta = timedelta(seconds=60)
    retry_delay: timedelta = timedelta(milliseconds=500)


async def handle_wake(context: dict[str, Any], job_id: str, version: int) -> None:
    """The one arq function: somebody rang for a job."""
    answer: WakeHandler = context[_CONTEXT_KEY]
    await answer(job_id, version)


class WakeListener:
    """Listens to the doorbell until it is stopped. A Redis that is away ends nothing."""

    def __init__(
        self, pool: PoolSource, handler: WakeHandler, policy: WakeListenerPolicy, clock: Clock
    ) -> None:
        """`answer` is called with the id and version of each message."""
        self._pool = pool
        self._handler = handler
        self._policy = policy
        self._clock = clock
        self._arq_worker: _ArqWorker | None = None

    async def run(self) -> None:
        """Listen for ever.

        A listener that lost Redis is retired, since arq's counters leak then.
        """
        while True:
            listener = self._arq_worker = self._build_arq_worker()
            try:
                await listener.async_run()
            except STORE_ERRORS:
                await self._clock.sleep(self._policy.retry_delay)
            finally:
                await listener.shut_down()

    def _build_arq_worker(self) -> "_ArqWorker":
        return _ArqWorker(
            functions=[
                func(
                    handle_wake,  # type: ignore[arg-type]  # arq types the context as a plain dict
                    name=WAKE_FUNCTION,
                    keep_result=0,
                    timeout=self._policy.wake_timeout.total_seconds(),
                    max_tries=1,
                )
            ],
            queue_name=WAKE_QUEUE,
            redis_pool=self._pool(),
            handle_signals=False,
            max_jobs=self._policy.max_concurrency,
            poll_delay=self._policy.poll_interval.total_seconds(),
            queue_read_limit=self._policy.max_read,
            keep_result=0,
            max_tries=1,
            retry_jobs=False,
            health_check_interval=15,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            log_results=False,
            ctx={_CONTEXT_KEY: self._handler},
        )


class _ArqWorker(Worker):
    """arq's worker with its shutdown mended.

    arq gathers its cancelled tasks without `return_exceptions`: the first one ends the process, and
    every claim of the others stays locked until its key expires.
    """

    async def shut_down(self) -> None:
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
