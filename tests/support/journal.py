"""The journal's objects in memory, and how they fail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.jobs.job import Job
from core.journal.objects import JournalUnavailable, ObjectInfo
from tests.support.clock import FakeClock

JOURNAL_TIMEOUT: Final = timedelta(seconds=30)


@dataclass
class MemoryObjects:
    """Fake of `core.journal.objects.ObjectStorage`.

    `failures` counts down: that many of the next calls fail. `lost_answers`: that many of the next
    writes are done, and fail all the same.
    """

    clock: Clock = field(default_factory=FakeClock)
    contents: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, ObjectInfo] = field(default_factory=dict)
    failures: int = 0
    lost_answers: int = 0
    is_mounted: bool = True

    async def create(self, name: str, content: bytes) -> bool:
        self._fail()
        is_new = name not in self.contents
        if is_new:
            self.put(name, content)
        self._lose_answer()
        return is_new

    async def replace(self, name: str, content: bytes) -> None:
        self._fail()
        self.put(name, content)
        self._lose_answer()

    async def exists(self, name: str) -> bool:
        self._fail()
        return name in self.contents

    async def read(self, name: str) -> bytes | None:
        self._fail()
        return self.contents.get(name)

    async def list(self, prefix: str) -> Sequence[ObjectInfo]:
        self._fail()
        return [info for name, info in self.written.items() if name.startswith(prefix)]

    async def delete(self, names: Sequence[str]) -> None:
        self._fail()
        for name in names:
            self.contents.pop(name, None)
            self.written.pop(name, None)

    async def close(self) -> None:
        return

    def put(self, name: str, content: bytes) -> None:
        """Store an object whatever was there."""
        self.contents[name] = content
        self.written[name] = ObjectInfo(name, self.clock.now())

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise JournalUnavailable("The journal is away.")

    def _lose_answer(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise JournalUnavailable("The journal did not answer.")


@dataclass
class StubGuard:
    """A guard that lets submits leave, or none."""

    is_open: bool = True
    noted: dict[str, int] = field(default_factory=dict)
    lost: list[tuple[str, int]] = field(default_factory=list)
    knows_jobs: bool = True
    failure: Exception | None = None

    async def allows_submit(self) -> bool:
        return self.is_open

    async def is_in_own_journal(self) -> bool:
        return True

    async def note_entry(self, claimed: Job, number: int) -> bool:
        if self.failure is not None:
            raise self.failure
        self.noted[claimed.id] = number
        return self.knows_jobs

    async def load_noted_entry(self, claimed: Job) -> int | None:
        return self.noted.get(claimed.id)

    async def report_lost_entry(self, claimed: Job, number: int) -> None:
        self.lost.append((claimed.id, number))

    async def check_journal(self) -> datetime | None:
        """Find nothing."""
        return None

    async def report_missing(self, claimed_at: datetime) -> None:
        """Record nothing."""
