"""The archive of outputs in a worker: what is kept, what is tried again, what is given up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Final

import orjson
import pytest

from core.archive import (
    GIVE_UP_BEFORE,
    UPSTREAM_RETENTION,
    ArchiveError,
    ArchiveMode,
    ArchiveRules,
)
from core.jobs.job import FollowUp, Job, JobState, Trigger
from core.observability.events import Event, OutputArchived, OutputNotArchived
from core.tenants.api_keys import ApiKey
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend, memory_backend
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.media import HTML, mp4, png
from tests.support.object_store import MemoryObjectStore
from tests.support.records import MidpointRandom
from tests.support.store_steps import admit_job, apply_triggers
from worker.jobs.archive_start import ArchiveStarter
from worker.jobs.archiver import Archiver
from worker.jobs.decisions.archive import ArchiveContext, ArchivePolicy
from worker.jobs.job_writer import JobWriter
from worker.ports import Media, MediaUnavailable

VIDEO: Final = "https://media.runcomfy.net/1/output.mp4"
IMAGE: Final = "https://media.runcomfy.net/1/cover.png"
OUTPUT: Final = orjson.dumps({"video": VIDEO, "cover": IMAGE, "seed": 7})
DAY: Final = timedelta(days=1)


@dataclass
class MediaHost:
    """RunComfy's media hosts: an answer by address, and how often each was called."""

    answers: dict[str, tuple[str, bytes] | MediaUnavailable] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    breaks_after: int | None = None

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Media]:
        self.calls.append(url)
        answer = self.answers[url]
        if isinstance(answer, MediaUnavailable):
            raise answer
        yield Media(answer[0], self._chunks(answer[1]))

    async def _chunks(self, content: bytes) -> AsyncIterator[bytes]:
        if self.breaks_after is not None:
            yield content[: self.breaks_after]
            raise MediaUnavailable(ArchiveError.UNREACHABLE, "media.runcomfy.net: reset")
        yield content


class Archive:
    """A worker's archive over in-memory stores, with one collected job of the tenant `ada`."""

    def __init__(self, mode: ArchiveMode = ArchiveMode.AFTER) -> None:
        self.clock = FakeClock()
        self.stores: StoreBackend = memory_backend(self.clock)
        self.objects = MemoryObjectStore(self.clock)
        self.host = MediaHost(
            {VIDEO: ("video/mp4", mp4()), IMAGE: ("application/octet-stream", png())}
        )
        self.events: list[Event] = []
        self.writer = JobWriter(self.stores, self.clock, self.events.append)
        ids, self.policy = SeededIds(Random(1)), ArchivePolicy()
        self.starter = ArchiveStarter(self.stores, ArchiveRules(mode), ids, self.policy)
        context = ArchiveContext(self.policy, MidpointRandom())
        self.archiver = Archiver(self.stores, self.objects, self.host, self.writer, ids, context)

    async def finish(self, job_id: str = "req_1", output: bytes = OUTPUT) -> Job:
        """Admit a job and let RunComfy finish it with this output."""
        if await self.stores.tenants.load("ada") is None:
            now = self.clock.now()
            await self.stores.tenants.create(Tenant("ada", now), ApiKey("digest-ada", "ada", now))
        job = await admit_job(self.stores, job_id)
        job = await apply_triggers(
            self.stores, job, Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED
        )
        now = self.clock.now()
        done = job.transition(
            Trigger.COLLECTED,
            now,
            next_run_at=None,
            finished_at=now,
            upstream_finished_at=now,
        )
        change = await self.starter.begin(
            Change(job, done, trigger=Trigger.COLLECTED, output=output), output
        )
        assert await self.writer.write(change) is WriteResult.STORED
        return change.after

    async def work(self) -> int:
        """Keep what is due; return how many jobs it were."""
        due = await self.archiver.claim(10)
        for job in due:
            await self.archiver.keep(job)
        return len(due)

    async def job(self, job_id: str = "req_1") -> Job:
        record = await self.stores.jobs.load(job_id)
        assert record is not None
        return record.job

    @property
    def failures(self) -> list[ArchiveError]:
        return [event.reason for event in self.events if isinstance(event, OutputNotArchived)]


async def test_the_outputs_of_a_completed_job_are_kept() -> None:
    archive = Archive()
    job = await archive.finish()
    assert (job.state, job.archive_due_at) == (JobState.SUCCEEDED, archive.clock.now())
    assert await archive.work() == 1
    job = await archive.job()
    assert [each.field for each in job.outputs] == ["video", "cover"]
    video, cover = job.outputs
    assert (video.media_type, video.bytes, video.error) == ("video/mp4", len(mp4()), None)
    assert (cover.media_type, cover.width, cover.height) == ("image/png", 30, 20)
    assert job.archived_at == archive.clock.now()
    assert job.kept_until == archive.clock.now() + 7 * DAY
    assert archive.objects.contents == {
        f"files/ada/{video.file_id}": mp4(),
        f"files/ada/{cover.file_id}": png(),
    }
    assert await archive.work() == 0
    assert sum(isinstance(event, OutputArchived) for event in archive.events) == 2


async def test_off_and_outputs_without_addresses_keep_nothing() -> None:
    off, text = Archive(ArchiveMode.OFF), Archive()
    assert (await off.finish()).archive_due_at is None
    assert (await text.finish(output=b'{"text":"a"}')).archive is ArchiveMode.OFF
    assert await off.work() + await text.work() == 0


async def test_before_completes_once_the_outputs_are_kept() -> None:
    archive = Archive(ArchiveMode.BEFORE)
    job = await archive.finish()
    assert (job.state, job.finished_at) == (JobState.ARCHIVING, None)
    assert job.next_run_at == archive.clock.now() + archive.policy.before_timeout
    archive.clock.move(timedelta(seconds=3))
    await archive.work()
    job = await archive.job()
    assert (job.state, job.finished_at) == (JobState.SUCCEEDED, archive.clock.now())
    assert all(each.file_id for each in job.outputs)


async def test_before_completes_with_what_can_be_kept() -> None:
    archive = Archive(ArchiveMode.BEFORE)
    archive.host.answers[IMAGE] = ("image/png", HTML)
    await archive.finish()
    await archive.work()
    job = await archive.job()
    assert job.state is JobState.SUCCEEDED
    assert [each.error for each in job.outputs] == [None, ArchiveError.UNSUPPORTED]


async def test_a_cost_that_was_absent_is_read_after_the_archive() -> None:
    archive = Archive(ArchiveMode.BEFORE)
    await archive.finish()
    before = await archive.job()
    after = before.evolve(archive.clock.now(), follow_up=FollowUp.READ_COST)
    assert await archive.stores.jobs.store(Change(before, after)) is WriteResult.STORED
    await archive.work()
    job = await archive.job()
    assert job.next_run_at == archive.clock.now() + archive.policy.cost_delay


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (MediaUnavailable(ArchiveError.UNREACHABLE, "x"), ArchiveError.UNREACHABLE),
        (MediaUnavailable(ArchiveError.GONE, "x"), ArchiveError.UNREACHABLE),
        (("text/html", HTML), ArchiveError.MISMATCH),
        (("image/png", mp4()), ArchiveError.MISMATCH),
    ],
    ids=["unreachable", "absent", "page", "other kind"],
)
async def test_what_may_come_later_is_tried_again(
    answer: tuple[str, bytes] | MediaUnavailable, reason: ArchiveError
) -> None:
    archive = Archive()
    archive.host.answers[VIDEO] = answer
    await archive.finish()
    await archive.work()
    job = await archive.job()
    assert job.archive_due_at == archive.clock.now() + timedelta(seconds=5)
    assert [each.error for each in job.outputs] == [reason, None]
    assert len(archive.objects.contents) == 1
    archive.host.answers[VIDEO] = ("video/mp4", mp4())
    archive.clock.move(timedelta(seconds=5))
    await archive.work()
    assert archive.host.calls == [VIDEO, IMAGE, VIDEO]
    job = await archive.job()
    assert [each.error for each in job.outputs] == [None, None]
    assert job.archived_at is not None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (MediaUnavailable(ArchiveError.HOST, "x"), ArchiveError.HOST),
        (("application/octet-stream", HTML), ArchiveError.UNSUPPORTED),
        (("video/mp4", b""), ArchiveError.UNSUPPORTED),
        (("video/mp4", mp4(2**20 + 1)), ArchiveError.TOO_LARGE),
    ],
    ids=["host", "no media", "nothing", "bomb"],
)
async def test_what_cannot_be_kept_is_given_up(
    answer: tuple[str, bytes] | MediaUnavailable, reason: ArchiveError
) -> None:
    archive = Archive()
    archive.archiver = Archiver(
        archive.stores,
        archive.objects,
        archive.host,
        archive.writer,
        SeededIds(Random(2)),
        ArchiveContext(replace(archive.policy, max_bytes=2**20), MidpointRandom()),
    )
    archive.host.answers[VIDEO] = answer
    await archive.finish(output=orjson.dumps({"video": VIDEO}))
    await archive.work()
    job = await archive.job()
    assert (job.state, job.archive_due_at) == (JobState.SUCCEEDED, None)
    assert ([each.error for each in job.outputs], job.archived_at) == ([reason], None)
    assert archive.failures == [reason]
    assert archive.objects.contents == {}


async def test_a_transfer_that_breaks_leaves_nothing_and_begins_again() -> None:
    archive = Archive()
    archive.host.breaks_after = 10
    await archive.finish()
    await archive.work()
    assert archive.objects.contents == {}
    archive.host.breaks_after = None
    archive.clock.move(timedelta(seconds=10))
    await archive.work()
    assert (await archive.job()).archived_at is not None


async def test_a_storage_that_comes_back_in_time_loses_nothing() -> None:
    archive = Archive()
    archive.objects.is_down = True
    finished = await archive.finish()
    while archive.clock.now() < finished.updated_at + 6 * DAY:
        await archive.work()
        due_at = (await archive.job()).archive_due_at
        assert due_at is not None
        archive.clock.move(due_at - archive.clock.now())
    job = await archive.job()
    assert job.state is JobState.SUCCEEDED
    assert {each.error for each in job.outputs} == {ArchiveError.STORAGE}
    archive.objects.is_down = False
    await archive.work()
    assert (await archive.job()).archived_at == archive.clock.now()


async def test_half_a_day_before_runcomfy_deletes_the_archive_is_given_up() -> None:
    archive = Archive()
    archive.objects.is_down = True
    await archive.finish()
    archive.clock.move(UPSTREAM_RETENTION - GIVE_UP_BEFORE - timedelta(seconds=1))
    await archive.work()
    due_at = (await archive.job()).archive_due_at
    assert due_at == archive.clock.now() + timedelta(seconds=1)
    archive.clock.move(timedelta(seconds=1))
    await archive.work()
    job = await archive.job()
    assert (job.archive_due_at, job.archived_at) == (None, None)
    assert {each.error for each in job.outputs} == {ArchiveError.EXPIRED}


async def test_a_tenant_s_full_storage_is_tried_again() -> None:
    archive = Archive()
    await archive.finish(output=orjson.dumps({"video": VIDEO}))
    before = await archive.stores.tenants.load("ada")
    assert before is not None
    after = replace(before, version=before.version + 1, limits=Limits(storage_bytes=10))
    assert await archive.stores.tenants.change(before, after)
    await archive.work()
    assert archive.failures == [ArchiveError.LIMIT]
    assert (await archive.job()).archive_due_at is not None
    # It is not fetched in vain: its size is known by now.
    archive.clock.move(timedelta(minutes=1))
    await archive.work()
    assert archive.failures == [ArchiveError.LIMIT] * 2
    assert (await archive.job()).outputs[0].bytes == len(mp4())
    assert archive.host.calls == [VIDEO]
    roomy = replace(after, version=after.version + 1, limits=Limits(storage_bytes=len(mp4())))
    assert await archive.stores.tenants.change(after, roomy)
    archive.clock.move(timedelta(minutes=1))
    await archive.work()
    assert archive.host.calls == [VIDEO] * 2
    assert (await archive.job()).archived_at is not None


async def test_an_output_is_gone_only_after_it_was_absent_several_times() -> None:
    """Other failures before do not count: it may become visible late."""
    archive = Archive()
    await archive.finish(output=orjson.dumps({"video": VIDEO}))
    away = MediaUnavailable(ArchiveError.UNREACHABLE, "x")
    absent = MediaUnavailable(ArchiveError.GONE, "x")
    for answer in (*[away] * 6, *[absent] * 6):
        assert (await archive.job()).archive_due_at is not None
        archive.host.answers[VIDEO] = answer
        archive.clock.move(timedelta(minutes=20))
        assert await archive.work() == 1
    assert archive.failures == [ArchiveError.UNREACHABLE] * 11 + [ArchiveError.GONE]
    assert (await archive.job()).archive_due_at is None


async def test_equal_contents_are_one_object_with_its_users() -> None:
    archive = Archive()
    for job_id in ("req_1", "req_2"):
        await archive.finish(job_id, orjson.dumps({"video": VIDEO}))
        await archive.work()
    first, second = await archive.job("req_1"), await archive.job("req_2")
    assert first.outputs == second.outputs
    assert len(archive.objects.contents) == 1


async def test_a_request_that_was_deleted_meanwhile_is_left_alone() -> None:
    archive = Archive()
    job = await archive.finish()
    (claimed,) = await archive.archiver.claim(10)
    await archive.stores.job_index.delete(job)
    await archive.archiver.keep(claimed)
    assert archive.host.calls == []


async def test_another_writer_s_change_stays() -> None:
    archive = Archive()
    await archive.finish()

    async def change_meanwhile() -> None:
        before = await archive.job()
        after = before.evolve(archive.clock.now(), reference="changed")
        assert await archive.stores.jobs.store(Change(before, after)) is WriteResult.STORED

    write = archive.objects.write

    async def write_slowly(name: str, chunks: AsyncIterator[bytes]) -> None:
        await change_meanwhile()
        await write(name, chunks)

    archive.objects.write = write_slowly  # type: ignore[method-assign]  # a writer at that moment
    await archive.work()
    job = await archive.job()
    assert (job.reference, job.archived_at) == ("changed", archive.clock.now())


async def test_a_defect_is_no_failure_of_the_host() -> None:
    archive = Archive()
    await archive.finish()
    archive.host.answers = {}
    with pytest.raises(KeyError):
        await archive.work()
    assert (await archive.job()).archive_due_at is not None
