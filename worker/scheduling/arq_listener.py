"""Receives wake-up messages through arq.

Nothing here is relied on for safety: arq delivers at least once and is in maintenance mode. A
wake-up that is lost or doubled costs latency only; the record's version decides who acts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Worker, func

from core.clock import Clock
from core.store.client import STORE_ERRORS
from core.store.keys import WAKE_QUEUE
from core.store.wake_queue import WAKE_FUNCTION

WakeHandler = Callable[[str, int], Awaitable[None]]
_CONTEXT_KEY: Final = "handler"


@dataclass(frozen=True, slots=True)
class WakeListenerPolicy:
    """How arq reads messages. `wake_timeout` bounds the handling of one."""

    max_concurrency: int = 100
    poll_interval: timedelta = timedelta(milliseconds=50)
    max_read: int = 2000
    """More than can be in progress or orphaned together; else arq would not reach new messages."""
    wake_timeout: timedelta = timedelta(seconds=60)
    retry_delay: timedelta = timedelta(milliseconds=500)


async def handle_wake(context: dict[str, Any], job_id: str, version: int) -> None:
    """The one arq function: a job has a step to run now."""
    handler: WakeHandler = context[_CONTEXT_KEY]
    await handler(job_id, version)


class WakeListener:
    """Receives wake-ups until it is cancelled, also across outages of Redis."""

    def __init__(
        self,
        pool: Callable[[], ArqRedis],
        handler: WakeHandler,
        policy: WakeListenerPolicy,
        clock: Clock,
    ) -> None:
        """`handler` is called with the job id and version of each message.

        `pool` returns a new client that is not connected yet.
        """
        self._pool = pool
        self._handler = handler
        self._policy = policy
        self._clock = clock

    async def run(self) -> None:
        """Receive forever.

        After an outage of Redis a new arq worker is built: the counters of the old one leak.
        """
        while True:
            arq_worker = self._build_arq_worker()
            try:
                await arq_worker.async_run()
            except STORE_ERRORS:
                await self._clock.sleep(self._policy.retry_delay)
            finally:
                await arq_worker.shut_down()

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
    """arq's worker, which claims all messages in one round trip, and with a fixed shutdown.

    arq takes four round trips for each message, one message after the other. When it shuts down it
    gathers its cancelled tasks without `return_exceptions`: the first one ends the process, and the
    messages of the others stay locked until their keys expire.
    """

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Run the messages of these names that no worker has."""
        names = [name for name in map(bytes.decode, job_ids) if name not in self.tasks]
        names = names[: self.max_jobs - self.job_counter]
        if not names:
            return
        async with self.pool.pipeline(transaction=False) as pipe:
            for name in names:
                lock = in_progress_key_prefix + name
                pipe.set(lock, b"1", px=int(self.in_progress_timeout_s * 1000), nx=True)
                # In this order: a worker that has finished a message deletes it with its lock.
                pipe.zscore(self.queue_name, name)
            answers = await pipe.execute()
        finished = []
        for name, is_locked, score in zip(names, answers[::2], answers[1::2], strict=True):
            if is_locked and score is not None:
                await self._start(name, int(score))
            elif is_locked:
                finished.append(in_progress_key_prefix + name)
        if finished:
            await self.pool.delete(*finished)

    async def _start(self, name: str, score: int) -> None:
        """As `Worker.start_jobs` does, once a message is locked."""
        await self.sem.acquire()
        self.job_counter += 1
        self.tasks[name] = self.loop.create_task(self.run_job(name, score))
        self.tasks[name].add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())

    async def shut_down(self) -> None:
        """Stop, and unlock the messages that were claimed and not finished."""
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
            await self.pool.aclose(close_connection_pool=True)
