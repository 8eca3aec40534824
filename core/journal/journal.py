"""The journal of paid submits: entries, and RunComfy's answers beside them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from core.clock import Clock
from core.jobs.job import Job
from core.journal.objects import JournalUnavailable, ObjectInfo, ObjectStorage
from core.journal.records import (
    IDENTITY,
    POSITION,
    Attempt,
    JournalAnswer,
    JournalEntry,
    Outcome,
    answer_name,
    attempts_prefix,
    day_prefix,
    decode_answer,
    decode_entry,
    decode_position,
    encode_answer,
    encode_entry,
    encode_position,
    entry_name,
    parse_attempts,
    prefix_of,
)
from core.observability.events import Emit, JournalCalled, JournalDisconnected, JournalReconnected
from core.retention import MAX_JOB_AGE
from core.store.identity import StorePosition

T = TypeVar("T")
DELETE_BATCH: Final = 1_000
LIST_TIMEOUT_FACTOR: Final = 12
"""A list has a page for each thousand objects, and a day may have hundreds of thousands."""
_LIST_RETRIES: Final = 4
_RETRY_DELAY: Final = timedelta(milliseconds=500)
_READS: Final = frozenset({"list", "read"})
_PROBE: Final = "checks/probe"


def _furthest(held: StorePosition, new: StorePosition) -> StorePosition:
    begun = [each.journal_since for each in (held, new) if each.journal_since is not None]
    furthest = held if new.is_behind(held) else new
    return replace(furthest, journal_since=max(begun, default=None))


class Journal:
    """Reads and writes the journal; knows whether it answers.

    Every method may raise `JournalUnavailable`. A write that raised it may have been done.
    """

    def __init__(
        self, objects: ObjectStorage, clock: Clock, emit: Emit, timeout: timedelta
    ) -> None:
        """Touch nothing yet. A call that takes longer than `timeout` has failed."""
        self._objects = objects
        self._clock = clock
        self._emit = emit
        self._timeout = timeout
        self._away_since: timedelta | None = None
        self._failed_at: timedelta | None = None
        self._fails_writes = False

    @property
    def is_mounted(self) -> bool:
        """Whether its place may be another's at any moment, as when a folder is unmounted."""
        return self._objects.is_mounted

    def failed_within(self, span: timedelta) -> bool:
        """Return whether the last call failed, not longer than `span` ago."""
        failed_at = self._failed_at
        return failed_at is not None and self._clock.monotonic() - failed_at < span

    async def create(self, entry: JournalEntry) -> bool:
        """Create an entry; return False if it exists: then a submit may have been paid."""
        name, content = entry_name(attempts_prefix(entry.job), entry.number), encode_entry(entry)
        return await self._call("create", lambda: self._objects.create(name, content))

    async def list_attempts(self, job: Job) -> tuple[Attempt, ...]:
        """Return the job's submits, in order."""
        prefix = attempts_prefix(job)
        return parse_attempts(each.name for each in await self._list(prefix))

    async def read_entry(self, prefix: str, number: int) -> JournalEntry | None:
        """Return an entry; None if it is incomplete or absent. `prefix`: `attempts_prefix`."""
        content = await self._read(entry_name(prefix, number))
        return None if content is None else decode_entry(content)

    async def read_answer(self, prefix: str, number: int, outcome: Outcome) -> JournalAnswer | None:
        """Return an answer; None if it is incomplete or absent."""
        content = await self._read(answer_name(prefix, number, outcome))
        return None if content is None else decode_answer(content)

    async def list_jobs_since(
        self, since: datetime, max_age: timedelta = MAX_JOB_AGE
    ) -> Mapping[str, tuple[Attempt, ...]]:
        """Return the submits of all jobs that had one written since then, by `attempts_prefix`.

        `since` is by the journal's clock. Jobs that were created more than `max_age` earlier, on
        another day, are left out.
        """
        first, last = (since - max_age).date(), self._clock.now().date()
        days = [first + timedelta(days=number) for number in range((last - first).days + 2)]
        names: dict[str, list[str]] = {}
        changed: set[str] = set()
        for day in days:
            for info in await self._list_day(day):
                prefix = prefix_of(info.name)
                names.setdefault(prefix, []).append(info.name)
                if info.modified_at >= since:
                    changed.add(prefix)
        return {prefix: parse_attempts(names[prefix]) for prefix in sorted(changed)}

    async def delete_day(self, day: date) -> int:
        """Delete all entries of the jobs that were created on a day; return how many objects."""
        names = [info.name for info in await self._list_day(day)]
        for first in range(0, len(names), DELETE_BATCH):
            batch = names[first : first + DELETE_BATCH]
            await self._call("delete", partial(self._objects.delete, batch))
        return len(names)

    async def load_position(self) -> StorePosition | None:
        """Return the furthest position of the store that was written; None if none was."""
        content = await self._read(POSITION)
        return None if content is None else decode_position(content)

    async def save_position(self, position: StorePosition) -> None:
        """Write the store's position, unless the journal has a further one of the same store.

        Since when it has every claim moves forward only, whichever position is further.
        """
        held = await self.load_position()
        if held is not None and held.store_id == position.store_id:
            position = _furthest(held, position)
            if encode_position(position) == encode_position(held):
                return  # another worker may just write a further one
        content = encode_position(position)
        await self._call("position", lambda: self._objects.replace(POSITION, content))

    async def load_id(self) -> str:
        """Return the journal's identity; "" if it has none: nothing was written to it yet."""
        content = await self._read(IDENTITY)
        return "" if content is None else content.decode()

    async def create_id(self, new: str) -> str:
        """Return the journal's identity, which is `new` if it had none."""
        await self._call("identity", lambda: self._objects.create(IDENTITY, new.encode()))
        return await self.load_id()

    async def has_entry(self, name: str) -> bool:
        """Return whether the journal has an entry. `name`: `entry_name`."""
        return await self._call("read", lambda: self._objects.exists(name))

    async def answer(self, job: Job, number: int, answer: JournalAnswer) -> None:
        """Write the answer beside an entry. Repeating it changes nothing."""
        name, content = (
            answer_name(attempts_prefix(job), number, answer.outcome),
            encode_answer(answer),
        )
        await self._call("answer", lambda: self._objects.create(name, content))

    async def probe(self) -> None:
        """Find out whether the journal answers; after a failed write, whether it takes one."""
        if self._fails_writes:
            await self._call("create", lambda: self._objects.replace(_PROBE, b""))
        await self._read(POSITION)

    async def creates_once(self, mark: str) -> bool:
        """Return whether the storage creates an object once only. It is deleted again.

        `mark` makes its name unique.
        """
        name, content = f"checks/{mark}", b"gateway doctor"
        first = await self._call("create", lambda: self._objects.create(name, content))
        second = await self._call("create", lambda: self._objects.create(name, content))
        await self._call("delete", lambda: self._objects.delete([name]))
        return first and not second

    async def close(self) -> None:
        """Free everything."""
        await self._objects.close()

    async def _list(self, prefix: str, longest: timedelta | None = None) -> Sequence[ObjectInfo]:
        return await self._call("list", lambda: self._objects.list(prefix), longest)

    async def _list_day(self, day: date) -> Sequence[ObjectInfo]:
        """Return a day's objects, in more time than one job's take.

        A call that fails is repeated: one of many must not cost all the others.
        """
        prefix, longest = day_prefix(day), self._timeout * LIST_TIMEOUT_FACTOR
        for _ in range(_LIST_RETRIES):
            try:
                return await self._list(prefix, longest)
            except JournalUnavailable:
                await self._clock.sleep(_RETRY_DELAY)
        return await self._list(prefix, longest)

    async def _read(self, name: str) -> bytes | None:
        return await self._call("read", lambda: self._objects.read(name))

    async def _call(
        self, operation: str, call: Callable[[], Awaitable[T]], longest: timedelta | None = None
    ) -> T:
        started, limit = self._clock.monotonic(), longest or self._timeout
        try:
            async with asyncio.timeout(limit.total_seconds()):
                answer = await call()
        except TimeoutError:
            error = JournalUnavailable(f"The journal did not answer within {limit}.")
            self._note_failure(operation, error, started)
            raise error from None
        except JournalUnavailable as error:
            self._note_failure(operation, error, started)
            raise
        self._note_answer(operation, started)
        return answer

    def _note_failure(self, operation: str, error: JournalUnavailable, started: timedelta) -> None:
        now = self._clock.monotonic()
        self._emit(JournalCalled(operation, now - started, "failed"))
        self._failed_at = now
        self._fails_writes |= operation not in _READS
        if self._away_since is None:
            self._away_since = now
            self._emit(JournalDisconnected(operation, str(error)))

    def _note_answer(self, operation: str, started: timedelta) -> None:
        now = self._clock.monotonic()
        self._emit(JournalCalled(operation, now - started, "ok"))
        if self._fails_writes and operation in _READS:
            return  # a full disk, or one without permission to write, can be read
        self._failed_at, self._fails_writes = None, False
        if self._away_since is not None:
            self._emit(JournalReconnected(now - self._away_since))
            self._away_since = None
